/** A data path, or a plain TCP host, in a host of a topology: fixtures/data-path-driver.mjs in a child process. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../host/paths.js';
import type { Host } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';

const PROGRAM = join(packageRoot, 'test', 'fixtures', 'data-path-driver.mjs');

const STOP_TIMEOUT_MS = 10_000;

export interface RuleSpec {
  readonly ports?: readonly number[];
  readonly sources?: readonly string[];
  readonly destinations?: readonly string[];
  readonly action: 'relay' | 'pass';
}

export interface StartSpec {
  readonly kind: 'ebpf' | 'tun';
  readonly name: string;
  readonly addresses: Readonly<Record<string, string>>;
  readonly rules: readonly RuleSpec[];
  readonly trust?: readonly string[];
  readonly edge?: boolean;
  readonly maxConnections?: number;
  readonly maxPerClient?: number;
  readonly interfaces?: readonly string[];
  /** Opens a leg for each connection, with one hop less, instead of greeting and echoing. */
  readonly relay?: boolean;
}

export interface Ends {
  readonly local: { readonly address: string; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number };
}
export interface Opened extends Ends {
  readonly connection: number;
  readonly nextHop?: string | null;
  readonly reason?: string;
}
export interface Accepted extends Ends {
  readonly event: 'connection';
  readonly connection: number;
  readonly via?: string;
  readonly hops?: number;
  readonly capabilities?: number;
}
interface LegEvent {
  readonly event: 'leg';
  readonly connection: number;
  readonly nextHop: string | null;
  readonly reason: string;
}
type Event = { readonly event: 'up' } | Accepted | LegEvent;

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

export class DriverError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

export class Driver {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #events: Event[] = [];
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #stderr = '';
  #next = 1;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    createInterface({ input: child.stdout }).on('line', (line) =>
      this.#line(JSON.parse(line) as Event | Answer),
    );
    child.on('exit', () => {
      for (const answer of this.#waiting.values()) {
        answer({ error: { code: 'driver-ended', message: this.#stderr.slice(-2000) } });
      }
    });
  }

  static async start(host: Host): Promise<Driver> {
    const driver = new Driver(spawn('nsenter', host.enter(process.execPath, [PROGRAM]), { stdio: 'pipe' }));
    await waitFor(() => driver.#events.some(({ event }) => event === 'up'), { what: 'the driver' });
    return driver;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it logged so far. */
  get log(): string {
    return this.#stderr;
  }

  /** Those that were accepted by now: the answer to a call comes behind what was told before it. */
  async connections(): Promise<Accepted[]> {
    await this.counters();
    return this.#events.filter((event): event is Accepted => event.event === 'connection');
  }

  /** Those that were opened by now. */
  async legs(): Promise<LegEvent[]> {
    await this.counters();
    return this.#events.filter((event): event is LegEvent => event.event === 'leg');
  }

  call(method: string, params: unknown = {}): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        this.#waiting.delete(id);
        if (error === undefined) resolve(result);
        else reject(new DriverError(error.code, error.message));
      });
      this.#child.stdin.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  }

  async startDataPath(spec: StartSpec): Promise<void> {
    await this.call('start', spec);
  }

  connect(address: string, port: number, hops = 0, capabilities = 0): Promise<Opened> {
    return this.call('connect', { address, port, hops, capabilities }) as Promise<Opened>;
  }

  line(connection: number): Promise<string | null> {
    return this.call('line', { connection }) as Promise<string | null>;
  }

  /** Whether what is written comes back: the connection works both ways. */
  async echoes(connection: number): Promise<boolean> {
    const text = `echo ${this.#next}`;
    await this.call('write', { connection, text: `${text}\n` });
    return (await this.line(connection)) === text;
  }

  counters(): Promise<Record<string, number>> {
    return this.call('counters') as Promise<Record<string, number>>;
  }

  /** How many programs hang on the interfaces of its namespace, by whatever means. */
  attached(): Promise<number> {
    return this.call('attached') as Promise<number>;
  }

  /** Ends the process in order, or with a signal. */
  async stop(signal?: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    if (signal === undefined) this.#child.stdin.end();
    else this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  #line(line: Event | Answer): void {
    if ('event' in line) this.#events.push(line);
    else this.#waiting.get(line.id ?? 0)?.(line);
  }
}
