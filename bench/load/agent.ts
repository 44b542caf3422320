/** The bench's side of a load program that runs in a host of a topology. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { TpotError } from '../../core/errors.js';
import { builtFile } from '../../host/paths.js';
import { tpotNodeCommand, type Host } from '../../netns/host.js';
import type { LoadCommand, LoadEvent } from './protocol.js';

export interface AgentOptions {
  readonly program: 'client' | 'sink';
  /** Run under `tpot-node run`. */
  readonly tunnelled?: boolean;
  /** Keep to this processor. */
  readonly core?: number | undefined;
}

interface Waiting {
  readonly event: LoadEvent['event'];
  readonly resolve: (event: LoadEvent) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const QUOTED_TAIL = 600;

/** Ends by itself when this process does: its stdin is ours. */
export class Agent {
  readonly #label: string;
  readonly #child: ChildProcess;
  readonly #seen: LoadEvent[] = [];
  #waiting: Waiting | undefined;
  #complaint = '';
  #ended = false;

  private constructor(host: Host, { program, tunnelled = false, core }: AgentOptions) {
    this.#label = `${host.name} ${program}`;
    const shim = tunnelled ? [...tpotNodeCommand, 'run', '--'] : [];
    const pin = core === undefined ? [] : ['taskset', '-c', String(core)];
    const words = [...shim, ...pin, process.execPath, builtFile('bench', 'load', `${program}.js`)];
    const [command = '', ...args] = words;
    this.#child = spawn('nsenter', host.enter(command, args), { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#listen();
  }

  static async start(host: Host, options: AgentOptions): Promise<Agent> {
    const agent = new Agent(host, options);
    await agent.event('ready');
    return agent;
  }

  send(command: LoadCommand): void {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  /** The next event of that kind. Throws `load-failed` when the program reports an error, ends, or stays silent. */
  event<Name extends LoadEvent['event']>(
    name: Name,
    timeoutMs: number = DEFAULT_TIMEOUT_MS,
  ): Promise<Extract<LoadEvent, { event: Name }>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`said no "${name}" in ${timeoutMs} ms`), timeoutMs);
      // The event is of the kind that was asked for: #deliver compares the names.
      const take = (event: LoadEvent): void => resolve(event as Extract<LoadEvent, { event: Name }>);
      this.#waiting = { event: name, resolve: take, reject, timer };
      this.#deliver();
      if (this.#ended) this.#fail('has ended');
    });
  }

  async ask<Name extends LoadEvent['event']>(
    command: LoadCommand,
    name: Name,
    timeoutMs?: number,
  ): Promise<Extract<LoadEvent, { event: Name }>> {
    this.send(command);
    return this.event(name, timeoutMs);
  }

  stop(): void {
    this.#child.stdin?.end();
  }

  #listen(): void {
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on('error', () => undefined); // it has ended, which `exit` tells
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-QUOTED_TAIL);
    });
    if (stdout !== null) {
      createInterface({ input: stdout }).on('line', (line) => {
        this.#seen.push(JSON.parse(line) as LoadEvent);
        this.#deliver();
      });
    }
    this.#child.on('error', () => this.#end());
    this.#child.on('close', () => this.#end());
  }

  #deliver(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const error = this.#seen.find((event) => event.event === 'error');
    const wanted = this.#seen.find(({ event }) => event === waiting.event);
    if (error === undefined && wanted === undefined) return;
    this.#seen.length = 0;
    if (error !== undefined) {
      this.#fail(error.message);
    } else if (wanted !== undefined) {
      this.#settle();
      waiting.resolve(wanted);
    }
  }

  #end(): void {
    this.#ended = true;
    this.#fail(`has ended: ${this.#complaint.trim() || 'it said nothing'}`);
  }

  #fail(what: string): void {
    const waiting = this.#waiting;
    this.#settle();
    waiting?.reject(new TpotError('load-failed', `${this.#label}: ${what}`));
  }

  #settle(): void {
    if (this.#waiting !== undefined) clearTimeout(this.#waiting.timer);
    this.#waiting = undefined;
  }
}
