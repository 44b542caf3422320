/**
 * Capture files in the classic pcap format (draft-ietf-opsawg-pcap): what every capture tool reads.
 *
 * ```
 * file    | magic 4 | major 2 | minor 2 | 0 4 | 0 4 | snap length 4 | link type 4 |
 * packet  | seconds 4 | micro- or nanoseconds 4 | captured length 4 | original length 4 | bytes |
 * ```
 */
import { TpotError } from '../core/errors.js';

export const LINKTYPE_ETHERNET = 1;

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER = 24;
const PACKET_HEADER = 16;
const VERSION = { major: 2, minor: 4 };

export interface PcapPacket {
  /** Milliseconds since the epoch, with a fraction. */
  readonly time: number;
  /** Before the snap length cut it. */
  readonly originalLength: number;
  readonly bytes: Uint8Array;
}

/** A packet that was read has its time twice: exact, and as most of us want it. */
export interface ReadPacket extends PcapPacket {
  /** Since the epoch, as exact as the file. */
  readonly nanoseconds: bigint;
}

export interface PcapFile {
  readonly linkType: number;
  readonly packets: readonly ReadPacket[];
  /** The file ends in the middle of a packet: its writer was killed. */
  readonly truncated: boolean;
}

export function pcapHeader(snapLength: number, linkType: number = LINKTYPE_ETHERNET): Buffer {
  const header = Buffer.alloc(FILE_HEADER);
  header.writeUInt32LE(MAGIC_MICROSECONDS, 0);
  header.writeUInt16LE(VERSION.major, 4);
  header.writeUInt16LE(VERSION.minor, 6);
  header.writeUInt32LE(snapLength, 16);
  header.writeUInt32LE(linkType, 20);
  return header;
}

/** One packet as it stands in the file; copies the bytes. */
export function pcapRecord(packet: PcapPacket): Buffer {
  const record = Buffer.alloc(PACKET_HEADER + packet.bytes.length);
  const microseconds = Math.round(packet.time * 1000);
  record.writeUInt32LE(Math.floor(microseconds / 1e6), 0);
  record.writeUInt32LE(microseconds % 1e6, 4);
  record.writeUInt32LE(packet.bytes.length, 8);
  record.writeUInt32LE(packet.originalLength, 12);
  record.set(packet.bytes, PACKET_HEADER);
  return record;
}

/** Reads a capture file of either byte order; throws `pcap-invalid` when it is none. */
export function readPcap(file: Uint8Array): PcapFile {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magics = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS];
  const little = file.length >= FILE_HEADER && magics.includes(view.getUint32(0, true));
  if (!little && !(file.length >= FILE_HEADER && magics.includes(view.getUint32(0, false)))) {
    throw new TpotError('pcap-invalid', 'not a pcap file');
  }
  const perSecond = view.getUint32(0, little) === MAGIC_NANOSECONDS ? 1e9 : 1e6;
  const packets: ReadPacket[] = [];
  let offset = FILE_HEADER;
  while (offset + PACKET_HEADER <= file.length) {
    const start = offset + PACKET_HEADER;
    const end = start + view.getUint32(offset + 8, little);
    if (end > file.length) break;
    const seconds = view.getUint32(offset, little);
    const fraction = view.getUint32(offset + 4, little);
    const originalLength = view.getUint32(offset + 12, little);
    const nanoseconds = BigInt(seconds) * 1_000_000_000n + BigInt(fraction * (1e9 / perSecond));
    const time = (seconds + fraction / perSecond) * 1000;
    packets.push({ time, nanoseconds, originalLength, bytes: file.subarray(start, end) });
    offset = end;
  }
  return { linkType: view.getUint32(20, little), packets, truncated: offset !== file.length };
}
