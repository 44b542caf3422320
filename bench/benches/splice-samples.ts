/** What the throughput bench measures. */
import type { PacketSize } from '../measure/offloads.js';
import type { Transfer } from '../measure/transfer.js';

/** Rounds of one contender under one load, in the order they were run. */
export interface Cell {
  readonly contender: string;
  readonly size: PacketSize;
  readonly connections: number;
  readonly transfers: Transfer[];
}

export interface SpliceSamples {
  readonly cells: readonly Cell[];
  /** All at the rate that the slowest reaches. */
  readonly equalRate: number;
  readonly equal: readonly Cell[];
}
