/**
 * Whether two connections can be joined, and the two mappings that join them. Pure: what is known of a leg is read
 * elsewhere, at a moment when nothing is queued and nothing can arrive.
 */
import { seq, type Seq } from '../wire/seq.js';
import { TCP_MIN_HEADER } from '../wire/tcp.js';
import { reverse, type FlowEnds, type Mapping } from './mapping.js';

/** NOP, NOP, timestamps: what a segment with timestamps carries at least (RFC 7323 appendix A). */
const TIMESTAMPS_LENGTH = 12;
/** TCP header and payload. A leg that takes less is not worth cutting segments up for. */
const MIN_SEGMENT = 512;

/** Why a connection that was to be spliced stays relayed. Stable: part of `conns` and `stats`. */
export const RELAYED_REASONS = {
  'relayed-busy': 'the connection did not fall idle in time',
  'relayed-closing': 'one side has ended its direction, or the connection is gone',
  'relayed-forwarding': 'the kernel does not forward packets of this family (ip_forward)',
  'relayed-limit': 'the table of spliced connections is full',
  'relayed-local': 'the other end is on this machine',
  'relayed-mss': 'one leg takes very small segments only',
  'relayed-taps': 'as many responses are being copied while they pass in the kernel as may be',
  'relayed-timestamps': 'one leg has timestamps and the other has not',
  'relayed-tunnels': 'one leg has a tunnel in UDP, the other one by IP in IP',
  'relayed-unsupported': 'this kernel does not let the state of a connection be read',
} as const;
export type RelayedReason = keyof typeof RELAYED_REASONS;

/** What one leg's own TCP knows, seen from the node. */
export interface LegState {
  /** As its segments arrive. */
  readonly flow: FlowEnds;
  /** The next sequence number the node would send; all before it are acknowledged. */
  readonly sendNext: Seq;
  /** The next sequence number the node expects; all before it were read. */
  readonly receiveNext: Seq;
  /** Undefined when they were not negotiated. `sent`: not before any TSval sent; `received`: not after the last one. */
  readonly timestamps: { readonly sent: number; readonly received: number } | undefined;
  readonly sack: boolean;
  readonly ecn: boolean;
  /** Shift count of the windows that arrive; 0 without the option. */
  readonly theirScale: number;
  /** Shift count of the windows the node sends. */
  readonly ourScale: number;
  /** Payload of the largest segment the node may send, options that every segment carries already taken off. */
  readonly sendMss: number;
}

export type Joined =
  | { readonly ok: true; readonly fromA: Mapping; readonly fromB: Mapping }
  | { readonly ok: false; readonly reason: RelayedReason };

function direction(from: LegState, to: LegState): Mapping {
  const stamps = from.timestamps !== undefined && to.timestamps !== undefined;
  const delta = (sent = 0, received = 0): number => (stamps ? seq(sent - received) : 0);
  return {
    out: reverse(to.flow),
    base: from.receiveNext,
    acknowledged: from.sendNext,
    sequenceDelta: seq(to.sendNext - from.receiveNext),
    acknowledgmentDelta: seq(to.receiveNext - from.sendNext),
    timestampDelta: delta(to.timestamps?.sent, from.timestamps?.received),
    // Exactly what the other direction added, taken off again.
    echoDelta: delta(to.timestamps?.received, from.timestamps?.sent),
    scaleUp: from.theirScale,
    scaleDown: to.ourScale,
    maxSegment: to.sendMss + TCP_MIN_HEADER + (to.timestamps === undefined ? 0 : TIMESTAMPS_LENGTH),
    timestamps: stamps,
    sack: from.sack && to.sack,
    ecn: from.ecn && to.ecn,
  };
}

/**
 * Joins the legs of A and B. SACK and ECN of one side alone are taken out of its segments, windows are translated
 * between any two scales. Timestamps of one side alone would be missing from what that side receives, which it may
 * drop for that (RFC 7323 section 3.2), so such a pair stays relayed. Segments of one leg that are too large for the
 * other are made to fit on their way (fit.ts).
 */
export function joinLegs(a: LegState, b: LegState): Joined {
  if ((a.timestamps === undefined) !== (b.timestamps === undefined))
    return { ok: false, reason: 'relayed-timestamps' };
  const [fromA, fromB] = [direction(a, b), direction(b, a)];
  if (Math.min(fromA.maxSegment, fromB.maxSegment) < MIN_SEGMENT) return { ok: false, reason: 'relayed-mss' };
  return { ok: true, fromA, fromB };
}
