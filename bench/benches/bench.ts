/** What a bench is. */
import type { Findings } from '../result.js';

export interface BenchOptions {
  /** Under a minute: fewer rounds, shorter, fewer cases. */
  readonly quick: boolean;
  /** Names of contenders; absent: all. */
  readonly only?: readonly string[] | undefined;
  /** Told what is being done. */
  readonly progress: (text: string) => void;
}

export interface Bench {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  readonly run: (options: BenchOptions) => Promise<Findings>;
}
