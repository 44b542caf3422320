/** Numbers that a seed decides, and how many cases a fuzz run has. */

/** xorshift32 (Marsaglia, *Xorshift RNGs*): fast, and the same for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ 0x5450) >>> 0 || 1;
  }

  /** 0 … 2^32 - 1. */
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.#state = x >>> 0);
  }

  /** 0 … limit - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  /** True once in `n` times. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)];
    if (chosen === undefined) throw new RangeError('nothing to choose from');
    return chosen;
  }

  bytes(length: number): Uint8Array {
    return new Uint8Array(length).map(() => this.u32() >>> 24);
  }
}

export interface FuzzRun {
  readonly random: Random;
  readonly cases: number;
  /** Says on stdout what was run; `seen`: how often each outcome was met. */
  readonly done: (seen: ReadonlyMap<string, number>) => void;
}

function fromEnvironment(name: string, otherwise: number): number {
  const text = process.env[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name} must be a whole number above 0`);
  return value;
}

/** FUZZ_CASES and FUZZ_SEED in the environment; without them `cases`, and a seed by the clock, which is printed. */
export function fuzzRun(what: string, cases: number): FuzzRun {
  const seed = fromEnvironment('FUZZ_SEED', Date.now() >>> 0);
  const count = fromEnvironment('FUZZ_CASES', cases);
  const started = performance.now();
  console.log(`fuzz ${what}: FUZZ_SEED=${seed} FUZZ_CASES=${count}`);
  return {
    random: new Random(seed),
    cases: count,
    done(seen) {
      const rate = Math.round(count / ((performance.now() - started) / 1000));
      const outcomes = [...seen].map(([outcome, times]) => `${outcome} ${times}`).join(', ');
      console.log(`fuzz ${what}: ${count} cases, ${rate} a second, seed ${seed}: ${outcomes}`);
    },
  };
}

export function countIn(seen: Map<string, number>, outcome: string): void {
  seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
}
