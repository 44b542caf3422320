/** What the latency bench measures. */
import type { Delay } from '../measure/delays.js';

/**
 * `idle`: messages at intervals. `load`: the same beside other connections that carry so much together. `stream`: one
 * connection as fast as it goes, as in the paper.
 */
export type Condition = 'idle' | 'load' | 'stream';
export const CONDITIONS: readonly Condition[] = ['idle', 'load', 'stream'];

/** One contender under one condition. */
export interface DelayCell {
  readonly contender: string;
  readonly title: string;
  readonly condition: Condition;
  readonly rounds: (readonly Delay[])[];
  dropped: number;
}
