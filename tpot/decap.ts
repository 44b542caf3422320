/**
 * What may come out of a tunnel at a node (protocol rule 7). Whatever arrives at our end of a tunnel is delivered or
 * dropped with a reason, never forwarded: a node is no open relay for packets with made-up inner addresses.
 */
import { sameIp, type IpAddress } from '../core/address.js';
import { ip, isFragment, protocolOf, type IpRepr } from '../wire/ip.js';
import { IPV4_FLAG, IPV4_MIN_HEADER } from '../wire/ipv4.js';
import { IPV6_HEADER, Ipv6View } from '../wire/ipv6.js';
import { decapsulate, ipip, type IpipRepr } from '../wire/ipip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { tcp, type TcpRepr } from '../wire/tcp.js';
import { tcpOptions } from '../wire/tcp-options.js';
import { UdpView } from '../wire/udp.js';
import { parseUdpTunnel } from '../wire/udp-tunnel.js';
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

export type DecapDecision =
  /** Not addressed to our end of a tunnel: routed like any packet, and not counted. */
  | { readonly verdict: 'pass' }
  | { readonly verdict: 'drop'; readonly reason: ReasonCode }
  | {
      readonly verdict: 'deliver';
      readonly reason: 'decap-ok' | 'decap-udp-ok';
      readonly flow: Flow;
      readonly tcp: TcpRepr;
      /** The inner packet, from its IP header on. Bytes behind its stated length, if any, are IP's to cut. */
      readonly packet: Uint8Array;
    };

type Segment = { readonly header: IpRepr; readonly tcp: TcpRepr };

/** Where tunnels end at a node. */
export interface TunnelEnd {
  readonly own: readonly IpAddress[];
  /** Where tunnels in UDP end; undefined where none do. */
  readonly udpPort?: number | undefined;
}

/** Fragments are not looked at: nobody knows what port the later ones are for, and no source of ours sends any. */
function isUdpTo(packet: Uint8Array, port: number): boolean {
  const view = ip.view(packet);
  if (view instanceof Ipv6View) {
    const { destinationPort } = new UdpView(packet.subarray(IPV6_HEADER));
    return view.nextHeader === PROTOCOL.udp && destinationPort === port;
  }
  const whole = view.fragmentOffset === 0 && (view.flags & IPV4_FLAG.moreFragments) === 0;
  const { destinationPort } = new UdpView(packet.subarray(view.headerLength));
  const sound = whole && view.headerLength >= IPV4_MIN_HEADER;
  return sound && view.protocol === PROTOCOL.udp && destinationPort === port;
}

/** What kind of tunnel packet for us this is, if it is one. */
function tunnelTo(packet: Uint8Array, { own, udpPort }: TunnelEnd): 'ip' | 'udp' | undefined {
  const view = ip.view(packet);
  if (!own.some((address) => sameIp(address, view.destination))) return undefined;
  const carries =
    view instanceof Ipv6View ? view.nextHeader === PROTOCOL.ipv6 : view.protocol === PROTOCOL.ipv4;
  if (carries) return 'ip';
  return udpPort !== undefined && isUdpTo(packet, udpPort) ? 'udp' : undefined;
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

/**
 * Decides over a packet that arrives from the network, from its outermost IP header on. `find` knows the connections
 * that this node has taken. Both kinds of tunnel are put to the same tests.
 */
export function decideTunnelled(
  packet: Uint8Array,
  end: TunnelEnd,
  find: (flow: Flow) => TakenConnection | undefined,
): DecapDecision {
  const kind = tunnelTo(packet, end);
  if (kind === undefined) return { verdict: 'pass' };
  const tunnel = kind === 'udp' ? parseUdpTunnel(packet, end.udpPort) : ipip.parse(packet);
  if (!tunnel.ok || isFragment(tunnel.value.outer)) return drop('drop-decap-malformed');
  const segment = readInner(tunnel.value);
  if (typeof segment === 'string') return drop(segment);
  const flow = flowOf(segment);
  const connection = find(flow);
  if (connection === undefined || !takesFromTunnel(connection.state, segment.tcp)) {
    return drop('drop-decap-unknown');
  }
  if (!sameIp(connection.outerSource, tunnel.value.outer.source)) return drop('drop-decap-source');
  return {
    verdict: 'deliver',
    reason: kind === 'udp' ? 'decap-udp-ok' : 'decap-ok',
    flow,
    tcp: segment.tcp,
    packet: decapsulate(tunnel.value),
  };
}
