/**
 * What transforms would save on legs whose other end has none: of what arrives on them, a small share is compressed, and the
 * result thrown away.
 */
import type { Socket } from 'node:net';
import { CODECS, type Codec } from '../transcode/codec.js';
import type { Compressor } from '../transcode/compressor.js';

export interface Estimate {
  /** The next hop, or `destination` where there is none. */
  readonly node: string;
  readonly legs: number;
  /** Bytes that arrived, those of them that were compressed for the estimate, and what these came to. */
  readonly received: number;
  readonly sampled: number;
  readonly sampledTo: number;
  /** Bytes that would not have crossed. */
  readonly wouldSave: number;
}

/** The beginning of every stretch is sampled. */
const STRETCH = 1024 * 1024;
const SAMPLE = 16 * 1024;
/** Bytes that are compressed for estimates in a second, over all legs: about 2 ms of work. */
const MOST_PER_SECOND = 512 * 1024;
const MOST_NODES = 64;

type Sums = { -readonly [Key in Exclude<keyof Estimate, 'node' | 'wouldSave'>]: number };

export class Estimates {
  readonly #nodes = new Map<string, Sums>();
  readonly #now: () => number;
  readonly #codec: Codec;
  #failed = false;
  #compressor: Compressor | undefined;
  #second = 0;
  #spent = 0;
  milliseconds = 0;

  /** `now`: milliseconds. */
  constructor(now: () => number = () => performance.now(), codec = CODECS[0] as Codec) {
    this.#now = now;
    this.#codec = codec;
  }

  /** Looks on at what arrives at a leg that is paused; it stays so, and belongs to whom it belonged to. */
  watch(leg: Socket, nextHop: string | undefined): void {
    const sums = this.#of(nextHop ?? 'destination');
    sums.legs++;
    let seen = 0;
    leg.on('data', (bytes: Buffer) => {
      const at = seen % STRETCH;
      seen += bytes.length;
      sums.received += bytes.length;
      if (at < SAMPLE) this.#sample(bytes.subarray(0, SAMPLE - at), sums);
    });
  }

  report(): Estimate[] {
    return Array.from(this.#nodes, ([node, sums]) => {
      const saved = sums.sampled === 0 ? 0 : Math.max(0, 1 - sums.sampledTo / sums.sampled);
      return { node, ...sums, wouldSave: Math.round(sums.received * saved) };
    });
  }

  close(): void {
    this.#compressor?.close();
    this.#compressor = undefined;
  }

  #of(node: string): Sums {
    const name = this.#nodes.has(node) || this.#nodes.size < MOST_NODES ? node : 'others';
    let sums = this.#nodes.get(name);
    if (sums === undefined) {
      sums = { legs: 0, received: 0, sampled: 0, sampledTo: 0 };
      this.#nodes.set(name, sums);
    }
    return sums;
  }

  #sample(bytes: Buffer, sums: Sums): void {
    const started = this.#now();
    const second = Math.floor(started / 1000);
    if (second !== this.#second) this.#spent = 0;
    this.#second = second;
    if (this.#failed || this.#spent + bytes.length > MOST_PER_SECOND) return;
    this.#spent += bytes.length;
    const left = this.#lengthOf(bytes);
    if (left === undefined) return;
    sums.sampled += bytes.length;
    sums.sampledTo += Math.min(bytes.length, left);
    this.milliseconds += this.#now() - started;
  }

  /** When compressed; undefined where that fails: a leg goes on without an estimate. */
  #lengthOf(bytes: Buffer): number | undefined {
    const level = this.#codec.levels[0] ?? 1;
    try {
      this.#compressor ??= this.#codec.compressor(level);
      this.#compressor.restart(level);
      return this.#compressor.compress(bytes).length;
    } catch {
      this.#failed = true;
      return undefined;
    }
  }
}
