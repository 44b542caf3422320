/**
 * Processes by identity. A pid alone may have been given to someone else since; a pid with its start time may not.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { TpotError } from '../core/errors.js';

export interface ProcessIdentity {
  readonly pid: number;
  /** Start time in clock ticks after boot: field 22 of /proc/PID/stat (proc_pid_stat(5)). */
  readonly start: string;
}

const STATE_FIELD = 0;
const START_FIELD = 19; // counted after the command name, which may hold spaces and parentheses

/** The identity of a running process; `undefined` when there is none or it is only waiting to be reaped. */
export function identify(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const start = fields[START_FIELD];
  const state = fields[STATE_FIELD];
  return start === undefined || state === 'Z' || state === 'X' ? undefined : { pid, start };
}

export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.start === process.start;
}

/** Sends a signal to exactly this process; false when it has ended. */
export function signalProcess(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch {
    return false; // ended between the look and the signal
  }
}

function inode(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** Every process, whoever started it, whose network namespace is one of those named. */
export function processesInNamespaces(namespaces: readonly string[]): ProcessIdentity[] {
  const wanted = new Set(namespaces.map((name) => inode(`/run/netns/${name}`)));
  wanted.delete(undefined);
  if (wanted.size === 0) return [];
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && wanted.has(inode(`/proc/${entry}/ns/net`)))
    .map((entry) => identify(Number(entry)))
    .filter((found) => found !== undefined);
}

/** @throws TpotError `no-permission`. */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new TpotError('no-permission', 'labs need root: they make network namespaces and load BPF programs', {
    hint: 'Use sudo.',
  });
}
