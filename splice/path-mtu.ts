/**
 * "Too big" about a segment that was mapped: the reference of `bpf/tpot_path_mtu.h`.
 *
 * ```
 *   IP router → node | ICMP, MTU m         | [outer IP (| UDP)] | IP, TCP as they left the node …
 *   IP node → sender | ICMP, MTU m − outer |              IP, ports and sequence number as the sender sent them …
 * ```
 *
 * What else is quoted stays: no sender looks at it. Sources: RFC 1191, RFC 8201, RFC 2003 section 5, RFC 5927.
 */
import { sameIp, type Family, type IpAddress } from '../core/address.js';
import { ByteView, concat, writer } from '../wire/bytes.js';
import { sum, update } from '../wire/checksum.js';
import { icmp, icmpMeaning } from '../wire/icmp.js';
import { ip } from '../wire/ip.js';
import { IPV4_CHECKSUM_OFFSET } from '../wire/ipv4.js';
import { TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { diff, seq, type Seq } from '../wire/seq.js';
import { UDP_TUNNEL_OVERHEAD } from '../wire/udp-tunnel.js';
import { emitError, MIN_MTU6, partialSum } from './fit.js';
import type { FlowEnds, Mapping } from './mapping.js';

/** TCP header and payload: below this a path is not followed. */
const MIN_SEGMENT = 512;
/** What a router before RFC 1191 may have meant. */
const OLD_ROUTER_MTU = 576;
/** Bytes beyond what is acknowledged: as much as a sender has on its way by default at most. */
const MAX_FLIGHT = 2 ** 22;
const AT = { 4: { addresses: 12, length: 2 }, 6: { addresses: 8, length: 4 } } as const;
const SEQUENCE_AT = 4;
const addressSize = (family: Family): number => (family === 4 ? 4 : 16);

/** What is known of the direction that a quoted segment is of. */
export interface SplicedDirection {
  /** As the segments arrive from their sender. */
  readonly flow: FlowEnds;
  readonly mapping: Mapping;
  /** Where the last segment ended, as it arrived. */
  readonly sent: Seq;
  /** What has been acknowledged, in the numbers of the leg that the segments leave by. */
  readonly acknowledged: Seq;
  /** The far end of the tunnel that they leave by. */
  readonly remote: IpAddress | undefined;
  /** Whether that tunnel is in UDP. */
  readonly udp: boolean;
  /** Whether it is a return tunnel: then its outer source is not the inner one. */
  readonly back?: boolean;
}

export interface PathMtu {
  readonly maxSegment: number;
  /** The error for the sender. */
  readonly packet: Uint8Array;
}

/** The MTU for packets without the outer header; 0: not to be believed. */
function innerMtu(family: Family, mtu: number, outer: number): number {
  if (family === 6) return mtu < MIN_MTU6 || mtu > 0xffff ? 0 : mtu - outer;
  return Math.max(0, (mtu === 0 ? OLD_ROUTER_MTU : mtu) - outer);
}

const protocolIn = (quotation: ByteView, family: Family): number => quotation.u8(family === 4 ? 9 : 6);

/** Bytes of the outer headers, 0 where there are none. */
function outerLength(protocol: number, family: Family): number {
  if (protocol === PROTOCOL.udp) return UDP_TUNNEL_OVERHEAD[family];
  return protocol === (family === 4 ? PROTOCOL.ipv4 : PROTOCOL.ipv6) ? TUNNEL_OVERHEAD[family] : 0;
}

/** Whether a quotation with outer headers is of the tunnel that this direction leaves by. */
function isOfTunnel(
  quotation: ByteView,
  family: Family,
  outer: number,
  direction: SplicedDirection,
): boolean {
  const { addresses } = AT[family];
  const far = quotation.address(addresses + addressSize(family), family);
  if (direction.remote === undefined || !sameIp(far, direction.remote)) return false;
  if (direction.udp !== (protocolIn(quotation, family) === PROTOCOL.udp)) return false;
  const near = quotation.address(addresses, family);
  return sameIp(near, quotation.address(outer + addresses, family)) !== (direction.back === true);
}

/** What was sent last may be somebody's forgery, so it alone does not say how much is on its way. */
function isOnItsWay(sequence: Seq, { sent, acknowledged, mapping }: SplicedDirection): boolean {
  const end = seq(sent + mapping.sequenceDelta);
  const ahead = diff(sequence, acknowledged);
  return ahead >= 0 && ahead <= MAX_FLIGHT && diff(end, sequence) > 0;
}

/** Addresses, ports and sequence number of a quoted packet as its sender sent it. */
function mapQuotation(quoted: Uint8Array, family: Family, { flow, mapping }: SplicedDirection): Uint8Array {
  const mapped = Uint8Array.from(quoted);
  const out = writer(mapped);
  const at = TUNNEL_OVERHEAD[family];
  const { addresses } = AT[family];
  mapped.set(concat(flow.source.bytes, flow.destination.bytes), addresses);
  if (family === 4) {
    const [before, after] = [quoted.subarray(addresses, at), mapped.subarray(addresses, at)];
    out.setUint16(
      IPV4_CHECKSUM_OFFSET,
      update(writer(quoted).getUint16(IPV4_CHECKSUM_OFFSET), before, after),
    );
  }
  out.setUint16(at, flow.sourcePort);
  out.setUint16(at + 2, flow.destinationPort);
  out.setUint32(at + SEQUENCE_AT, seq(out.getUint32(at + SEQUENCE_AT) - mapping.sequenceDelta));
  return mapped;
}

/** The sum over the mapped quotation as it will leave: see {@link partialSum}. */
function sumOf(quoted: Uint8Array, mapped: Uint8Array, family: Family): number {
  const at = TUNNEL_OVERHEAD[family];
  const view = new ByteView(quoted);
  const { addresses, length } = AT[family];
  const size = addressSize(family);
  const ends = {
    source: view.address(addresses, family),
    destination: view.address(addresses + size, family),
  };
  const tcpLength = view.u16(length) - (family === 4 ? at : 0);
  const partial = partialSum(ends, quoted.subarray(at), tcpLength);
  return partial === undefined ? sum(mapped) : sum(mapped.subarray(0, at), partial);
}

/**
 * What a packet that quotes a segment of this direction leads to; `undefined` when it is not to be believed or says
 * nothing new. That it quotes the addresses and ports of the direction is known already.
 */
export function learnPathMtu(
  packet: Uint8Array,
  node: IpAddress,
  direction: SplicedDirection,
): PathMtu | undefined {
  const parsed = ip.parse(packet);
  const message = parsed.ok ? icmp.parse(parsed.payload) : parsed;
  if (!parsed.ok || !message.ok) return undefined;
  const { family } = parsed.value;
  const meaning = icmpMeaning(family, message.value);
  if (meaning.kind !== 'too-big') return undefined;
  const base = TUNNEL_OVERHEAD[family];
  const quotation = new ByteView(message.payload);
  const outer = outerLength(protocolIn(quotation, family), family);
  if (outer > 0 && !isOfTunnel(quotation, family, outer, direction)) return undefined;
  const quoted = message.payload.subarray(outer);
  if (quoted.length < base + SEQUENCE_AT + 4) return undefined;
  const sequence = seq(writer(quoted).getUint32(base + SEQUENCE_AT));
  const mtu = innerMtu(family, meaning.mtu, outer);
  const maxSegment = Math.max(MIN_SEGMENT, mtu - base);
  if (mtu <= 0 || !isOnItsWay(sequence, direction) || maxSegment >= direction.mapping.maxSegment)
    return undefined;
  const mapped = mapQuotation(quoted, family, direction);
  const ends = { source: node, destination: direction.flow.source };
  const told = family === 6 ? Math.max(MIN_MTU6, mtu) : mtu;
  return { maxSegment, packet: emitError(ends, told, mapped, sumOf(quoted, mapped, family)) };
}
