/**
 * What becomes of a segment when two TCP connections are joined: the reference of `bpf/tpot_splice.h`.
 *
 * ```
 *      A ══ leg a ══ node ══ leg b ══ B          A's byte base + n      is B's byte base′ + n
 *        seq, TSval ─────▶ + delta               A acknowledges in the numbers the node used on leg a:
 *        ack, SACK, TSecr ▶ + delta′             mapped, in those B uses on leg b
 * ```
 *
 * Source: Maltz and Bhagwat, *TCP Splicing for Application Layer Proxy Performance*, sections 3.2 to 3.4. What differs
 * from it is said where it does.
 */
import { concat } from '../wire/bytes.js';
import { checksum, pseudoHeaderSum } from '../wire/checksum.js';
import { ip, type IpRepr } from '../wire/ip.js';
import { ipv4 } from '../wire/ipv4.js';
import { ipv6 } from '../wire/ipv6.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add, lt, seq, type Seq } from '../wire/seq.js';
import { tcp, TCP_FLAG, TCP_MIN_HEADER, type TcpRepr } from '../wire/tcp.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import type { IpAddress } from '../core/address.js';

const MAX_WINDOW = 0xffff;
const ECN_MASK = 3;
const ECN_CE = 3;
const IPV4_HEADER = 20;

/** The four numbers of a connection, as packets in one direction show them. */
export interface FlowEnds {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

export function reverse({ source, sourcePort, destination, destinationPort }: FlowEnds): FlowEnds {
  return {
    source: destination,
    sourcePort: destinationPort,
    destination: source,
    destinationPort: sourcePort,
  };
}

/** One direction of a splice. Deltas are added modulo 2^32. */
export interface Mapping {
  /** The flow it leaves as. */
  readonly out: FlowEnds;
  /** The first sequence number that is carried: what is below has been relayed and acknowledged. */
  readonly base: Seq;
  /** What its sender has acknowledged of the other direction. */
  readonly acknowledged: Seq;
  readonly sequenceDelta: number;
  /** For the acknowledgment number and the edges of SACK blocks (RFC 2018 section 3). */
  readonly acknowledgmentDelta: number;
  readonly timestampDelta: number;
  readonly echoDelta: number;
  /** Shift count that the sender negotiated on its leg (RFC 7323 section 2.3). */
  readonly scaleUp: number;
  /** Shift count that the node promised on the other leg. */
  readonly scaleDown: number;
  /** Bytes of TCP header and payload that a packet of the other leg may have. */
  readonly maxSegment: number;
  /** Whether both legs negotiated it; what only one side knows does not pass. */
  readonly timestamps: boolean;
  readonly sack: boolean;
  readonly ecn: boolean;
}

/** What a mapping has that changes no number and no window. */
export const UNCHANGED = {
  acknowledged: seq(0),
  sequenceDelta: 0,
  acknowledgmentDelta: 0,
  timestampDelta: 0,
  echoDelta: 0,
  scaleUp: 0,
  scaleDown: 0,
} as const satisfies Partial<Mapping>;

export type MappingReason =
  | 'splice-forwarded'
  | 'drop-splice-ttl'
  | 'drop-splice-congestion'
  | 'drop-splice-too-big'
  | 'drop-splice-failed';

export type Mapped =
  | {
      readonly verdict: 'forward';
      /** From the IP header on. */ readonly packet: Uint8Array;
      /** Payload was cut: see {@link cut}. */ readonly cut: boolean;
    }
  | { readonly verdict: 'drop'; readonly reason: MappingReason };

/** The window field for the other leg: as many bytes, or as many as the field can say. */
export function mapWindow(window: number, scaleUp: number, scaleDown: number): number {
  return Math.min(MAX_WINDOW, Math.floor((window * 2 ** scaleUp) / 2 ** scaleDown));
}

function nops(length: number): TcpOption[] {
  return Array.from({ length }, (): TcpOption => ({ kind: 'nop' }));
}

function mapOption(option: TcpOption, mapping: Mapping, acknowledges: boolean): readonly TcpOption[] {
  switch (option.kind) {
    case 'end':
    case 'nop':
      return [option];
    case 'malformed':
      // What TCP would not read any further than: an end of list in its place.
      return [{ kind: 'end', padding: option.bytes.subarray(1) }];
    case 'timestamps':
      if (!mapping.timestamps) break;
      return [
        {
          kind: 'timestamps',
          value: seq(option.value + mapping.timestampDelta),
          echo: acknowledges ? seq(option.echo + mapping.echoDelta) : option.echo,
        },
      ];
    case 'sack': {
      if (!mapping.sack) break;
      const move = (edge: Seq): Seq => add(edge, mapping.acknowledgmentDelta);
      return [
        {
          kind: 'sack',
          blocks: option.blocks.map(({ left, right }) => ({ left: move(left), right: move(right) })),
        },
      ];
    }
    default:
  }
  return nops(tcpOptions.byteLength([option]));
}

/** Timestamps and SACK mapped where both legs have them, everything else replaced by NOPs; the length stays. */
export function mapOptions(area: Uint8Array, mapping: Mapping, acknowledges: boolean): Uint8Array {
  return tcpOptions.emit(
    tcpOptions.parse(area).flatMap((option) => mapOption(option, mapping, acknowledges)),
  );
}

/**
 * For so many bytes of a direction the base is looked at. Numbers come round: 2 GiB further on everything would seem to be
 * below. Nobody sends again what lies so far back, and a TCP that is sent what it has discards it by itself.
 */
export const BASE_HOLDS = 2n ** 30n;

/**
 * A segment that begins below the base loses its payload, FIN and urgent pointer, and keeps its sequence number. The
 * receiver has every byte below the base, so it answers with an ACK of the base (RFC 9293 section 3.10.7.4): that ends
 * a retransmission, and it is what a keep-alive with a byte of garbage wants. (The paper shortens such a segment and
 * relays what stands above the base; here the sender, told where to go on, sends that again.)
 */
export function cut(segment: TcpRepr): TcpRepr {
  return { ...segment, flags: segment.flags & ~(TCP_FLAG.fin | TCP_FLAG.psh | TCP_FLAG.urg), urgent: 0 };
}

function mapHeader(segment: TcpRepr, mapping: Mapping): TcpRepr {
  const acknowledges = (segment.flags & TCP_FLAG.ack) !== 0;
  const flags = mapping.ecn ? segment.flags : segment.flags & ~(TCP_FLAG.ece | TCP_FLAG.cwr);
  return {
    ...segment,
    flags,
    sourcePort: mapping.out.sourcePort,
    destinationPort: mapping.out.destinationPort,
    seq: add(segment.seq, mapping.sequenceDelta),
    ack: acknowledges ? add(segment.ack, mapping.acknowledgmentDelta) : segment.ack,
    window: mapWindow(segment.window, mapping.scaleUp, mapping.scaleDown),
    options: mapOptions(segment.options, mapping, acknowledges),
  };
}

function hopsOf(header: IpRepr): number {
  return header.family === 4 ? header.ttl : header.hopLimit;
}

function classOf(header: IpRepr): number {
  return header.family === 4 ? header.tos : header.trafficClass;
}

function emitIp(header: IpRepr, mapping: Mapping, segmentLength: number): Uint8Array {
  const keep = mapping.ecn ? 0xff : 0xff & ~ECN_MASK;
  const { source, destination } = mapping.out;
  if (header.family === 6) {
    return ipv6.emit({
      ...header,
      source,
      destination,
      trafficClass: header.trafficClass & keep,
      hopLimit: header.hopLimit - 1,
      payloadLength: segmentLength,
    });
  }
  const totalLength = IPV4_HEADER + header.options.length + segmentLength;
  return ipv4.emit({
    ...header,
    source,
    destination,
    tos: header.tos & keep,
    ttl: header.ttl - 1,
    totalLength,
  });
}

export function emitSegment(
  segment: TcpRepr,
  payload: Uint8Array,
  { source, destination }: FlowEnds,
): Uint8Array {
  const bytes = concat(tcp.emit({ ...segment, checksum: 0 }), payload);
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, bytes.length);
  const header = tcp.emit({ ...segment, checksum: checksum(bytes, pseudo) });
  return concat(header, payload);
}

function drop(reason: MappingReason): Mapped {
  return { verdict: 'drop', reason };
}

/**
 * Maps one packet, from its IP header on. `wireSegment` is the payload per packet of one that is still to be cut up
 * (GSO); `carried`: the payload that went this way before. A wrong checksum becomes a right one here; the programs, which
 * only add what changed, keep it wrong.
 */
export function mapPacket(packet: Uint8Array, mapping: Mapping, wireSegment?: number, carried = 0n): Mapped {
  const outer = ip.parse(packet);
  const inner = outer.ok ? tcp.parse(outer.payload) : outer;
  if (!outer.ok || !inner.ok) return drop('drop-splice-failed');
  const header = outer.value;
  const perPacket = wireSegment ?? inner.payload.length;
  if (TCP_MIN_HEADER + inner.value.options.length + perPacket > mapping.maxSegment)
    return drop('drop-splice-too-big');
  const takes = inner.payload.length > 0 || (inner.value.flags & TCP_FLAG.fin) !== 0;
  const below = takes && carried < BASE_HOLDS && lt(inner.value.seq, mapping.base);
  if (hopsOf(header) <= 1) return drop('drop-splice-ttl');
  if (!mapping.ecn && (classOf(header) & ECN_MASK) === ECN_CE) return drop('drop-splice-congestion');
  const segment = mapHeader(below ? cut(inner.value) : inner.value, mapping);
  const bytes = emitSegment(segment, below ? new Uint8Array() : inner.payload, mapping.out);
  return { verdict: 'forward', packet: concat(emitIp(header, mapping, bytes.length), bytes), cut: below };
}
