/**
 * What the bench tells its load programs, one JSON object a line on their stdin, and what they answer on stdout.
 *
 * ```
 *   client   bulk    ─▶ connected … (pushes) … stop ─▶ stopped        setup ─▶ setup-done
 *            paced   ─▶ paced-done                                    burst ─▶ burst-done
 *   sink     count   ─▶ count
 * ```
 */
import type { Distribution } from '../measure/statistics.js';

/** Ports of the sink, and of every proxy in front of it. */
export const PORT = { bulk: 5001, probe: 5002, answer: 5003 } as const;

/** Starts every message of a probe and every bulk stream, so that it is found again on both sides of a proxy. */
export const MARK = Buffer.from('TPOTMARK', 'latin1');

export interface Target {
  readonly address: string;
  readonly port: number;
  /** Reached through a SOCKS 5 server. */
  readonly socks?: { readonly address: string; readonly port: number } | undefined;
}

export type LoadCommand =
  /** Opens connections, lets them rest, then pushes until told to stop. */
  | {
      readonly op: 'bulk';
      readonly target: Target;
      readonly connections: number;
      readonly restMs: number;
      /** Bytes a second of all connections together; 0: as fast as they go. */
      readonly rate: number;
    }
  | { readonly op: 'stop' }
  /** One connection that pushes so many bytes. */
  | { readonly op: 'burst'; readonly target: Target; readonly bytes: number; readonly restMs: number }
  /** One connection that sends messages of `size` bytes at equal intervals. */
  | {
      readonly op: 'paced';
      readonly target: Target;
      readonly size: number;
      readonly count: number;
      readonly intervalUs: number;
      readonly restMs: number;
    }
  /** Connect, send a byte, wait for the first byte, close; again and again. */
  | {
      readonly op: 'setup';
      readonly target: Target;
      readonly concurrency: number;
      readonly seconds: number;
    }
  | { readonly op: 'count' };

export interface SetupOutcome {
  readonly completed: number;
  readonly failed: number;
  readonly seconds: number;
  /** Microseconds from connect() to the first byte of the answer; absent when nothing completed. */
  readonly firstByte: Distribution | undefined;
}

export type LoadEvent =
  | { readonly event: 'ready' }
  | { readonly event: 'connected' }
  | { readonly event: 'stopped'; readonly bytes: number }
  | { readonly event: 'burst-done'; readonly bytes: number }
  | { readonly event: 'paced-done' }
  | ({ readonly event: 'setup-done' } & SetupOutcome)
  | { readonly event: 'count'; readonly bytes: number; readonly connections: number; readonly timeMs: number }
  | { readonly event: 'error'; readonly message: string };
