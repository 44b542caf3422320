/**
 * Segments that came while their connection was being handed over, and were held back from its socket. When the
 * hand-over is done they go where they would have gone after it: to the other leg, or to the socket after all. Without
 * that their senders send them again, but a sender of one segment waits 200 ms for its ACK before it does.
 */
import { concat } from '../wire/bytes.js';
import { isValid, pseudoHeaderSum } from '../wire/checksum.js';
import { ip, type IpRepr } from '../wire/ip.js';
import { ipv4 } from '../wire/ipv4.js';
import { ipv6 } from '../wire/ipv6.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add, type Seq } from '../wire/seq.js';
import { hasFlags, tcp, TCP_FLAG, TCP_MIN_HEADER, type TcpRepr } from '../wire/tcp.js';
import { mapPacket, UNCHANGED, type FlowEnds, type Mapping } from './mapping.js';

/** Flags of the last piece of a segment only. */
const LAST = TCP_FLAG.fin | TCP_FLAG.psh;
/** More than any segment has. */
const NO_LIMIT = 0x10000;

interface Segment {
  readonly header: IpRepr;
  readonly tcp: TcpRepr;
  readonly payload: Uint8Array;
}

/**
 * A whole TCP segment whose checksum is right, or is still the sum of its pseudo header, as a card is given it that
 * computes the rest. From here on it gets a right one, so one that was damaged on the way must end here.
 */
function parse(packet: Uint8Array): Segment | undefined {
  const outer = ip.parse(packet);
  if (!outer.ok) return undefined;
  const inner = tcp.parse(outer.payload);
  if (!inner.ok) return undefined;
  const { source, destination } = outer.value;
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, outer.payload.length);
  if (!isValid(outer.payload, pseudo) && inner.value.checksum !== pseudo) return undefined;
  return { header: outer.value, tcp: inner.value, payload: inner.payload };
}

function flowOf({ header, tcp: { sourcePort, destinationPort } }: Segment): FlowEnds {
  return { source: header.source, sourcePort, destination: header.destination, destinationPort };
}

/** The flow a packet is of; undefined when it is no sound segment. */
export function heldFlow(packet: Uint8Array): FlowEnds | undefined {
  const segment = parse(packet);
  return segment && flowOf(segment);
}

/** The sequence number behind the FIN of a packet that has one. */
export function heldFin(packet: Uint8Array): Seq | undefined {
  const segment = parse(packet);
  if (segment === undefined || !hasFlags(segment.tcp, 'fin')) return undefined;
  return add(segment.tcp.seq, segment.payload.length + 1);
}

function emitPiece({ header, tcp: whole, payload }: Segment, from: number, to: number): Uint8Array {
  const flags = to < payload.length ? whole.flags & ~LAST : whole.flags;
  const head = tcp.emit({ ...whole, seq: add(whole.seq, from), flags });
  const segment = concat(head, payload.subarray(from, to));
  if (header.family === 6) return concat(ipv6.emit({ ...header, payloadLength: segment.length }), segment);
  return concat(ipv4.emit({ ...header, totalLength: ipv4.byteLength(header) + segment.length }), segment);
}

/** As packets of the other leg; what the mapping drops is left out. One that was still to be cut up is cut up here. */
export function mapHeld(packet: Uint8Array, mapping: Mapping): Uint8Array[] {
  const segment = parse(packet);
  if (segment === undefined) return [];
  const room = mapping.maxSegment - TCP_MIN_HEADER - segment.tcp.options.length;
  const urgent = (segment.tcp.flags & TCP_FLAG.urg) !== 0; // its pointer counts from the start of the segment
  if (room <= 0 || (urgent && segment.payload.length > room)) return [];
  const pieces: Uint8Array[] = [];
  for (let from = 0; from < Math.max(1, segment.payload.length); from += room) {
    const to = Math.min(from + room, segment.payload.length);
    const mapped = mapPacket(emitPiece(segment, from, to), mapping);
    if (mapped.verdict === 'forward') pieces.push(mapped.packet);
  }
  return pieces;
}

/** For the socket that it was addressed to, after all: the same segment with a whole checksum. */
export function wholeAgain(packet: Uint8Array): Uint8Array | undefined {
  const segment = parse(packet);
  if (segment === undefined) return undefined;
  const mapped = mapPacket(packet, unchanged(flowOf(segment), segment.tcp.seq));
  return mapped.verdict === 'forward' ? mapped.packet : undefined;
}

function unchanged(out: FlowEnds, base: Seq): Mapping {
  return { out, base, ...UNCHANGED, maxSegment: NO_LIMIT, timestamps: true, sack: true, ecn: true };
}
