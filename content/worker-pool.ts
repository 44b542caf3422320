/**
 * The processes in which content is transformed, so many at once and no more; a process that takes too long is killed with
 * everything it has started, and another one takes its place when it is needed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { TpotError } from '../core/errors.js';
import { builtFile } from '../host/paths.js';
import { Decoder, encode, type Message } from './channel.js';
import { resultOf, type ContentJob, type ContentResult } from './job.js';

export interface PoolLimits {
  /** Processes, and so responses under work, at once. */
  readonly processes: number;
  /** Bytes of data each may have. */
  readonly memory: number;
  /** Milliseconds for one response, the wait for a process included. */
  readonly timeout: number;
  /** Bytes that a step may give back. */
  readonly largest: number;
}

/** Responses that wait for a process, and their bytes as a multiple of the largest one; a further one passes as it is. */
const MOST_WAITING = 64;
const MOST_WAITING_BYTES = 16;
/** A process that nobody has needed for so long ends. */
const IDLE_MS = 60_000;

/** Limits in a shell that reads none of the arguments, then Node in its place. */
const LIMITED = 'ulimit -d "$1" && ulimit -c 0 && shift && exec "$@"';

/** From Node 24 on, V8 maps room for its code as data: 512 MiB that nothing else can use, and that the limit counts. */
const CODE_RANGE = Number.parseInt(process.versions.node, 10) >= 24 ? 512 * 2 ** 20 : 0;

interface Task {
  /** The worker's answer repeats it, so that none is taken for that to another response. */
  readonly id: number;
  readonly job: ContentJob;
  readonly done: (result: ContentResult) => void;
  readonly failed: (error: Error) => void;
  deadline: NodeJS.Timeout | undefined;
}

class Worker {
  readonly #child: ChildProcess;
  readonly #decoder: Decoder;
  #task: Task | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** Ends after what it is doing. */
  #retired = false;

  constructor({ memory, timeout, largest }: PoolLimits, freed: (worker: Worker) => void, gone: () => void) {
    this.#decoder = new Decoder(largest);
    const heap = Math.max(64, Math.floor(memory / 2 ** 20 / 2));
    const node = [process.execPath, `--max-old-space-size=${heap}`, builtFile('content', 'worker.js')];
    const seconds = Math.ceil(timeout / 1000) + 1;
    const limits = [
      String(Math.ceil((memory + CODE_RANGE) / 1024)),
      ...node,
      String(largest),
      String(seconds),
    ];
    this.#child = spawn('/bin/sh', ['-c', LIMITED, 'sh', ...limits], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '2' },
      detached: true, // a process group of its own, which is killed as one
    });
    this.#child.unref();
    this.#child.stdin?.on('error', () => undefined); // `close` is what counts
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      try {
        for (const message of this.#decoder.push(chunk)) this.#answered(message, freed);
      } catch {
        this.kill(); // nothing that it says can be relied on
      }
    });
    this.#child.once('error', (error) => this.#ended(error, gone));
    this.#child.once('close', (code, signal) => {
      const how = `the process ended with ${code ?? signal ?? 'nothing'}`;
      this.#ended(new TpotError('content-worker', how), gone);
    });
    this.#keepAlive(false);
  }

  get busy(): boolean {
    return this.#task !== undefined;
  }

  start(task: Task): void {
    clearTimeout(this.#idle);
    this.#task = task;
    this.#keepAlive(true);
    this.#child.stdin?.write(encode({ ...task.job, id: task.id }));
  }

  rest(): void {
    this.#idle = setTimeout(() => this.retire(), IDLE_MS).unref();
  }

  retire(): void {
    this.#retired = true;
    if (!this.busy) this.#child.stdin?.end();
  }

  kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // it has just ended
    }
  }

  get retired(): boolean {
    return this.#retired;
  }

  /** While it works, its answer is waited for; an idle one must not keep this process. */
  #keepAlive(awake: boolean): void {
    for (const end of [this.#child.stdin, this.#child.stdout] as (Socket | null)[]) {
      if (awake) end?.ref();
      else end?.unref();
    }
  }

  /** @throws TpotError for what cannot be the answer */
  #answered(message: Message, freed: (worker: Worker) => void): void {
    const task = this.#task;
    if (task === undefined || message.id !== task.id) {
      throw new TpotError('content-worker', 'the process answered what it was not asked');
    }
    const result = resultOf(message, task.job.content.length);
    this.#finish(({ done }) => done(result));
    freed(this);
  }

  #finish(tell: (task: Task) => void): void {
    const task = this.#task;
    this.#task = undefined;
    this.#keepAlive(false);
    if (task !== undefined) tell(task);
    if (this.#retired) this.#child.stdin?.end();
  }

  #ended(error: Error, gone: () => void): void {
    clearTimeout(this.#idle);
    this.#retired = true;
    this.#finish((task) => task.failed(error));
    gone();
  }
}

export class WorkerPool {
  readonly #limits: PoolLimits;
  readonly #workers = new Set<Worker>();
  readonly #waiting: Task[] = [];
  readonly #running = new WeakMap<Task, Worker>();
  #closed = false;
  #nextId = 1;

  constructor(limits: PoolLimits) {
    this.#limits = limits;
  }

  /**
   * Runs a job to its end.
   *
   * @throws TpotError `content-busy`: no process became free in time; `content-timeout`; `content-worker`: it died
   */
  run(job: ContentJob): Promise<ContentResult> {
    return new Promise((resolve, reject) => {
      const settle = (tell: () => void): void => {
        clearTimeout(task.deadline);
        tell();
      };
      const task: Task = {
        id: this.#nextId++,
        job,
        done: (result) => settle(() => resolve(result)),
        failed: (error) => settle(() => reject(error)),
        deadline: undefined,
      };
      if (this.#closed || this.#full(job.content.length)) {
        reject(new TpotError('content-busy', 'too many responses wait to be transformed'));
        return;
      }
      this.#waiting.push(task);
      task.deadline = setTimeout(() => this.#expire(task), this.#limits.timeout).unref();
      this.#dispatch();
    });
  }

  /** Processes that begin from now on read modules anew; those there are end after what they are doing. */
  renew(): void {
    for (const worker of this.#workers) worker.retire();
  }

  close(): void {
    this.#closed = true;
    const error = new TpotError('content-busy', 'the node is stopping');
    for (const task of this.#waiting.splice(0)) task.failed(error);
    for (const worker of this.#workers) worker.kill();
  }

  #full(bytes: number): boolean {
    if (this.#waiting.length >= MOST_WAITING) return true;
    const waiting = this.#waiting.reduce((sum, { job }) => sum + job.content.length, bytes);
    return waiting > MOST_WAITING_BYTES * this.#limits.largest;
  }

  #expire(task: Task): void {
    const at = this.#waiting.indexOf(task);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      task.failed(new TpotError('content-busy', 'no process became free in time'));
      return;
    }
    this.#running.get(task)?.kill();
    task.failed(new TpotError('content-timeout', `it took more than ${this.#limits.timeout} ms`));
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const worker = this.#free();
      const task = worker === undefined ? undefined : this.#waiting.shift();
      if (worker === undefined || task === undefined) return;
      this.#running.set(task, worker);
      worker.start(task);
    }
  }

  #free(): Worker | undefined {
    for (const worker of this.#workers) if (!worker.busy && !worker.retired) return worker;
    if (this.#workers.size >= this.#limits.processes) return undefined;
    const worker: Worker = new Worker(
      this.#limits,
      (freed) => {
        freed.rest();
        this.#dispatch();
      },
      () => {
        this.#workers.delete(worker);
        this.#dispatch();
      },
    );
    this.#workers.add(worker);
    return worker;
  }
}
