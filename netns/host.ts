/**
 * A host of a topology: one network namespace, and what runs in it.
 *
 * Namespaces are entered with `nsenter --net`, never with `ip netns exec`: that one mounts a fresh /sys and so hides
 * the BPF file system and the cgroup tree, which nodes and the client shim need.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TpotError } from '../core/errors.js';
import { packageRoot } from '../host/paths.js';
import { identify, signalProcess, type ProcessIdentity } from './processes.js';
import type { Role } from './spec.js';
import { waitFor, type WaitOptions } from './wait.js';

export interface RunOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** SIGKILL after this long; default 60 s. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit status; `undefined` when a signal ended the program. */
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Names the output files in the topology's directory; default: the program's base name. */
  readonly label?: string;
}

export interface ExitStatus {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

/** What a host needs of the topology it belongs to. */
export interface HostContext {
  readonly directory: string;
  /** Notes a process on disk, so that it can be ended even when this one was killed. */
  register(process: ProcessIdentity, child: ChildProcess): void;
}

const RUN_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 10_000;
const LISTEN_STATE = '0A'; // TCP_LISTEN in /proc/net/tcp
const QUOTED_TAIL = 600;

/** How to start the command line of this checkout. */
export const tpotNodeCommand: readonly [string, string] = [
  process.execPath,
  join(packageRoot, 'bin', 'tpot-node'),
];

function readProc(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // the process has ended, which its status tells
  }
}

/** A program that goes on running in a host. Its output goes to files, so that it outlives this process if kept. */
export class Program {
  readonly label: string;
  readonly pid: number;
  readonly exited: Promise<ExitStatus>;
  readonly stdoutFile: string;
  readonly stderrFile: string;
  readonly #identity: ProcessIdentity | undefined;
  #status: ExitStatus | undefined;

  constructor(child: ChildProcess, label: string, outputs: { stdout: string; stderr: string }) {
    this.label = label;
    this.pid = child.pid ?? 0;
    this.#identity = identify(this.pid);
    this.stdoutFile = outputs.stdout;
    this.stderrFile = outputs.stderr;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#status = { code: code ?? undefined, signal: signal ?? undefined };
        resolve(this.#status);
      });
    });
  }

  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  /** How the program ended; `undefined` while it runs. */
  get status(): ExitStatus | undefined {
    return this.#status;
  }

  stdout(): string {
    return readFileSync(this.stdoutFile, 'utf8');
  }

  stderr(): string {
    return readFileSync(this.stderrFile, 'utf8');
  }

  /**
   * Waits until the program's stdout matches.
   *
   * @throws TpotError `program-ended` when it ends without; `timeout`.
   */
  async output(pattern: RegExp, options: WaitOptions = {}): Promise<RegExpMatchArray> {
    return this.while(() => this.stdout().match(pattern), {
      what: `${this.label} to print ${pattern}`,
      ...options,
    });
  }

  /** Waits until something listens on a TCP port in the program's namespace. */
  async listening(port: number, options: WaitOptions = {}): Promise<void> {
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const pattern = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} \\S+ ${LISTEN_STATE} `, 'm');
    const listens = (): boolean =>
      ['tcp', 'tcp6'].some((table) => pattern.test(readProc(`/proc/${this.pid}/net/${table}`)));
    await this.while(listens, { what: `${this.label} to listen on port ${port}`, ...options });
  }

  /** {@link waitFor}, given up at once when the program ends. */
  async while<T>(
    condition: () => T | Promise<T>,
    options: WaitOptions,
  ): Promise<Exclude<T, false | undefined | null | 0 | ''>> {
    return waitFor(async () => {
      const ended = this.#status; // before the look at the condition: the last output counts
      const value = await condition();
      if (!value && ended !== undefined) throw this.#ended(ended);
      return value;
    }, options);
  }

  /** Sends a signal; false when the program has ended. */
  signal(signal: NodeJS.Signals): boolean {
    return (
      this.#identity !== undefined && this.#status === undefined && signalProcess(this.#identity, signal)
    );
  }

  /** Ends the program and waits until it has; SIGKILL after `timeoutMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs: number = STOP_TIMEOUT_MS): Promise<ExitStatus> {
    this.signal(signal);
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  #ended(status: ExitStatus): TpotError {
    const how = status.signal ?? `status ${status.code ?? 'unknown'}`;
    const said = this.stderr().slice(-QUOTED_TAIL).trim();
    return new TpotError('program-ended', `${this.label} ended (${how}): ${said || 'it said nothing'}`);
  }
}

export class Host {
  readonly name: string;
  readonly role: Role;
  /** Name under /run/netns. */
  readonly namespace: string;
  /** The address of the host's first link. */
  readonly address: string;
  readonly #context: HostContext;
  readonly #labels = new Map<string, number>();

  constructor(
    identity: { name: string; role: Role; namespace: string; address: string },
    context: HostContext,
  ) {
    this.name = identity.name;
    this.role = identity.role;
    this.namespace = identity.namespace;
    this.address = identity.address;
    this.#context = context;
  }

  /** Arguments of nsenter that run `program` in this host. */
  enter(program: string, args: readonly string[]): string[] {
    return [`--net=/run/netns/${this.namespace}`, '--', program, ...args];
  }

  /** Runs a program to its end; rejects only when it cannot be started. */
  run(program: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
    return new Promise((resolve, reject) => {
      const child = spawn('nsenter', this.enter(program, args), { env: { ...process.env, ...options.env } });
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? RUN_TIMEOUT_MS);
      child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
      child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
      child.on('error', reject);
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString('utf8');
        resolve({
          stdout: text(stdout),
          stderr: text(stderr),
          code: code ?? undefined,
          signal: signal ?? undefined,
        });
      });
      child.stdin.on('error', () => undefined); // the program may end before it has read its input
      child.stdin.end(options.input);
    });
  }

  /** {@link run}; a status other than 0 is a `command-failed` error that quotes the program. Gives its stdout. */
  async must(program: string, args: readonly string[] = [], options: RunOptions = {}): Promise<string> {
    const result = await this.run(program, args, options);
    if (result.code !== 0) {
      const said = (result.stderr || result.stdout).slice(-QUOTED_TAIL).trim();
      const how = result.signal ?? `exit ${result.code ?? 'unknown'}`;
      throw new TpotError('command-failed', `${this.name}: ${program} ${args.join(' ')}: ${how}: ${said}`);
    }
    return result.stdout;
  }

  /** Starts a program that goes on running; it is ended when the topology is closed. */
  spawn(program: string, args: readonly string[] = [], options: SpawnOptions = {}): Program {
    const label = this.#label(options.label ?? program.split('/').pop() ?? program);
    const outputs = {
      stdout: join(this.#context.directory, `${label}.out`),
      stderr: join(this.#context.directory, `${label}.err`),
    };
    const descriptors = [outputs.stdout, outputs.stderr].map((file) => openSync(file, 'w'));
    const child = spawn('nsenter', this.enter(program, args), {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', ...descriptors],
      // A session of its own: Ctrl-C in the terminal reaches only this process, which then ends the others in order.
      detached: true,
    });
    child.on('error', () => undefined); // shows as an exit without a pid
    for (const descriptor of descriptors) closeSync(descriptor);
    const running = new Program(child, label, outputs);
    if (running.identity !== undefined) this.#context.register(running.identity, child);
    return running;
  }

  #label(wanted: string): string {
    const count = (this.#labels.get(wanted) ?? 0) + 1;
    this.#labels.set(wanted, count);
    return `${this.name}-${wanted}${count === 1 ? '' : `-${count}`}`;
  }
}
