/**
 * Connections set up one after the other on several tracks: connect, a byte there, a byte back, close. The client
 * closes first and so keeps the TIME_WAIT itself: at a proxy, a port that comes again within the minute would meet it,
 * and tpot-node lets such a connection pass by, which would count for what it has not done.
 */
import { close } from '../../host/libc.js';
import { distributionOf } from '../measure/statistics.js';
import { Dialer } from './dial.js';
import type { LoadCommand, SetupOutcome } from './protocol.js';
import { abort, Poller, READABLE, receive, send, shutdownWrite } from './sockets.js';

const REQUEST = Uint8Array.of(0x3f);
const STEP_MS = 100;
/** After the end, what is still open has so long to complete. */
const GRACE_MS = 2000;
const MAX_SAMPLES = 1_000_000;

class Tracks {
  readonly #poller = new Poller();
  readonly #dialer: Dialer;
  readonly #started = new Map<number, number>();
  readonly #answered = new Set<number>();
  readonly #answer = Buffer.alloc(64);
  readonly firstByteUs: number[] = [];
  completed = 0;
  failed = 0;

  constructor(target: Extract<LoadCommand, { op: 'setup' }>['target']) {
    this.#dialer = new Dialer(this.#poller, target);
  }

  get open(): number {
    return this.#started.size;
  }

  start(): void {
    const time = performance.now();
    this.#started.set(this.#dialer.dial(), time);
  }

  /** Moves everything that can move; `next` is called for each connection that ended. */
  step(next: () => void): void {
    this.#poller.wait(STEP_MS, (fd, what) => {
      try {
        if (!this.#advance(fd, what)) return;
        close(fd);
        this.completed += 1;
      } catch {
        abort(fd);
        this.failed += 1;
      }
      this.#forget(fd);
      next();
    });
  }

  abandon(): void {
    this.failed += this.#started.size;
    for (const fd of this.#started.keys()) abort(fd);
    this.#poller.close();
  }

  /** True when the connection is complete. */
  #advance(fd: number, what: number): boolean {
    if (this.#dialer.isDialing(fd)) {
      if (!this.#dialer.advance(fd, what)) return false;
      send(fd, REQUEST);
      this.#poller.change(fd, READABLE);
      return false;
    }
    const length = receive(fd, this.#answer);
    if (length === 0) {
      if (!this.#answered.has(fd)) throw new Error('closed without an answer');
      return true;
    }
    if (length > 0 && !this.#answered.has(fd)) {
      this.#answered.add(fd);
      shutdownWrite(fd);
      const started = this.#started.get(fd) ?? NaN;
      if (this.firstByteUs.length < MAX_SAMPLES) this.firstByteUs.push((performance.now() - started) * 1000);
    }
    return false;
  }

  #forget(fd: number): void {
    this.#dialer.forget(fd);
    this.#started.delete(fd);
    this.#answered.delete(fd);
  }
}

export function setUp(command: Extract<LoadCommand, { op: 'setup' }>): SetupOutcome {
  const tracks = new Tracks(command.target);
  const started = performance.now();
  const end = started + command.seconds * 1000;
  for (let track = 0; track < command.concurrency; track++) tracks.start();
  const next = (): void => {
    if (performance.now() < end) tracks.start();
  };
  let ended = started;
  let completedInTime = 0;
  while (tracks.open > 0 && performance.now() < end + GRACE_MS) {
    tracks.step(next);
    if (performance.now() < end) {
      ended = performance.now();
      completedInTime = tracks.completed;
    }
  }
  tracks.abandon();
  return {
    completed: completedInTime,
    failed: tracks.failed,
    seconds: (ended - started) / 1000,
    firstByte: tracks.firstByteUs.length === 0 ? undefined : distributionOf(tracks.firstByteUs),
  };
}
