/**
 * How long a proxy keeps each byte: the time from when a segment reached it to when the last byte of that segment
 * left it, out of captures of both sides. Both legs have their own sequence numbers, and a relay cuts the stream into
 * other segments, so bytes are told by their place in the stream, which begins with a mark on both sides.
 *
 * ```
 *   arrived   |MARK..|......|......|        sample: place, time it arrived
 *   left      |MARK.....|.........|         delay: the first segment that holds that place, minus that time
 * ```
 */
import { readPcap } from '../../netns/pcap.js';
import { ipv4 } from '../../wire/ipv4.js';
import { PROTOCOL } from '../../wire/protocols.js';
import { diff, min, type Seq } from '../../wire/seq.js';
import { tcp } from '../../wire/tcp.js';
import { MARK } from '../load/protocol.js';

export interface Sighting {
  readonly nanoseconds: bigint;
  readonly seq: Seq;
  /** Bytes of payload; the capture holds only the first of them. */
  readonly length: number;
  readonly marked: boolean;
}

export interface Delay {
  /** Bytes of the stream before the end of the segment. */
  readonly place: number;
  readonly microseconds: number;
}

const ETHERNET_HEADER = 14;
const IP_IN_IP = 4;
/** Enough for every header, two of IP among them, and the mark. */
export const SNAP_LENGTH = 160;

/** The segments with payload in a capture of IPv4 over Ethernet; those in a tunnel count as if they came plain. */
export function sightings(file: Uint8Array): Sighting[] {
  return readPcap(file).packets.flatMap(({ nanoseconds, bytes }): Sighting[] => {
    let packet = bytes.subarray(ETHERNET_HEADER);
    let header = ipv4.view(packet);
    if (packet.length >= header.headerLength && header.protocol === IP_IN_IP) {
      packet = packet.subarray(header.headerLength);
      header = ipv4.view(packet);
    }
    if (packet.length < header.headerLength || header.protocol !== PROTOCOL.tcp) return [];
    const segment = packet.subarray(header.headerLength);
    const view = tcp.view(segment);
    const length = header.totalLength - header.headerLength - view.headerLength;
    if (length <= 0) return [];
    const payload = segment.subarray(view.headerLength, view.headerLength + MARK.length);
    return [{ nanoseconds, seq: view.seq, length, marked: MARK.equals(payload) }];
  });
}

interface Advance {
  readonly end: number;
  readonly nanoseconds: bigint;
}

/** Where the stream begins: at its first mark, which may have been overtaken on its way. */
function beginningOf(seen: readonly Sighting[]): Seq | undefined {
  const marks = seen.filter(({ marked }) => marked).map(({ seq }) => seq);
  return marks.length === 0 ? undefined : marks.reduce(min);
}

/** Where the stream grew: what was sent again, or overtaken, is left out. */
function advances(seen: readonly Sighting[]): Advance[] {
  const base = beginningOf(seen);
  if (base === undefined) return [];
  const found: Advance[] = [];
  let highest = 0;
  for (const { nanoseconds, seq, length } of seen) {
    const end = diff(seq, base) + length;
    if (end <= highest) continue;
    highest = end;
    found.push({ end, nanoseconds });
  }
  return found;
}

/** Bytes that never left, or were not captured leaving, give no delay. */
export function matchDelays(arrived: readonly Sighting[], left: readonly Sighting[]): Delay[] {
  const departures = advances(left);
  let next = 0;
  return advances(arrived).flatMap(({ end, nanoseconds }): Delay[] => {
    while ((departures[next]?.end ?? Infinity) < end) next += 1;
    const departure = departures[next];
    if (departure === undefined) return [];
    return [{ place: end, microseconds: Number(departure.nanoseconds - nanoseconds) / 1000 }];
  });
}
