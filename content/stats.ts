/** What the transforms of a node have done. */
import type { StepReport } from './job.js';

/** Upper bounds of the classes of delays, in milliseconds, each 1.4 times the one before. */
const BOUNDS = Array.from({ length: 45 }, (_, index) => 0.1 * 1.4 ** index);

/** Delays in classes of fixed bounds: bounded memory however many there were. */
export class Delays {
  readonly #counts = new Array<number>(BOUNDS.length + 1).fill(0);
  #total = 0;

  add(milliseconds: number): void {
    const at = BOUNDS.findIndex((bound) => milliseconds <= bound);
    const index = at < 0 ? BOUNDS.length : at;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#total++;
  }

  /** The bound below which this share of the delays was, in milliseconds; 0 without any. */
  quantile(share: number): number {
    let left = Math.ceil(this.#total * share);
    if (left === 0) return 0;
    for (const [index, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return Math.round((BOUNDS[index] ?? Infinity) * 10) / 10;
    }
    return Infinity;
  }
}

export interface StepStats {
  readonly name: string;
  readonly responses: number;
  /** Responses that it could make smaller. */
  readonly smaller: number;
  readonly failed: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly cpuSeconds: number;
  /** Milliseconds; classes of fixed bounds, so rounded up by at most 40 %. */
  readonly delayP50: number;
  readonly delayP99: number;
}

class StepSums {
  responses = 0;
  smaller = 0;
  failed = 0;
  bytesIn = 0;
  bytesOut = 0;
  cpuMilliseconds = 0;
  readonly delays = new Delays();
}

/** Steps that are counted apart, over all reloads; further ones are `others`. */
const MOST_STEPS = 128;

export class StepTable {
  readonly #steps = new Map<string, StepSums>();

  add(report: StepReport): void {
    const sums = this.#sums(report.name);
    sums.responses++;
    sums.bytesIn += report.bytesIn;
    sums.bytesOut += report.bytesOut;
    sums.cpuMilliseconds += report.cpuMilliseconds;
    sums.delays.add(report.milliseconds);
    if (report.failed !== undefined) sums.failed++;
    else if (report.bytesOut < report.bytesIn) sums.smaller++;
  }

  rows(): StepStats[] {
    return Array.from(this.#steps, ([name, { delays, cpuMilliseconds, ...sums }]) => ({
      name,
      ...sums,
      cpuSeconds: Math.round(cpuMilliseconds) / 1000,
      delayP50: delays.quantile(0.5),
      delayP99: delays.quantile(0.99),
    }));
  }

  #sums(name: string): StepSums {
    const kept = this.#steps.has(name) || this.#steps.size < MOST_STEPS ? name : 'others';
    const sums = this.#steps.get(kept) ?? new StepSums();
    this.#steps.set(kept, sums);
    return sums;
  }
}
