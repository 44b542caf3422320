/**
 * ICMP errors about tunnel packets (protocol rule 4; RFC 2003 section 5.1 for IPv4, RFC 2473 section 8 for IPv6): the
 * quoted outer header is taken out, so that TCP understands the error as one about its own segment.
 *
 * ```
 *   IP | ICMP, MTU m | outer IP [S→P1] (| UDP) | inner IP S→D | TCP …
 *   IP | ICMP, MTU m − outer           | inner IP S→D | TCP …
 * ```
 *
 * So it is with return tunnels, where [P1→S] is in front of D→S.
 */
import { fromMapped, sameIp, type IpAddress } from '../core/address.js';
import { concat } from '../wire/bytes.js';
import { checksum, pseudoHeaderSum } from '../wire/checksum.js';
import { icmp, icmpMeaning, quotedFlow } from '../wire/icmp.js';
import { ip, type IpRepr } from '../wire/ip.js';
import { TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { ipv4 } from '../wire/ipv4.js';
import { ipv6 } from '../wire/ipv6.js';
import { PROTOCOL } from '../wire/protocols.js';
import { UDP_TUNNEL_OVERHEAD } from '../wire/udp-tunnel.js';
import type { Flow } from './decap.js';

const PORTS = 4;

const isMappedIpv4 = ({ family, bytes }: IpAddress): boolean =>
  family === 6 && fromMapped(bytes).family === 4;

export interface QuotedTunnel {
  /** The connection, in the direction in which it is tunnelled. */
  readonly flow: Flow;
  /** The node at the far end. */
  readonly remote: IpAddress;
  readonly udp: boolean;
  /** A return tunnel's: its outer source, a node, is not the inner one. */
  readonly back: boolean;
  /** Bytes of the outer headers. */
  readonly overhead: number;
}

/** What a tunnel packet in an ICMP error is about; `undefined` when the quotation is none, or too short to tell. */
export function quotedTunnel(header: IpRepr, quotation: Uint8Array): QuotedTunnel | undefined {
  const outer = quotedFlow(quotation);
  const udp = outer?.protocol === PROTOCOL.udp;
  const overhead = (udp ? UDP_TUNNEL_OVERHEAD : TUNNEL_OVERHEAD)[header.family];
  const inner = quotedFlow(quotation.subarray(overhead));
  const whole = overhead + TUNNEL_OVERHEAD[header.family] + PORTS;
  if (quotation.length < whole || outer === undefined || inner === undefined) return undefined;
  const carries = header.family === 4 ? PROTOCOL.ipv4 : PROTOCOL.ipv6;
  if ((!udp && outer.protocol !== carries) || inner.protocol !== PROTOCOL.tcp) return undefined;
  // Every table would take them for IPv4 ones.
  if (isMappedIpv4(inner.source) || isMappedIpv4(inner.destination)) return undefined;
  const back = !sameIp(inner.source, outer.source);
  return { flow: inner, remote: outer.destination, udp, back, overhead };
}

function shortened(header: IpRepr, payload: Uint8Array): Uint8Array {
  if (header.family === 6) return concat(ipv6.emit({ ...header, payloadLength: payload.length }), payload);
  return concat(ipv4.emit({ ...header, totalLength: ipv4.byteLength(header) + payload.length }), payload);
}

/**
 * The translation of a whole IP packet that holds a "too big" about a tunnel packet; `undefined` for any other, and for
 * an MTU that leaves no room for a segment.
 */
export function translateTooBig(packet: Uint8Array): Uint8Array | undefined {
  const parsed = ip.parse(packet);
  if (!parsed.ok) return undefined;
  const header = parsed.value;
  const message = icmp.parse(parsed.payload);
  if (!message.ok) return undefined;
  const { value: repr, payload: quotation } = message;
  const meaning = icmpMeaning(header.family, repr);
  const tunnel = quotedTunnel(header, quotation);
  if (meaning.kind !== 'too-big' || tunnel === undefined) return undefined;
  const { overhead } = tunnel;
  if (meaning.mtu !== 0 && meaning.mtu <= overhead + TUNNEL_OVERHEAD[header.family]) return undefined;
  const rest = meaning.mtu === 0 ? repr.rest : repr.rest - overhead;
  const inner = quotation.subarray(overhead);
  const blank = concat(icmp.emit({ ...repr, rest, checksum: 0 }), inner);
  const pseudo =
    header.family === 6
      ? pseudoHeaderSum(header.source, header.destination, PROTOCOL.icmpv6, blank.length)
      : 0;
  return shortened(header, concat(icmp.emit({ ...repr, rest, checksum: checksum(blank, pseudo) }), inner));
}
