/**
 * Whole TCP/IP packets from a small description, with every length and checksum right; for tests, labs and
 * generators.
 *
 * @example
 * buildTcp({ source: ip('198.18.0.1'), sourcePort: 40000, destination: ip('198.18.9.9'), destinationPort: 80,
 *   flags: ['syn'], options: [{ kind: 'mss', mss: 1460 }] });
 */
import type { IpAddress } from '../core/address.js';
import { addressBytes, concat, writer } from './bytes.js';
import { checksum, pseudoHeaderSum } from './checksum.js';
import { icmp, type IcmpRepr } from './icmp.js';
import { ipv4, IPV4_FLAG, type Ipv4Repr } from './ipv4.js';
import { ipv6 } from './ipv6.js';
import { encapsulate, type TunnelEnds } from './ipip.js';
import { PROTOCOL } from './protocols.js';
import { seq } from './seq.js';
import { tcp, TCP_CHECKSUM_OFFSET, TCP_FLAG, type TcpFlag } from './tcp.js';
import { tcpOptions, type TcpOption } from './tcp-options.js';
import { encapsulateInUdp, type UdpTunnelEnds } from './udp-tunnel.js';

const DEFAULT_TTL = 64;

export interface TcpPacketSpec {
  /** Source and destination are of one family, which is that of the packet. */
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
  readonly flags: readonly TcpFlag[];
  readonly seq?: number;
  readonly ack?: number;
  /** 65535 by default. */
  readonly window?: number;
  readonly urgent?: number;
  /** A list, or a raw option area; padded to a multiple of 4 and cut at 40 bytes. */
  readonly options?: readonly TcpOption[] | Uint8Array;
  readonly payload?: Uint8Array;
  /** TTL or hop limit, 64 by default. */
  readonly ttl?: number;
  /** Type of service or traffic class. */
  readonly tos?: number;
  readonly identification?: number;
  /** Raw IPv4 option area. */
  readonly ipOptions?: Uint8Array;
  /** Puts the packet into a tunnel between these ends; with a port, into one in UDP. */
  readonly tunnel?: TunnelEnds | UdpTunnelEnds;
}

function buildSegment(spec: TcpPacketSpec): Uint8Array {
  const { options = [], payload = new Uint8Array() } = spec;
  const header = tcp.emit({
    sourcePort: spec.sourcePort,
    destinationPort: spec.destinationPort,
    seq: seq(spec.seq ?? 0),
    ack: seq(spec.ack ?? 0),
    flags: spec.flags.reduce((bits, name) => bits | TCP_FLAG[name], 0),
    window: spec.window ?? 0xffff,
    checksum: 0,
    urgent: spec.urgent ?? 0,
    options: options instanceof Uint8Array ? options : tcpOptions.emit(options),
  });
  const segment = concat(header, payload);
  const family = spec.destination.family;
  const source: IpAddress = { family, bytes: addressBytes(spec.source, family) };
  const pseudo = pseudoHeaderSum(source, spec.destination, PROTOCOL.tcp, segment.length);
  writer(segment).setUint16(TCP_CHECKSUM_OFFSET, checksum(segment, pseudo));
  return segment;
}

type HeaderSpec = Pick<
  TcpPacketSpec,
  'source' | 'destination' | 'ttl' | 'tos' | 'identification' | 'ipOptions'
>;

function buildIpv4(spec: HeaderSpec, protocol: number, segment: Uint8Array): Uint8Array {
  const header: Ipv4Repr = {
    family: 4,
    tos: spec.tos ?? 0,
    totalLength: 0,
    identification: spec.identification ?? 0,
    flags: IPV4_FLAG.dontFragment,
    fragmentOffset: 0,
    ttl: spec.ttl ?? DEFAULT_TTL,
    protocol,
    source: spec.source,
    destination: spec.destination,
    options: spec.ipOptions ?? new Uint8Array(),
  };
  const totalLength = ipv4.byteLength(header) + segment.length;
  return concat(ipv4.emit({ ...header, totalLength }), segment);
}

function buildIpv6(spec: HeaderSpec, nextHeader: number, segment: Uint8Array): Uint8Array {
  const header = ipv6.emit({
    family: 6,
    trafficClass: spec.tos ?? 0,
    flowLabel: 0,
    payloadLength: segment.length,
    nextHeader,
    hopLimit: spec.ttl ?? DEFAULT_TTL,
    source: spec.source,
    destination: spec.destination,
  });
  return concat(header, segment);
}

/** The packet from its outermost IP header on. */
export function buildTcp(spec: TcpPacketSpec): Uint8Array {
  const segment = buildSegment(spec);
  const build = spec.destination.family === 4 ? buildIpv4 : buildIpv6;
  const packet = build(spec, PROTOCOL.tcp, segment);
  if (spec.tunnel === undefined) return packet;
  return 'port' in spec.tunnel ? encapsulateInUdp(packet, spec.tunnel) : encapsulate(packet, spec.tunnel);
}

/** An ICMP error (RFC 792) over IPv4 that quotes a packet. */
export function buildIcmp(
  message: Omit<IcmpRepr, 'checksum'> & Pick<TcpPacketSpec, 'source' | 'destination'>,
  quotation: Uint8Array,
): Uint8Array {
  const body = concat(icmp.emit({ ...message, checksum: 0 }), quotation);
  body.set(icmp.emit({ ...message, checksum: checksum(body) }));
  return buildIpv4(message, PROTOCOL.icmp, body);
}
