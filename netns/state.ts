/**
 * What is on disk about each topology that stands, so that `tpot-node lab down` can remove it even when the
 * process that made it was killed. Written before the thing it names is made.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandSync } from '../host/exec.js';
import { findMount, pinDirectory, removeCgroup } from '../host/mounts.js';
import { runtimeDirectory } from '../host/paths.js';
import { isAlive, processesInNamespaces, signalProcess, type ProcessIdentity } from './processes.js';
import { pause } from './wait.js';

/** What must be removed by hand when a node was killed before it could do so. */
export interface NodeRecord {
  readonly name: string;
  readonly cgroup: string;
}

export interface LabState {
  readonly version: 1;
  readonly id: string;
  /** Which lab or test this is, for people. */
  readonly title: string;
  /** Milliseconds since the epoch. */
  readonly created: number;
  readonly owner: ProcessIdentity;
  /** Logs, configurations and captures. */
  readonly directory: string;
  /** Host name → name under /run/netns. */
  readonly namespaces: Readonly<Record<string, string>>;
  nodes: NodeRecord[];
  processes: ProcessIdentity[];
  /** The lab has ended and was asked to leave everything running. */
  kept: boolean;
}

const statesDirectory = join(runtimeDirectory, 'labs');
const TERM_PATIENCE_MS = 4000;
const KILL_PATIENCE_MS = 2000;
const POLL_MS = 20;

const stateFile = (id: string): string => join(statesDirectory, `${id}.json`);

/** Creates the file of a new topology; false when the id is taken. */
export function claimState(state: LabState): boolean {
  mkdirSync(statesDirectory, { recursive: true });
  try {
    writeFileSync(stateFile(state.id), JSON.stringify(state), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Replaces the file in one step: a reader sees the old state or the new one. */
export function saveState(state: LabState): void {
  const temporary = `${stateFile(state.id)}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(state));
  renameSync(temporary, stateFile(state.id));
}

function readState(file: string): LabState | undefined {
  try {
    const state = JSON.parse(readFileSync(join(statesDirectory, file), 'utf8')) as LabState;
    return (state.version as number) === 1 ? state : undefined;
  } catch {
    return undefined; // removed, or being claimed, while we looked
  }
}

/** Every topology that stands on this machine, oldest first. */
export function loadStates(): LabState[] {
  let files: string[];
  try {
    files = readdirSync(statesDirectory).filter((file) => file.endsWith('.json'));
  } catch {
    return [];
  }
  return files
    .map(readState)
    .filter((state) => state !== undefined)
    .sort((a, b) => a.created - b.created);
}

function survivors(state: LabState): ProcessIdentity[] {
  const inside = processesInNamespaces(Object.values(state.namespaces));
  const known = state.processes.filter(
    (process) => isAlive(process) && !inside.some((p) => p.pid === process.pid),
  );
  // A test or a shell may have entered a namespace; the process that tears down never kills itself.
  return [...known, ...inside].filter((found) => found.pid !== process.pid);
}

function* endProcesses(state: LabState, signal: NodeJS.Signals, patience: number): Generator<number, void> {
  const deadline = performance.now() + patience;
  const signalled = new Set<number>();
  for (;;) {
    const left = survivors(state);
    for (const found of left) {
      // A node that has been told once is draining; a second SIGTERM would mean "hurry".
      if (signal === 'SIGKILL' || !signalled.has(found.pid)) signalProcess(found, signal);
      signalled.add(found.pid);
    }
    if (left.length === 0 || performance.now() > deadline) return;
    yield POLL_MS;
  }
}

/** What a node that had to be killed has left; one that ended by itself has left nothing. */
function removeNodeLeftovers({ name, cgroup }: NodeRecord): void {
  if (findMount('bpf') !== undefined) rmSync(pinDirectory('nodes', name), { recursive: true, force: true });
  for (const suffix of ['sock', 'json']) rmSync(join(runtimeDirectory, `${name}.${suffix}`), { force: true });
  removeCgroup(cgroup);
}

/** Removes processes, namespaces and the state file; yields how many milliseconds to pause before going on. */
function* tearDownSteps(state: LabState): Generator<number, void> {
  yield* endProcesses(state, 'SIGTERM', TERM_PATIENCE_MS);
  yield* endProcesses(state, 'SIGKILL', KILL_PATIENCE_MS);
  state.nodes.forEach(removeNodeLeftovers);
  const standing = new Set(readNamespaces());
  for (const namespace of Object.values(state.namespaces)) {
    if (standing.has(namespace)) commandSync('ip', ['netns', 'delete', namespace]);
  }
  rmSync(stateFile(state.id), { force: true });
}

function readNamespaces(): string[] {
  try {
    return readdirSync('/run/netns');
  } catch {
    return []; // no namespace was ever made on this machine
  }
}

/** Ends and removes a topology. SIGTERM first so that nodes can clean up; SIGKILL for what does not end. */
export async function tearDown(state: LabState): Promise<void> {
  for (const milliseconds of tearDownSteps(state)) await pause(milliseconds);
}

/** {@link tearDown} for the `exit` event of a process, where nothing asynchronous runs any more. */
export function tearDownSync(state: LabState): void {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (const milliseconds of tearDownSteps(state)) Atomics.wait(sleeper, 0, 0, milliseconds);
}
