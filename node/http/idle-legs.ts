/** Legs that wait for their next request, by pool name; the one that was used last goes first. */
import type { HttpLeg } from './http-leg.js';

interface Waiting {
  readonly leg: HttpLeg;
  /** Monotonic milliseconds until which it is kept. */
  readonly until: number;
}

export class IdleLegs {
  readonly #mostPerName: number;
  readonly #timeout: number;
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #watched = new WeakSet<HttpLeg>();
  #size = 0;
  #timer: NodeJS.Timeout | undefined;
  /** When the next of them is to be closed. */
  #next = Infinity;

  /** `timeout`: milliseconds that one is kept at most. */
  constructor(mostPerName: number, timeout: number) {
    this.#mostPerName = mostPerName;
    this.#timeout = timeout;
  }

  get size(): number {
    return this.#size;
  }

  /** The leg that was used last of this name. */
  take(name: string): HttpLeg | undefined {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return undefined;
    let last = waiting.pop();
    for (; last !== undefined; last = waiting.pop()) {
      this.#size--;
      if (!last.leg.socket.destroyed) break;
    }
    if (waiting.length === 0) this.#waiting.delete(name);
    return last?.leg;
  }

  /** Keeps a leg; `false` when there are enough of its name. */
  keep(name: string, leg: HttpLeg): boolean {
    const waiting = this.#waiting.get(name) ?? [];
    if (waiting.length >= this.#mostPerName) return false;
    if (waiting.length === 0) this.#waiting.set(name, waiting);
    const until = performance.now() + Math.min(this.#timeout, leg.keptFor);
    waiting.push({ leg, until });
    this.#size++;
    this.#sweepAt(until);
    if (!this.#watched.has(leg)) {
      this.#watched.add(leg);
      leg.socket.once('close', () => this.#remove(name, (one) => one.leg === leg));
    }
    return true;
  }

  /** Closes those of one name. */
  close(name: string): void {
    for (const { leg } of [...(this.#waiting.get(name) ?? [])]) leg.socket.destroy();
    this.#remove(name, () => true);
  }

  closeAll(): void {
    clearTimeout(this.#timer);
    this.#next = Infinity;
    for (const name of [...this.#waiting.keys()]) this.close(name);
  }

  /** Closes those whose time is over, and comes back for the others. */
  #sweep(): void {
    this.#next = Infinity;
    const now = performance.now();
    for (const [name, waiting] of [...this.#waiting]) {
      const over = waiting.filter(({ until }) => until <= now);
      for (const { leg } of over) leg.socket.destroy();
      this.#remove(name, ({ until }) => until <= now);
      for (const { until } of waiting) if (until > now) this.#sweepAt(until);
    }
  }

  #sweepAt(until: number): void {
    if (until >= this.#next) return;
    clearTimeout(this.#timer);
    this.#next = until;
    this.#timer = setTimeout(() => this.#sweep(), Math.max(1, Math.ceil(until - performance.now()))).unref();
  }

  #remove(name: string, gone: (one: Waiting) => boolean): void {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return;
    const left = waiting.filter((one) => !gone(one));
    this.#size -= waiting.length - left.length;
    if (left.length === 0) this.#waiting.delete(name);
    else this.#waiting.set(name, left);
  }
}
