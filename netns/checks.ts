/**
 * What must hold of the packets on a link. Pure functions over dissected captures: the labs use them on real traffic,
 * the tests on crafted packets, where each is seen to fail too.
 */
import { formatIp, type IpAddress } from '../core/address.js';
import { formatDissection, type TcpDissection } from '../wire/dissect.js';
import { hasFlags } from '../wire/tcp.js';
import { decodeOption, DEFAULT_NUMBERS, type ReplyOption, type RequestOption } from '../tpot/option.js';
import type { CapturedPacket, LinkCapture } from './capture.js';

export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was seen; for a check that does not hold, the first thing that speaks against it. */
  readonly detail: string;
}

/** A TCP packet of a capture, with what the checks ask of it. */
interface Segment {
  readonly number: number;
  readonly packet: TcpDissection;
  readonly from: string;
  readonly to: string;
  readonly outer: { readonly from: string; readonly to: string } | undefined;
  readonly kind: 'syn' | 'syn-ack' | 'other';
  readonly request: RequestOption | undefined;
  readonly reply: ReplyOption | undefined;
  /** Options with TPOT's kind, whether they make sense or not. */
  readonly experimental: number;
}

/** One hop of a connection, as it should look on a link. */
export interface Leg {
  /** Who opened it: the client, or a node towards its next hop. */
  readonly source: string;
  readonly destination: string;
}

/** A leg, and what the SYN on it may ask for. Several values: legs of several connections cross the link. */
export interface PlainLeg extends Leg {
  readonly hops: readonly number[];
}

export interface TunnelledLeg extends PlainLeg {
  /** The node at the end of the tunnel, as its reply must name it. */
  readonly node: string;
}

const ends = (header: { source: IpAddress; destination: IpAddress }): { from: string; to: string } => ({
  from: formatIp(header.source),
  to: formatIp(header.destination),
});

function kindOf(packet: TcpDissection): Segment['kind'] {
  if (!hasFlags(packet.tcp, 'syn')) return 'other';
  return hasFlags(packet.tcp, 'ack') ? 'syn-ack' : 'syn';
}

function toSegment({ number, dissection }: CapturedPacket): Segment[] {
  if (dissection.kind !== 'tcp') return [];
  const decoded = dissection.options.map((option) => decodeOption(option));
  return [
    {
      number,
      packet: dissection,
      ...ends(dissection.ip),
      outer: dissection.outer === undefined ? undefined : ends(dissection.outer),
      kind: kindOf(dissection),
      request: decoded.find((option) => option?.type === 'request'),
      reply: decoded.find((option) => option?.type === 'reply'),
      experimental: dissection.options.filter(
        (option) => option.kind === 'unknown' && option.code === DEFAULT_NUMBERS.kind,
      ).length,
    },
  ];
}

function segmentsOf(capture: LinkCapture): Segment[] {
  return capture.packets.flatMap(toSegment);
}

const forward = (segment: Segment, leg: Leg): boolean =>
  segment.from === leg.source && segment.to === leg.destination;
const backward = (segment: Segment, leg: Leg): boolean =>
  segment.from === leg.destination && segment.to === leg.source;

const asks = (request: RequestOption | undefined, leg: PlainLeg): boolean =>
  request !== undefined && leg.hops.includes(request.hops);

const quote = (segment: Segment): string => `packet ${segment.number}: ${formatDissection(segment.packet)}`;

/** At least `minimum` segments, and every one of them as it should be. */
function every(
  name: string,
  segments: readonly Segment[],
  holds: (segment: Segment) => boolean,
  options: { minimum?: number; seen: string },
): CheckResult {
  const { minimum = 1, seen } = options;
  const wrong = segments.find((segment) => !holds(segment));
  if (wrong !== undefined) return { name, ok: false, detail: quote(wrong) };
  if (segments.length < minimum) {
    return { name, ok: false, detail: `${segments.length} packets seen, at least ${minimum} expected` };
  }
  return {
    name,
    ok: true,
    detail: `${segments.length} ${segments.length === 1 ? 'packet' : 'packets'}: ${seen}`,
  };
}

/** A leg on which a node took the connection: request, reply, tunnel (protocol section 1, messages 1 to 3). */
export function checkTunnelledLeg(capture: LinkCapture, leg: TunnelledLeg): CheckResult[] {
  const segments = segmentsOf(capture);
  const out = segments.filter((segment) => forward(segment, leg));
  const back = segments.filter((segment) => backward(segment, leg));
  const { link } = capture;
  const hops = leg.hops.join(' or ');
  return [
    every(
      `${link}: the SYN carries a request with ${hops} hops`,
      out.filter(({ kind }) => kind === 'syn'),
      ({ request, outer, experimental }) => asks(request, leg) && outer === undefined && experimental === 1,
      { seen: `${leg.source} > ${leg.destination}` },
    ),
    every(
      `${link}: the SYN-ACK carries the reply of ${leg.node}`,
      back.filter(({ kind }) => kind === 'syn-ack'),
      ({ reply, outer, experimental }) =>
        reply !== undefined &&
        formatIp(reply.address) === leg.node &&
        outer === undefined &&
        experimental === 1,
      { seen: `${leg.destination} > ${leg.source}` },
    ),
    every(
      `${link}: every later packet of ${leg.source} is protocol 4 to ${leg.node}`,
      out.filter(({ kind }) => kind !== 'syn'),
      ({ outer }) => outer?.from === leg.source && outer.to === leg.node,
      { minimum: 2, seen: `[${leg.source} > ${leg.node}]` },
    ),
    every(`${link}: the way back is plain TCP`, back, ({ outer }) => outer === undefined, {
      minimum: 2,
      seen: `${leg.destination} > ${leg.source}`,
    }),
  ];
}

/** The last leg: the destination knows nothing of TPOT. */
export function checkPlainLeg(capture: LinkCapture, leg: PlainLeg): CheckResult[] {
  const segments = segmentsOf(capture);
  const both = segments.filter((segment) => forward(segment, leg) || backward(segment, leg));
  const { link } = capture;
  const hops = leg.hops.join(' or ');
  return [
    every(
      `${link}: the SYN carries a request with ${hops} hops, for a node that is not there`,
      both.filter(({ kind }) => kind === 'syn'),
      (segment) => asks(segment.request, leg) && forward(segment, leg),
      { seen: `${leg.source} > ${leg.destination}` },
    ),
    every(
      `${link}: the SYN-ACK carries no option of ours`,
      both.filter(({ kind }) => kind === 'syn-ack'),
      ({ experimental }) => experimental === 0,
      { seen: `${leg.destination} > ${leg.source}` },
    ),
    every(`${link}: plain TCP both ways, nothing in a tunnel`, segments, ({ outer }) => outer === undefined, {
      minimum: 5,
      seen: 'none is protocol 4',
    }),
  ];
}

/** Over all links: options stand in plain SYNs (requests) and plain SYN-ACKs (replies), and nowhere else. */
export function checkOptionPlaces(captures: Iterable<LinkCapture>): CheckResult {
  const name = 'options stand in SYN and SYN-ACK packets and nowhere else';
  let requests = 0;
  let replies = 0;
  for (const capture of captures) {
    for (const segment of segmentsOf(capture)) {
      const { request, reply, experimental, kind, outer } = segment;
      const allowed =
        (kind === 'syn' && request !== undefined) || (kind === 'syn-ack' && reply !== undefined) ? 1 : 0;
      if (experimental > allowed || (experimental > 0 && outer !== undefined)) {
        return { name, ok: false, detail: `${capture.link} ${quote(segment)}` };
      }
      requests += kind === 'syn' ? experimental : 0;
      replies += kind === 'syn-ack' ? experimental : 0;
    }
  }
  const detail = `${requests} requests, ${replies} replies`;
  return { name, ok: requests > 0 && replies > 0, detail };
}

/** Nothing lost by the captures, nothing on the wire that cannot be read, nothing but TCP in the tunnels. */
export function checkCaptures(captures: Iterable<LinkCapture>): CheckResult {
  const name = 'the captures are complete and every packet in them can be read';
  let packets = 0;
  for (const { link, summary, packets: captured } of captures) {
    packets += captured.length;
    if (summary.drops !== 0)
      return { name, ok: false, detail: `${link}: ${summary.drops ?? 'unknown'} packets lost` };
    const strange = captured.find(
      ({ dissection }) =>
        dissection.kind === 'malformed' || (dissection.outer !== undefined && dissection.kind !== 'tcp'),
    );
    if (strange !== undefined) {
      return {
        name,
        ok: false,
        detail: `${link} packet ${strange.number}: ${formatDissection(strange.dissection)}`,
      };
    }
  }
  return { name, ok: packets > 0, detail: `${packets} packets` };
}

const REQUEST_LINE = /^(?:GET|HEAD|POST|PUT) (\S+) HTTP\/1\.1\r\n/;

/**
 * Paths of the HTTP requests that went over a link towards `destination`, in order, one per request: a retransmitted
 * segment counts once. A request line is taken to stand at the start of a segment, as it does in the labs.
 */
export function requestsOn(capture: LinkCapture, destination: string): string[] {
  const seen = new Set<string>();
  const paths: string[] = [];
  for (const { packet, from, to } of segmentsOf(capture)) {
    const path = REQUEST_LINE.exec(Buffer.from(packet.payload.subarray(0, 512)).toString('latin1'))?.[1];
    const key = `${from} ${packet.tcp.sourcePort} ${packet.tcp.seq}`;
    if (to !== destination || path === undefined || seen.has(key)) continue;
    seen.add(key);
    paths.push(path);
  }
  return paths;
}

/** Exactly these requests crossed a link, whatever their order. */
export function checkRequestsOn(
  capture: LinkCapture,
  destination: string,
  expected: readonly string[],
  name = `${capture.link}: exactly the expected requests crossed`,
): CheckResult {
  const got = requestsOn(capture, destination).sort();
  const ok =
    got.length === expected.length && [...expected].sort().every((path, index) => path === got[index]);
  const list = (paths: readonly string[]): string => (paths.length === 0 ? 'none' : paths.join(', '));
  return { name, ok, detail: ok ? list(got) : `expected ${list([...expected].sort())}; saw ${list(got)}` };
}

/** Bytes of content, and of its heads, that went over a link from one address to another; what was sent again counts once. */
export function bytesFrom(capture: LinkCapture, source: string, to?: string): number {
  const seen = new Set<string>();
  let bytes = 0;
  for (const { packet, from, to: destination } of segmentsOf(capture)) {
    const { length } = packet.payload;
    if (length === 0 || from !== source || (to !== undefined && to !== destination)) continue;
    const key = `${destination} ${packet.tcp.destinationPort} ${packet.tcp.seq}`;
    if (!seen.has(key)) bytes += length;
    seen.add(key);
  }
  return bytes;
}

/** How many packets from one address to another came plain, and how many in a tunnel. The SYNs do not count. */
export function countForward(
  capture: LinkCapture,
  leg: Leg,
): { readonly plain: number; readonly tunnelled: number } {
  const later = segmentsOf(capture).filter((segment) => forward(segment, leg) && segment.kind !== 'syn');
  const tunnelled = later.filter(({ outer }) => outer !== undefined).length;
  return { plain: later.length - tunnelled, tunnelled };
}

/** Connections of a leg that were answered with a SYN-ACK, and how many of those were then reset from that side. */
export function countConnections(
  capture: LinkCapture,
  leg: Leg,
): { readonly accepted: number; readonly reset: number } {
  const accepted = new Set<number>();
  const reset = new Set<number>();
  for (const segment of segmentsOf(capture).filter((candidate) => backward(candidate, leg))) {
    const { tcp } = segment.packet;
    if (segment.kind === 'syn-ack') accepted.add(tcp.destinationPort);
    else if (hasFlags(tcp, 'rst') && accepted.has(tcp.destinationPort)) reset.add(tcp.destinationPort);
  }
  return { accepted: accepted.size, reset: reset.size };
}

/** Compares two values that should be the same. */
export function checkEqual(
  name: string,
  got: string | number,
  expected: string | number,
  unit = '',
): CheckResult {
  const ok = got === expected;
  return { name, ok, detail: ok ? `${got}${unit}` : `${got}${unit}, expected ${expected}${unit}` };
}
