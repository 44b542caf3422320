/** What of the protocol can be seen on a link: counts over a capture. Pure. */
import { formatIp } from '../core/address.js';
import { decodeOption } from '../tpot/option.js';
import { protocolOf, type IpRepr } from '../wire/ip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { hasFlags, type TcpRepr } from '../wire/tcp.js';
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
  /** Of these, on their way from the destination. */
  readonly returned: number;
  /** Of these, in UDP. */
  readonly tunnelledInUdp: number;
  /** Neither SYN, SYN-ACK nor reset, towards the destination, outside any tunnel. */
  readonly plain: number;
  /** Resets in either direction of connections whose SYN was seen and that had not ended: both FINs are an end. */
  readonly resets: number;
}

/** Which resets end a connection. */
class Resets {
  /** By the client's port, for each connection whose SYN was seen: the sides that have sent a FIN. */
  readonly #fins = new Map<number, Set<boolean>>();

  counts(tcp: TcpRepr, forward: boolean): boolean {
    const port = forward ? tcp.sourcePort : tcp.destinationPort;
    if (hasFlags(tcp, 'syn') && forward && !this.#fins.has(port)) this.#fins.set(port, new Set());
    const fins = this.#fins.get(port);
    if (hasFlags(tcp, 'fin')) fins?.add(forward);
    return hasFlags(tcp, 'rst') && fins !== undefined && fins.size < 2;
  }
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
    returned: 0,
    tunnelledInUdp: 0,
    plain: 0,
    resets: 0,
  };
  const resets = new Resets();
  const count = (row: keyof Seen, belongs: boolean): void => {
    if (belongs) seen[row]++;
  };
  for (const { dissection } of capture.packets) {
    if (dissection.kind !== 'tcp') continue;
    const { ip, tcp, outer, options } = dissection;
    const forward = formatIp(ip.destination) === destination;
    if (!forward && formatIp(ip.source) !== destination) continue;
    const types = options.map((option) => decodeOption(option)?.type);
    const syn = hasFlags(tcp, 'syn');
    count('resets', resets.counts(tcp, forward));
    count('syns', syn && forward);
    count('requests', syn && forward && types.includes('request'));
    count('synAcks', syn && !forward);
    count('replies', syn && !forward && types.includes('reply'));
    count('tunnelledInUdp', isUdp(outer));
    count('tunnelled', outer !== undefined);
    count('returned', outer !== undefined && !forward);
    count('plain', outer === undefined && forward && !syn && !hasFlags(tcp, 'rst'));
  }
  return seen;
}
