/** A mapping of splice/ as the kernel's table holds it. */
import { toMapped, type IpAddress } from '../core/address.js';
import { TpotSpliceFlag, type TpotFlow, type TpotSplice } from '../bpf/generated/maps.js';
import type { FlowEnds, Mapping } from '../splice/mapping.js';

const NO_ADDRESS = new Uint8Array(16);

export function kernelFlow(flow: FlowEnds): TpotFlow {
  return {
    source: toMapped(flow.source),
    destination: toMapped(flow.destination),
    sourcePort: flow.sourcePort,
    destinationPort: flow.destinationPort,
  };
}

export const reverseKernelFlow = (flow: TpotFlow): TpotFlow => ({
  source: flow.destination,
  destination: flow.source,
  sourcePort: flow.destinationPort,
  destinationPort: flow.sourcePort,
});

export interface EntryFacts {
  /** Segments of this direction count only from the tunnel of this address. */
  readonly outerSource: IpAddress | undefined;
  /** That tunnel is in UDP. */
  readonly udp?: boolean;
  readonly fromClient: boolean;
  /** Its client takes return tunnels. */
  readonly returns?: boolean;
  /** Payload that was relayed before. */
  readonly bytes: bigint;
  /** CLOCK_MONOTONIC. */
  readonly now: bigint;
  readonly startedAt: bigint;
  /** User space gets a copy of what arrives; `startedAt` then tells of which connection it is. */
  readonly tapped?: boolean;
}

/** What stands in the table while the connection is being handed over. */
export function holdEntry(out: FlowEnds, now: bigint): TpotSplice {
  return {
    out: kernelFlow(out),
    outerSource: NO_ADDRESS,
    base: 0,
    sequenceDelta: 0,
    acknowledgmentDelta: 0,
    timestampDelta: 0,
    echoDelta: 0,
    peerFin: 0,
    maxSegment: 0,
    scaleUp: 0,
    scaleDown: 0,
    flags: TpotSpliceFlag.HOLD,
    sent: 0,
    acknowledged: 0,
    tooBig: 0,
    packets: 0n,
    bytes: 0n,
    startedNs: now,
    seenNs: now,
    stalled: 0,
    stalls: 0,
    counted: 0,
    unused: 0,
  };
}

export function spliceEntry(mapping: Mapping, facts: EntryFacts): TpotSplice {
  const { TUNNELLED, FROM_CLIENT, TIMESTAMPS, SACK, ECN, UDP, TAPPED, RETURNS } = TpotSpliceFlag;
  return {
    ...holdEntry(mapping.out, facts.now),
    outerSource: facts.outerSource === undefined ? NO_ADDRESS : toMapped(facts.outerSource),
    base: mapping.base,
    sent: mapping.base,
    acknowledged: mapping.acknowledged,
    sequenceDelta: mapping.sequenceDelta,
    acknowledgmentDelta: mapping.acknowledgmentDelta,
    timestampDelta: mapping.timestampDelta,
    echoDelta: mapping.echoDelta,
    maxSegment: mapping.maxSegment,
    scaleUp: mapping.scaleUp,
    scaleDown: mapping.scaleDown,
    flags:
      (facts.outerSource === undefined ? 0 : TUNNELLED) |
      (facts.fromClient ? FROM_CLIENT : 0) |
      (facts.udp === true ? UDP : 0) |
      (facts.tapped === true ? TAPPED : 0) |
      (facts.returns === true ? RETURNS : 0) |
      (mapping.timestamps ? TIMESTAMPS : 0) |
      (mapping.sack ? SACK : 0) |
      (mapping.ecn ? ECN : 0),
    bytes: facts.bytes,
    startedNs: facts.startedAt,
  };
}
