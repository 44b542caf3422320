/**
 * IP in IP: IPv4 in IPv4 (RFC 2003, protocol 4) and IPv6 in IPv6 (RFC 2473, next header 41).
 *
 * ```
 * | outer IP header, source → node | inner IP header, as it was | TCP … |
 * ```
 */
import type { Family, IpAddress } from '../core/address.js';
import { concat, writer } from './bytes.js';
import { updateWord } from './checksum.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';
import { ip, protocolOf, type IpRepr } from './ip.js';
import {
  ipv4,
  IPV4_CHECKSUM_OFFSET,
  IPV4_FLAG,
  IPV4_MIN_HEADER,
  type Ipv4Repr,
  type Ipv4View,
} from './ipv4.js';
import { ipv6, IPV6_HEADER, type Ipv6Repr, type Ipv6View } from './ipv6.js';
import { PROTOCOL } from './protocols.js';

/** Bytes an outer header adds to a packet. */
export const TUNNEL_OVERHEAD: Readonly<Record<Family, number>> = { 4: IPV4_MIN_HEADER, 6: IPV6_HEADER };

const DEFAULT_TTL = 64;

export interface IpipRepr {
  readonly outer: IpRepr;
  /** The inner packet, from its IP header on; not looked into. */
  readonly inner: Uint8Array;
}

export interface TunnelEnds {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** TTL or hop limit of the outer header; 64 by default (RFC 2003 section 3.1 leaves it to the tunnel). */
  readonly ttl?: number;
}

function carriesItself(outer: IpRepr): boolean {
  return protocolOf(outer) === (outer.family === 4 ? PROTOCOL.ipv4 : PROTOCOL.ipv6);
}

function parse(bytes: Uint8Array): Parsed<IpipRepr> {
  const outer = ip.parse(bytes);
  if (!outer.ok) return outer;
  if (!carriesItself(outer.value)) return { ok: false, fault: 'not-encapsulated' };
  return { ok: true, value: { outer: outer.value, inner: outer.payload }, payload: outer.payload };
}

function check(view: Ipv4View | Ipv6View): Fault | undefined {
  const parsed = parse(view.bytes);
  return parsed.ok ? undefined : parsed.fault;
}

export const ipip: HeaderCodec<Ipv4View | Ipv6View, IpipRepr> = {
  view: ip.view.bind(ip),
  check,
  parse,
  byteLength: (repr) => ip.byteLength(repr.outer) + repr.inner.length,
  emit: (repr) => concat(ip.emit(repr.outer), repr.inner),
  format: (repr) => `${ip.format(repr.outer)} encapsulating ${repr.inner.length} bytes`,
};

/** What stands between the outer and the inner header: nothing, or UDP. */
interface Carried {
  readonly protocol: number;
  /** Bytes behind the outer header. */
  readonly length: number;
}

function outerIpv4(inner: Uint8Array, ends: TunnelEnds, carried: Carried): Ipv4Repr {
  const view = ipv4.view(inner);
  return {
    family: 4,
    tos: view.tos,
    totalLength: IPV4_MIN_HEADER + carried.length,
    identification: 0,
    flags: IPV4_FLAG.dontFragment,
    fragmentOffset: 0,
    ttl: ends.ttl ?? DEFAULT_TTL,
    protocol: carried.protocol,
    source: ends.source,
    destination: ends.destination,
    options: new Uint8Array(),
  };
}

function outerIpv6(inner: Uint8Array, ends: TunnelEnds, carried: Carried): Ipv6Repr {
  const view = ipv6.view(inner);
  return {
    family: 6,
    trafficClass: view.trafficClass,
    flowLabel: view.flowLabel,
    payloadLength: carried.length,
    nextHeader: carried.protocol,
    hopLimit: ends.ttl ?? DEFAULT_TTL,
    source: ends.source,
    destination: ends.destination,
  };
}

/**
 * The outer header, of the family of its ends. It copies the type of service, hence ECN (RFC 2003 section 3.1, RFC 6040
 * section 4.1 normal mode). Don't-fragment is always set: RFC 2003 demands it where the inner packet has it and allows it
 * elsewhere, and so a path that is too narrow is told, never hidden.
 */
export function outerHeader(inner: Uint8Array, ends: TunnelEnds, carried: Carried): IpRepr {
  return ends.destination.family === 4 ? outerIpv4(inner, ends, carried) : outerIpv6(inner, ends, carried);
}

/** Puts `inner` into a tunnel of the family of its ends. */
export function encapsulate(inner: Uint8Array, ends: TunnelEnds): Uint8Array {
  const protocol = ends.destination.family === 4 ? PROTOCOL.ipv4 : PROTOCOL.ipv6;
  return ipip.emit({ outer: outerHeader(inner, ends, { protocol, length: inner.length }), inner });
}

const ECN_CE = 3;

function ecnOf(header: IpRepr): number {
  return (header.family === 4 ? header.tos : header.trafficClass) & ECN_CE;
}

/** Sets CE in a header; an IPv4 checksum is updated, not computed anew, so that a wrong one stays wrong. */
function markCongestion(packet: Uint8Array): void {
  const out = writer(packet);
  const word = out.getUint16(0);
  const v6 = word >> 12 === 6;
  const marked = word | (v6 ? ECN_CE << 4 : ECN_CE);
  out.setUint16(0, marked);
  if (!v6) out.setUint16(IPV4_CHECKSUM_OFFSET, updateWord(out.getUint16(IPV4_CHECKSUM_OFFSET), word, marked));
}

/**
 * The inner packet as it comes out of the tunnel: congestion that was marked on the outer header is marked on the
 * inner one where that can take the mark (RFC 6040 section 4.2). The bytes of `repr` stay as they are.
 */
export function decapsulate(repr: IpipRepr): Uint8Array {
  const inner = repr.inner.slice();
  const parsed = ip.parse(inner);
  const canMark = parsed.ok && ecnOf(parsed.value) !== 0 && ecnOf(parsed.value) !== ECN_CE;
  if (ecnOf(repr.outer) === ECN_CE && canMark) markCongestion(inner);
  return inner;
}
