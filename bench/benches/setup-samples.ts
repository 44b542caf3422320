/** What the set-up bench measures. */
import type { SetupOutcome } from '../load/protocol.js';
import type { Usage } from '../measure/cpu.js';

/** Connections at a time: one shows how long a set-up takes, many how many there are in a second. */
export const CONCURRENCIES: readonly number[] = [1, 64];

export interface SetupRound {
  readonly outcome: SetupOutcome;
  readonly usage: Usage;
}

export interface SetupCell {
  readonly contender: string;
  readonly title: string;
  readonly concurrency: number;
  readonly rounds: SetupRound[];
}
