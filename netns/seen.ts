/** What of the protocol can be seen on a link: counts over a capture. Pure. */
import { formatIp } from '../core/address.js';
import { decodeOption } from '../tpot/option.js';
import { protocolOf, type IpRepr } from '../wire/ip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { hasFlags } from '../wire/tcp.js';
import type { LinkCapture } from './capture.js';

/** Packets of connections towards one destination, each counted in every row it belongs to. */
export interface Seen {
  readonly syns: number;
  /** SYNs with a request. */
  readonly requests: number;
  readonly synAcks: number;
  /** SYN-ACKs with a reply. */
  readonly replies: number;
  /** In a tunnel of any kind. */
  readonly tunnelled: number;
  /** Of these, in UDP. */
  readonly tunnelledInUdp: number;
  /** Neither SYN nor SYN-ACK, towards the destination, outside any tunnel. */
  readonly plain: number;
  /** Resets in either direction. */
  readonly resets: number;
}

const isUdp = (outer: IpRepr | undefined): boolean =>
  outer !== undefined && protocolOf(outer) === PROTOCOL.udp;

/** Counts what a capture holds of connections towards `destination`, retransmissions included. */
export function seenOn(capture: LinkCapture, destination: string): Seen {
  const seen = {
    syns: 0,
    requests: 0,
    synAcks: 0,
    replies: 0,
    tunnelled: 0,
    tunnelledInUdp: 0,
    plain: 0,
    resets: 0,
  };
  for (const { dissection } of capture.packets) {
    if (dissection.kind !== 'tcp') continue;
    const { ip, tcp, outer, options } = dissection;
    const forward = formatIp(ip.destination) === destination;
    if (!forward && formatIp(ip.source) !== destination) continue;
    const types = options.map((option) => decodeOption(option)?.type);
    const syn = hasFlags(tcp, 'syn');
    if (hasFlags(tcp, 'rst')) seen.resets++;
    if (syn && forward) seen.syns++;
    if (syn && forward && types.includes('request')) seen.requests++;
    if (syn && !forward) seen.synAcks++;
    if (syn && !forward && types.includes('reply')) seen.replies++;
    if (isUdp(outer)) seen.tunnelledInUdp++;
    if (outer !== undefined) seen.tunnelled++;
    else if (forward && !syn) seen.plain++;
  }
  return seen;
}
