/**
 * Segments of one leg that are larger than the other takes: the reference of `bpf/tpot_fit.h`.
 *
 * ```
 *   to be cut up later (GSO)                                  ─▶ into smaller segments, later
 *   one of the first few, or one in many, and no fragments    ─▶ dropped; its sender is told what fits
 *   every other                                               ─▶ cut up here
 * ```
 *
 * Two legs negotiate their segment sizes apart, and a tunnel takes its outer header from one of them; the paper knows
 * only legs of one size. Telling alone (RFC 1191, RFC 8201) would lose every byte of a sender that hears no ICMP, and
 * cutting up alone would cost each segment of one that does.
 */
import type { IpAddress } from '../core/address.js';
import { concat } from '../wire/bytes.js';
import { checksum, pseudoHeaderSum, sum } from '../wire/checksum.js';
import { icmp } from '../wire/icmp.js';
import { ip, type IpRepr } from '../wire/ip.js';
import { ipv4, IPV4_FLAG, IPV4_MIN_HEADER } from '../wire/ipv4.js';
import { ipv6, IPV6_HEADER } from '../wire/ipv6.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add } from '../wire/seq.js';
import { tcp, TCP_FLAG, TCP_MIN_HEADER, type TcpRepr } from '../wire/tcp.js';
import { emitSegment } from './mapping.js';

/** IPv6 has no smaller one (RFC 8200 section 5): nobody is told less, nor for a packet that is no larger. */
export const MIN_MTU6 = 1280;
const TELL_FIRST = 3;
const TELL_EACH = 1024;
const INTERNETWORK_CONTROL = 0xc0; // RFC 1812 section 4.3.2.5
const HOP_LIMIT = 64;
/** Of a quoted segment: its sender looks at ports and sequence number. */
const QUOTED_TCP = 20;

interface Segment {
  readonly header: IpRepr;
  readonly segment: TcpRepr;
  readonly payload: Uint8Array;
}

function parse(packet: Uint8Array): Segment {
  const outer = ip.parse(packet);
  const inner = outer.ok ? tcp.parse(outer.payload) : outer;
  if (!outer.ok || !inner.ok) throw new RangeError('not a TCP packet');
  return { header: outer.value, segment: inner.value, payload: inner.payload };
}

/** Whether a segment is answered with ICMP, when `before` of its direction have been too large. */
export function isToBeTold(packet: Uint8Array, before: number): boolean {
  const { header } = parse(packet);
  if (header.family === 4 && (header.flags & IPV4_FLAG.dontFragment) === 0) return false;
  if (header.family === 6 && packet.length <= MIN_MTU6) return false;
  const plain = header.family === 6 || header.options.length === 0;
  return plain && (before < TELL_FIRST || before % TELL_EACH === 0);
}

/** The IP header of an error from a node, and the ICMP message behind it, with a sum for what it quotes. */
export function emitError(
  { source, destination }: { readonly source: IpAddress; readonly destination: IpAddress },
  mtu: number,
  quotation: Uint8Array,
  quotedSum: number,
): Uint8Array {
  const length = icmp.byteLength({ type: 0, code: 0, checksum: 0, rest: 0 }) + quotation.length;
  const four = source.family === 4;
  const message = { type: four ? 3 : 2, code: four ? 4 : 0, checksum: 0, rest: mtu };
  const pseudo = four ? 0 : pseudoHeaderSum(source, destination, PROTOCOL.icmpv6, length);
  const body = icmp.emit({ ...message, checksum: checksum(icmp.emit(message), quotedSum + pseudo) });
  const header = four
    ? ipv4.emit({
        family: 4,
        tos: INTERNETWORK_CONTROL,
        totalLength: IPV4_MIN_HEADER + length,
        identification: 0,
        flags: IPV4_FLAG.dontFragment,
        fragmentOffset: 0,
        ttl: HOP_LIMIT,
        protocol: PROTOCOL.icmp,
        source,
        destination,
        options: new Uint8Array(),
      })
    : ipv6.emit({
        family: 6,
        trafficClass: 0,
        flowLabel: 0,
        payloadLength: length,
        nextHeader: PROTOCOL.icmpv6,
        hopLimit: HOP_LIMIT,
        source,
        destination,
      });
  return concat(header, body, quotation);
}

/**
 * What a quoted segment of which the kernel has yet to complete the checksum adds up to when it leaves; `undefined` for
 * others. Such a checksum holds the sum of the pseudo header, and what takes its place makes the whole add up to the
 * complement of that.
 */
export function partialSum(
  { source, destination }: { readonly source: IpAddress; readonly destination: IpAddress },
  quoted: Uint8Array,
  length: number,
): number | undefined {
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, length);
  return tcp.view(quoted).checksum === pseudo ? ~pseudo & 0xffff : undefined;
}

/** What the sender of a segment is told: packets of `maxSegment` beside the IP header pass. */
export function tellSender(packet: Uint8Array, node: IpAddress, maxSegment: number): Uint8Array {
  const { header, segment, payload } = parse(packet);
  const at = header.family === 4 ? IPV4_MIN_HEADER : IPV6_HEADER;
  const quotation = packet.subarray(0, at + QUOTED_TCP);
  const length = TCP_MIN_HEADER + segment.options.length + payload.length;
  const ofTcp = quotation.subarray(at);
  const quotedSum = sum(quotation.subarray(0, at), partialSum(header, ofTcp, length) ?? sum(ofTcp));
  const mtu = header.family === 6 ? Math.max(MIN_MTU6, at + maxSegment) : at + maxSegment;
  return emitError({ source: node, destination: header.source }, mtu, quotation, quotedSum);
}

function pieceOf(segment: TcpRepr, skip: number, last: boolean): TcpRepr {
  let flags = last ? segment.flags : segment.flags & ~(TCP_FLAG.fin | TCP_FLAG.psh);
  if (skip === 0) return { ...segment, flags };
  flags &= ~TCP_FLAG.cwr; // said once
  if ((flags & TCP_FLAG.urg) === 0) return { ...segment, flags, seq: add(segment.seq, skip) };
  const urgent = Math.max(0, segment.urgent - skip);
  if (urgent === 0) flags &= ~TCP_FLAG.urg;
  return { ...segment, flags, urgent, seq: add(segment.seq, skip) };
}

/** The piece of a segment that begins after `skip` bytes of payload and is as long as the other leg takes. */
export function pieceAt(packet: Uint8Array, maxSegment: number, skip: number): Uint8Array {
  const { header, segment, payload } = parse(packet);
  const room = maxSegment - TCP_MIN_HEADER - segment.options.length;
  const data = payload.subarray(skip, skip + room);
  const piece = pieceOf(segment, skip, skip + room >= payload.length);
  const ends = { source: header.source, destination: header.destination, sourcePort: 0, destinationPort: 0 };
  const bytes = emitSegment(piece, data, ends);
  if (header.family === 6) return concat(ipv6.emit({ ...header, payloadLength: bytes.length }), bytes);
  // Should the pieces be fragmented on their way, they are not to be taken for one packet (RFC 6864 section 4.1).
  const identification = (header.identification + (skip === 0 ? 0 : 0x8000 + skip)) & 0xffff;
  const totalLength = IPV4_MIN_HEADER + header.options.length + bytes.length;
  return concat(ipv4.emit({ ...header, identification, totalLength }), bytes);
}
