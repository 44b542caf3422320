/**
 * IP in UDP: variant 1 of GUE (draft-ietf-intarea-gue), which is also what FOU sends. The inner packet stands behind the
 * UDP header as it is; the version of its IP header says that no other header is in between.
 *
 * ```
 * | outer IP header, source → node | UDP, entropy → port of the node | inner IP header, as it was | TCP … |
 * ```
 */
import type { Family } from '../core/address.js';
import { toMapped } from '../core/address.js';
import { ByteView, concat } from './bytes.js';
import type { Parsed } from './codec.js';
import { quotedFlow, type QuotedFlow } from './icmp.js';
import { ip, isFragment, protocolOf } from './ip.js';
import { outerHeader, TUNNEL_OVERHEAD, type IpipRepr, type TunnelEnds } from './ipip.js';
import { PROTOCOL } from './protocols.js';
import { udp, UDP_HEADER, type UdpRepr } from './udp.js';

/** Registered for GUE (IANA). */
export const UDP_TUNNEL_PORT = 6080;

/** Bytes that the outer headers add to a packet. */
export const UDP_TUNNEL_OVERHEAD: Readonly<Record<Family, number>> = {
  4: TUNNEL_OVERHEAD[4] + UDP_HEADER,
  6: TUNNEL_OVERHEAD[6] + UDP_HEADER,
};

/** Entropy ports are the dynamic ones (RFC 6335 section 6), from here on. */
export const FIRST_ENTROPY_PORT = 0xc000;
/** 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming, section 6.4). */
const MULTIPLIER = 0x9e3779b1;
const PORT_BITS = 14;

export interface UdpTunnelRepr extends IpipRepr {
  readonly udp: UdpRepr;
}

export interface UdpTunnelEnds extends TunnelEnds {
  /** Of the node. */
  readonly port: number;
  /** From the node to the source: the ports of the other direction, exchanged, as of an answer; default: to the node. */
  readonly back?: boolean;
}

/** The outer source port: one of 49152 to 65535 for each connection, so that routers which spread flows keep it whole. */
export function entropyPort(flow: Omit<QuotedFlow, 'protocol'>): number {
  const addresses = [flow.source, flow.destination].map((address) => new ByteView(toMapped(address)));
  let mixed = ((flow.sourcePort << 16) | flow.destinationPort) >>> 0;
  for (const view of addresses) for (let at = 0; at < 16; at += 4) mixed ^= view.u32(at);
  return FIRST_ENTROPY_PORT | (Math.imul(mixed, MULTIPLIER) >>> (32 - PORT_BITS));
}

function portsOf(
  inner: Uint8Array,
  { port, back }: UdpTunnelEnds,
): Pick<UdpRepr, 'sourcePort' | 'destinationPort'> {
  const flow = quotedFlow(inner);
  if (flow === undefined) return { sourcePort: FIRST_ENTROPY_PORT, destinationPort: port };
  if (back !== true) return { sourcePort: entropyPort(flow), destinationPort: port };
  const { source, sourcePort, destination, destinationPort } = flow;
  const sent = {
    source: destination,
    sourcePort: destinationPort,
    destination: source,
    destinationPort: sourcePort,
  };
  return { sourcePort: port, destinationPort: entropyPort(sent) };
}

/**
 * Puts `inner`, a TCP segment in an IP packet, into a tunnel of the family of its ends. The UDP checksum is 0, in IPv6
 * too (RFC 6935): TCP's covers the payload and the addresses inside.
 */
export function encapsulateInUdp(inner: Uint8Array, ends: UdpTunnelEnds): Uint8Array {
  const length = UDP_HEADER + inner.length;
  const header = udp.emit({ ...portsOf(inner, ends), length, checksum: 0 });
  return concat(ip.emit(outerHeader(inner, ends, { protocol: PROTOCOL.udp, length })), header, inner);
}

/** The tunnel packet in `bytes`; `not-encapsulated` when it is no UDP packet to that port. */
export function parseUdpTunnel(bytes: Uint8Array, port = UDP_TUNNEL_PORT): Parsed<UdpTunnelRepr> {
  return parse(bytes, ({ destinationPort }) => destinationPort === port);
}

/** The same of a return tunnel: from that port, and to one that stands for a connection. */
export function parseUdpReturn(bytes: Uint8Array, port = UDP_TUNNEL_PORT): Parsed<UdpTunnelRepr> {
  return parse(bytes, (ports) => ports.sourcePort === port && ports.destinationPort >= FIRST_ENTROPY_PORT);
}

function parse(bytes: Uint8Array, belongs: (header: UdpRepr) => boolean): Parsed<UdpTunnelRepr> {
  const outer = ip.parse(bytes);
  if (!outer.ok) return outer;
  if (protocolOf(outer.value) !== PROTOCOL.udp) return { ok: false, fault: 'not-encapsulated' };
  if (isFragment(outer.value)) return { ok: false, fault: 'fragment' };
  const header = udp.parse(outer.payload);
  if (!header.ok) return header;
  if (!belongs(header.value)) return { ok: false, fault: 'not-encapsulated' };
  const inner = header.payload;
  return { ok: true, value: { outer: outer.value, udp: header.value, inner }, payload: inner };
}
