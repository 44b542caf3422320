/**
 * What may come out of a tunnel (protocol rules 7 and 13). Whatever arrives at a node's end of a tunnel is delivered or
 * dropped with a reason, never forwarded: a node is no open relay for packets with made-up inner addresses. A source takes
 * what the node of one of its connections sends it in a return tunnel, and leaves everything else alone.
 */
import { fromMapped, sameIp, type IpAddress } from '../core/address.js';
import { ip, isFragment, protocolOf, type IpRepr } from '../wire/ip.js';
import { IPV4_FLAG, IPV4_MIN_HEADER } from '../wire/ipv4.js';
import { IPV6_HEADER, Ipv6View } from '../wire/ipv6.js';
import { decapsulate, ipip, type IpipRepr } from '../wire/ipip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { hasFlags, tcp, type TcpRepr } from '../wire/tcp.js';
import { tcpOptions } from '../wire/tcp-options.js';
import { UdpView, type UdpRepr } from '../wire/udp.js';
import { FIRST_ENTROPY_PORT, parseUdpTunnel } from '../wire/udp-tunnel.js';
import { takesFromTunnel, type TakenState } from './node.js';
import type { ReasonCode } from './reasons.js';

/** The four numbers of a connection, in the direction from its source. */
export interface Flow {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

/** What a node remembers of a connection it has taken, as far as tunnels go. */
export interface TakenConnection {
  /** The only address whose tunnel packets count for this connection. */
  readonly outerSource: IpAddress;
  readonly state: TakenState;
}

/** What a source remembers of a connection that is pinned to a node. */
export interface PinnedConnection {
  /** The node. */
  readonly remote: IpAddress;
  /** Where it takes packets in UDP, and so where what it sends in UDP comes from; undefined where it does not. */
  readonly udpPort?: number | undefined;
  /** Its tunnel did not pass: it goes on plain. */
  readonly plain: boolean;
}

export type DecapDecision =
  /** Not addressed to our end of a tunnel, nor of a return tunnel of ours: routed like any packet, and not counted. */
  | { readonly verdict: 'pass' }
  | { readonly verdict: 'drop'; readonly reason: ReasonCode }
  | {
      readonly verdict: 'deliver';
      readonly reason: 'decap-ok' | 'decap-udp-ok';
      /** From the node of a connection whose source we are: to TCP, as a segment that came plain. */
      readonly returned: boolean;
      readonly flow: Flow;
      readonly tcp: TcpRepr;
      /** The inner packet, from its IP header on. Bytes behind its stated length, if any, are IP's to cut. */
      readonly packet: Uint8Array;
    };

type Segment = { readonly header: IpRepr; readonly tcp: TcpRepr };

/** A packet that may be a tunnel's, by its outer headers. */
interface Candidate {
  readonly kind: 'ip' | 'udp';
  /** Of UDP; 0 for IP in IP. */
  readonly port: number;
  /** Addressed to our end of a tunnel, so that it ends here. */
  readonly ours: boolean;
}

/** Where tunnels end on this machine. */
export interface TunnelEnd {
  /** Of a node; empty at a machine that only is a source. */
  readonly own: readonly IpAddress[];
  /** Where tunnels in UDP end; undefined where none do. */
  readonly udpPort?: number | undefined;
  /** The connections of this machine that are pinned to nodes, by their flow; undefined where it takes no return tunnels. */
  readonly pinned?: ((flow: Flow) => PinnedConnection | undefined) | undefined;
}

/**
 * The destination port, of UDP only. Fragments are not looked at: nobody knows what port the later ones are for, and no
 * tunnel of ours has any.
 */
function udpPortOf(packet: Uint8Array): number | undefined {
  const view = ip.view(packet);
  if (view instanceof Ipv6View) {
    return view.nextHeader === PROTOCOL.udp
      ? new UdpView(packet.subarray(IPV6_HEADER)).destinationPort
      : undefined;
  }
  const whole = view.fragmentOffset === 0 && (view.flags & IPV4_FLAG.moreFragments) === 0;
  if (!whole || view.headerLength < IPV4_MIN_HEADER || view.protocol !== PROTOCOL.udp) return undefined;
  return new UdpView(packet.subarray(view.headerLength)).destinationPort;
}

/** What kind of tunnel packet this may be, if it is one. */
function candidateOf(packet: Uint8Array, { own, udpPort, pinned }: TunnelEnd): Candidate | undefined {
  const view = ip.view(packet);
  const toUs = own.some((address) => sameIp(address, view.destination));
  const carries =
    view instanceof Ipv6View ? view.nextHeader === PROTOCOL.ipv6 : view.protocol === PROTOCOL.ipv4;
  if (carries) return { kind: 'ip', port: 0, ours: toUs };
  const port = udpPortOf(packet);
  if (port === undefined) return undefined;
  if (toUs && port === udpPort) return { kind: 'udp', port, ours: true };
  return pinned !== undefined && port >= FIRST_ENTROPY_PORT ? { kind: 'udp', port, ours: false } : undefined;
}

/** The inner segment, or why it is not one. The inner family is the outer one: no other tunnel was offered. */
function readInner({ outer, inner }: IpipRepr): Segment | ReasonCode {
  const header = ip.parse(inner);
  if (!header.ok || header.value.family !== outer.family) return 'drop-decap-malformed';
  if (header.value.family === 4 && isFragment(header.value)) return 'drop-decap-malformed';
  if (protocolOf(header.value) !== PROTOCOL.tcp) return 'drop-decap-not-tcp';
  const segment = tcp.parse(header.payload);
  if (!segment.ok) return 'drop-decap-malformed';
  if (tcpOptions.check(segment.value.options) !== undefined) return 'drop-decap-options';
  return { header: header.value, tcp: segment.value };
}

function flowOf({ header, tcp: { sourcePort, destinationPort } }: Segment): Flow {
  return { source: header.source, sourcePort, destination: header.destination, destinationPort };
}

function drop(reason: ReasonCode): DecapDecision {
  return { verdict: 'drop', reason };
}

/** The tables would take IPv4-mapped addresses in IPv6 for IPv4 ones. */
const isMapped = ({ family, bytes }: IpAddress): boolean => family === 6 && fromMapped(bytes).family === 4;

/** A tunnel packet whose headers are right, and what it holds. */
interface Arrived {
  readonly tunnel: IpipRepr & { readonly udp?: UdpRepr };
  readonly segment: Segment;
  readonly flow: Flow;
}

function read(packet: Uint8Array, { kind, port }: Candidate): Arrived | ReasonCode {
  const parsed = kind === 'udp' ? parseUdpTunnel(packet, port) : ipip.parse(packet);
  if (!parsed.ok || isFragment(parsed.value.outer)) return 'drop-decap-malformed';
  const segment = readInner(parsed.value);
  return typeof segment === 'string' ? segment : { tunnel: parsed.value, segment, flow: flowOf(segment) };
}

/**
 * Rule 13: whether the node that the connection is pinned to has sent this to the address that sends there. Such a segment
 * would be let in without a tunnel, too, for all that comes to a source is plain. What a node has taken is none of it.
 */
function isReturned(
  { tunnel: { outer, udp }, segment, flow }: Arrived,
  end: TunnelEnd,
  taken: boolean,
): boolean {
  const { source, sourcePort, destination, destinationPort } = flow;
  if (taken || hasFlags(segment.tcp, 'syn') || !sameIp(destination, outer.destination)) return false;
  if (isMapped(source) || isMapped(destination)) return false;
  const out = {
    source: destination,
    sourcePort: destinationPort,
    destination: source,
    destinationPort: sourcePort,
  };
  const pinned = end.pinned?.(out);
  if (pinned === undefined || pinned.plain || !sameIp(pinned.remote, outer.source)) return false;
  return udp === undefined || udp.sourcePort === pinned.udpPort;
}

/** Rule 7: why this does not come out of the tunnel of a connection that was taken; undefined: it does. */
function refusal(
  { tunnel, segment }: Arrived,
  connection: TakenConnection | undefined,
): ReasonCode | undefined {
  if (connection === undefined || !takesFromTunnel(connection.state, segment.tcp))
    return 'drop-decap-unknown';
  return sameIp(connection.outerSource, tunnel.outer.source) ? undefined : 'drop-decap-source';
}

/**
 * Decides over a packet that arrives from the network, from its outermost IP header on. `find` knows the connections
 * that this node has taken. Both kinds of tunnel are put to the same tests.
 */
export function decideTunnelled(
  packet: Uint8Array,
  end: TunnelEnd,
  find: (flow: Flow) => TakenConnection | undefined,
): DecapDecision {
  const candidate = candidateOf(packet, end);
  if (candidate === undefined) return { verdict: 'pass' };
  const otherwise = (reason: ReasonCode): DecapDecision =>
    candidate.ours ? drop(reason) : { verdict: 'pass' };
  const arrived = read(packet, candidate);
  if (typeof arrived === 'string') return otherwise(arrived);
  const { tunnel, segment, flow } = arrived;
  const connection = find(flow);
  const returned = isReturned(arrived, end, connection !== undefined);
  if (!returned && !candidate.ours) return { verdict: 'pass' };
  const refused = returned ? undefined : refusal(arrived, connection);
  if (refused !== undefined) return drop(refused);
  const reason = candidate.kind === 'udp' ? 'decap-udp-ok' : 'decap-ok';
  return { verdict: 'deliver', reason, returned, flow, tcp: segment.tcp, packet: decapsulate(tunnel) };
}
