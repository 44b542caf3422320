/** What tests ask of captured packets, and packets of their own making put on a link. */
import { formatIp } from '../core/address.js';
import type { LinkCapture } from '../netns/capture.js';
import type { Topology } from '../netns/topology.js';
import { linkBetween } from '../netns/spec.js';
import { decodeOption, type ReplyOption, type RequestOption } from '../tpot/option.js';
import { protocolOf } from '../wire/ip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { hasFlags } from '../wire/tcp.js';
import { fixture } from './chain.js';

/** A TCP packet on a link, in the terms of the protocol. */
export interface Segment {
  readonly from: string;
  readonly to: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly syn: boolean;
  readonly ack: boolean;
  readonly rst: boolean;
  readonly request: RequestOption | undefined;
  readonly reply: ReplyOption | undefined;
  /** Addresses of the tunnel's header. */
  readonly outer: { readonly from: string; readonly to: string } | undefined;
  /** The tunnel is in UDP. */
  readonly udp: boolean;
  readonly payload: string;
}

export function segmentsOf(capture: LinkCapture | undefined): Segment[] {
  return (capture?.packets ?? []).flatMap(({ dissection }): Segment[] => {
    if (dissection.kind !== 'tcp') return [];
    const { ip, tcp, outer, options, payload } = dissection;
    const decoded = options.map((option) => decodeOption(option));
    return [
      {
        from: formatIp(ip.source),
        to: formatIp(ip.destination),
        sourcePort: tcp.sourcePort,
        destinationPort: tcp.destinationPort,
        syn: hasFlags(tcp, 'syn'),
        ack: hasFlags(tcp, 'ack'),
        rst: hasFlags(tcp, 'rst'),
        request: decoded.find((option) => option?.type === 'request'),
        reply: decoded.find((option) => option?.type === 'reply'),
        udp: outer !== undefined && protocolOf(outer) === PROTOCOL.udp,
        outer: outer && { from: formatIp(outer.source), to: formatIp(outer.destination) },
        payload: Buffer.from(payload).toString('latin1'),
      },
    ];
  });
}

/** The SYNs (no SYN-ACKs) towards an address. */
export function synsTo(capture: LinkCapture | undefined, address: string): Segment[] {
  return segmentsOf(capture).filter(({ syn, ack, to }) => syn && !ack && to === address);
}

export function synAcksFrom(capture: LinkCapture | undefined, address: string): Segment[] {
  return segmentsOf(capture).filter(({ syn, ack, from }) => syn && ack && from === address);
}

/** The packets in a tunnel. */
export function tunnelled(capture: LinkCapture | undefined): Segment[] {
  return segmentsOf(capture).filter(({ outer }) => outer !== undefined);
}

/** The Ethernet address of `host` on its link with `peer`. */
export async function macTowards(net: Topology, host: string, peer: string): Promise<string> {
  const device = linkBetween(net.links, host, peer).own.interface;
  const [found] = JSON.parse(await net.host(host).must('ip', ['-j', 'link', 'show', 'dev', device])) as [
    { address: string },
  ];
  return found.address;
}

/** Puts packets (from their IP header on) on the link from `host` to `peer`, as they are. */
export async function inject(
  net: Topology,
  host: string,
  peer: string,
  packets: readonly Uint8Array[],
): Promise<void> {
  const device = linkBetween(net.links, host, peer).own.interface;
  const input = packets.map((packet) => Buffer.from(packet).toString('hex')).join('\n');
  const args = [fixture('inject.mjs'), device, await macTowards(net, peer, host)];
  await net.host(host).must(process.execPath, args, { input });
}
