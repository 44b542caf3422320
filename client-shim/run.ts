/** `tpot-node run`: becomes the command, inside a cgroup whose sockets speak TPOT. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { TpotError } from '../core/errors.js';
import { exec, setOpenFileLimit, SystemCallError } from '../host/libc.js';
import { enterCgroup, isPopulated, ownCgroup, removeCgroup } from '../host/mounts.js';
import { builtFile } from '../host/paths.js';
import { requireReportable } from './report.js';
import type { SupervisorArguments, SupervisorReport } from './supervisor.js';

export interface RunOptions {
  readonly hops: number;
  /** Prefixes whose replies may pin a connection, as text that has been checked. */
  readonly trust: readonly string[];
  /** Keys of requests and replies (tpot/key-file.ts). */
  readonly keyFile?: string | undefined;
  /** A file for a report on what the connections came to, written when the command has ended. */
  readonly report?: string | undefined;
}

const MOST_WORDS = 32;
const MOST_LETTERS = 256;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

/**
 * Never returns: the process is the command afterwards, so its exit status, its signals and its terminal are the
 * command's own. Throws `no-permission`, `kernel-feature-missing` and the like when the shim cannot be set up, and
 * `command-not-found` (exit status 127) or `command-not-executable` (126) as a shell would.
 */
export async function runCommand(
  options: RunOptions,
  command: string,
  args: readonly string[],
): Promise<never> {
  if (process.getuid?.() !== 0) {
    throw new TpotError('no-permission', '`tpot-node run` loads BPF programs, which needs root', {
      hint: 'Use sudo; the command can drop privileges itself, e.g. `sudo tpot-node run -- setpriv --reuid 1000 CMD`.',
    });
  }
  const parent = ownCgroup();
  sweep(parent);
  const cgroup = join(parent, `tpot-run.${process.pid}.${randomBytes(3).toString('hex')}`);
  const { hops, trust } = options;
  const report = options.report === undefined ? undefined : resolve(options.report);
  if (report !== undefined) requireReportable(report);
  await startSupervisor({
    cgroup,
    hops,
    trust,
    keyFile: options.keyFile === undefined ? undefined : resolve(options.keyFile),
    report,
    pid: process.pid,
    command: shortened([command, ...args]),
  });
  enterCgroup(cgroup);
  restoreOpenFileLimit();
  try {
    return exec(command, args);
  } catch (error) {
    throw execError(command, error);
  }
}

/** Enough to know a command by; the supervisor's own command line has limits. */
function shortened(words: readonly string[]): string[] {
  return words.slice(0, MOST_WORDS).map((word) => word.slice(0, MOST_LETTERS));
}

/** Removes what supervisors that were killed have left: empty cgroups whose command, named by its pid, has ended. */
function sweep(parent: string): void {
  for (const entry of readdirSync(parent)) {
    const pid = /^tpot-run\.(\d+)\.[0-9a-f]+$/.exec(entry)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const cgroup = join(parent, entry);
    if (!isPopulated(cgroup)) removeCgroup(cgroup);
  }
}

/** Starts the supervisor in a session of its own; its stdin ends with this process's exec or death. */
async function startSupervisor(options: SupervisorArguments): Promise<void> {
  const child = spawn(
    process.execPath,
    [builtFile('client-shim', 'supervisor.js'), JSON.stringify(options)],
    {
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore'],
      cwd: '/',
    },
  );
  const report = await firstReport(child);
  if (!report.ready) throw new TpotError(report.code, report.message, { hint: report.hint });
  // Nothing of the child keeps this process alive: it must end when the command cannot be executed.
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as Socket | null)?.unref();
}

function firstReport(child: ChildProcess): Promise<SupervisorReport> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) resolve(JSON.parse(text) as SupervisorReport);
    });
    child.on('error', reject);
    child.on('exit', (code) => {
      reject(
        new TpotError('internal', `the shim's supervisor ended before it was ready (exit ${String(code)})`),
      );
    });
  });
}

/** Node raises the soft limit of open files at its start; the command gets the one our parent has. */
function restoreOpenFileLimit(): void {
  try {
    const limits = readFileSync(`/proc/${process.ppid}/limits`, 'utf8');
    const found = /^Max open files\s+(\d+)\s+(\d+)/m.exec(limits);
    if (found?.[1] !== undefined && found[2] !== undefined)
      setOpenFileLimit(BigInt(found[1]), BigInt(found[2]));
  } catch {
    // the parent has gone: the limit stays as Node set it
  }
}

function execError(command: string, error: unknown): TpotError {
  const missing = error instanceof SystemCallError && error.errnoName === 'ENOENT';
  return missing
    ? new TpotError('command-not-found', `${command}: command not found`, { cause: error })
    : new TpotError('command-not-executable', `${command}: cannot be executed`, { cause: error });
}

/** The shell's exit status for a command that could not be started; undefined for any other error. */
export function execExitStatus(error: TpotError): number | undefined {
  if (error.code === 'command-not-found') return NOT_FOUND;
  return error.code === 'command-not-executable' ? NOT_EXECUTABLE : undefined;
}
