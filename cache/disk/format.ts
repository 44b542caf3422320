/**
 * Files of the disk store, as bytes. An object file is one stored response; the content of a larger one is in a body file
 * of its own, which a renewed header section goes on using.
 *
 * ```
 *  object    0  "TPOTOBJ" 1 │ 8 metadata length │ 12 content length │ 16 crc(metadata) │ 20 crc(content) │ 24 0 │ 28 crc(0..27)
 *           32  metadata: JSON, the key and everything of the response but its content
 *            …  content, when it is here
 *
 *  body         blocks of 64 KiB, the last one shorter │ one crc for each block, 4 bytes
 * ```
 *
 * All numbers are little-endian, all checksums CRC-32. A checksum begins with one over the file's name (and the block's
 * number), so bytes of another file or place do not pass.
 */
import { crc32 } from 'node:zlib';
import { NO_RESPONSE_DIRECTIVES } from '../cache-control.js';
import { compact, listFields } from '../fields.js';
import type { StoredHead, StoredResponse } from '../stored.js';

const MAGIC = Buffer.from('TPOTOBJ\x01', 'latin1');
export const HEADER_BYTES = 32;
export const BLOCK_BYTES = 64 * 1024;
const CRC_BYTES = 4;
/** Header sections are bounded by the parser far below this. */
const MOST_METADATA = 1024 * 1024;

/** Wall clock and this process's monotonic clock, milliseconds. */
export interface Moment {
  readonly now: number;
  readonly monotonic: number;
  /** Names the process, whose monotonic clock is no other's. */
  readonly process: string;
}

/** Where the content is that is not in the object file. */
export interface BodyFile {
  /** 8 hexadecimal digits: `NAME.SUFFIX` is the file. */
  readonly suffix: string;
  readonly length: number;
  /** Over the checksums of the blocks. */
  readonly tableCrc: number;
}

export interface DiskObject {
  readonly key: string;
  readonly head: StoredHead;
  readonly bodyLength: number;
  /** The content, when it is in the object file and was read with it. */
  readonly content: Buffer | undefined;
  readonly bodyFile: BodyFile | undefined;
}

interface Metadata extends Omit<StoredHead, 'fields' | 'freshness'> {
  readonly key: string;
  readonly lifetime: number;
  readonly heuristic: boolean;
  readonly initialAge: number;
  /** Wall clock, milliseconds. */
  readonly receivedAt: number;
  /** By the monotonic clock of `process`. */
  readonly receivedMonotonic: number;
  readonly process: string;
  readonly bodyFile?: BodyFile;
}

const seedOf = (name: string): number => crc32(name);

/** The checksum of block `index` of a body file named `name`. */
export function blockCrc(name: string, index: number, block: Buffer): number {
  return crc32(block, (seedOf(name) + index) >>> 0);
}

export function tableCrc(name: string, table: Buffer): number {
  return crc32(table, seedOf(name));
}

export function blocksIn(length: number): number {
  return Math.ceil(length / BLOCK_BYTES);
}

export function tableBytes(length: number): number {
  return blocksIn(length) * CRC_BYTES;
}

/** Bytes of the body file of a content of `length` bytes. */
export function bodyFileBytes(length: number): number {
  return length + tableBytes(length);
}

/** An object file with its content in `blocks`, or with the name of its body file. */
export function encodeObject(
  name: string,
  key: string,
  head: StoredHead,
  content: readonly Buffer[] | BodyFile,
  moment: Moment,
): Buffer {
  const { freshness, ...rest } = plainHead(head);
  const { lifetime, heuristic, initialAge, receivedMonotonic } = freshness;
  const receivedAt = moment.now - Math.max(0, moment.monotonic - receivedMonotonic);
  const bodyFile = 'suffix' in content ? { bodyFile: content } : {};
  const times = { lifetime, heuristic, initialAge, receivedAt, receivedMonotonic, process: moment.process };
  const metadata: Metadata = { key, ...rest, ...times, ...bodyFile };
  const text = Buffer.from(JSON.stringify(metadata));
  const body = 'suffix' in content ? [] : content;
  const bodyLength = body.reduce((sum, block) => sum + block.length, 0);
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(text.length, 8);
  header.writeUInt32LE(bodyLength, 12);
  header.writeUInt32LE(crc32(text, seedOf(name)), 16);
  header.writeUInt32LE(
    body.reduce((crc, block) => crc32(block, crc), seedOf(name)),
    20,
  );
  header.writeUInt32LE(crc32(header.subarray(0, 28)), 28);
  return Buffer.concat([header, text, ...body]);
}

/** Only what belongs to a head, without the index of its fields: a stored response has its content beside it. */
function plainHead(head: StoredHead): Omit<StoredHead, 'fields'> {
  const { status, statusMessage, httpVersion, rawHeaders, freshness, directives } = head;
  const { vary, variant, forEverybody, since, groups } = head;
  const line = { status, statusMessage, httpVersion, rawHeaders };
  return { ...line, freshness, directives, vary, variant, forEverybody, since, groups };
}

/** Where the metadata and the content of an object file end; `undefined` when it is none. */
export function readHeader(
  header: Buffer,
): { readonly metadataEnd: number; readonly contentEnd: number } | undefined {
  if (header.length < HEADER_BYTES || MAGIC.compare(header, 0, MAGIC.length) !== 0) return undefined;
  if (header.readUInt32LE(28) !== crc32(header.subarray(0, 28))) return undefined;
  const metadataEnd = HEADER_BYTES + header.readUInt32LE(8);
  if (metadataEnd > HEADER_BYTES + MOST_METADATA) return undefined;
  return { metadataEnd, contentEnd: metadataEnd + header.readUInt32LE(12) };
}

/**
 * An object file's bytes as what they say; `undefined` when a checksum or a length is wrong. Without the content (the bytes
 * end with the metadata), `content` is `undefined`.
 */
export function decodeObject(name: string, bytes: Buffer, moment: Moment): DiskObject | undefined {
  const ends = readHeader(bytes);
  if (ends === undefined || bytes.length < ends.metadataEnd) return undefined;
  const text = bytes.subarray(HEADER_BYTES, ends.metadataEnd);
  if (crc32(text, seedOf(name)) !== bytes.readUInt32LE(16)) return undefined;
  const { metadata, head } = headFrom(text, moment);
  const { key, bodyFile } = metadata;
  if (bodyFile !== undefined) return { key, head, bodyLength: bodyFile.length, content: undefined, bodyFile };
  const bodyLength = ends.contentEnd - ends.metadataEnd;
  if (bytes.length === ends.metadataEnd && bodyLength > 0)
    return { key, head, bodyLength, content: undefined, bodyFile };
  const content = bytes.subarray(ends.metadataEnd);
  if (content.length !== bodyLength || crc32(content, seedOf(name)) !== bytes.readUInt32LE(20))
    return undefined;
  return { key, head, bodyLength, content, bodyFile };
}

/** The age goes on across processes by the wall clock; one that was set back makes the response stale. */
function headFrom(text: Buffer, moment: Moment): { metadata: Metadata; head: StoredHead } {
  const metadata = JSON.parse(text.toString('utf8')) as Metadata;
  const { status, statusMessage, httpVersion, heuristic, initialAge } = metadata;
  // Numbers that a response does not say are left out in JSON.
  const directives = { ...NO_RESPONSE_DIRECTIVES, ...metadata.directives };
  const { vary, variant, forEverybody, since, groups } = metadata;
  const same = metadata.process === moment.process;
  const resident = moment.now - metadata.receivedAt;
  const freshness = {
    lifetime: same || resident >= 0 ? metadata.lifetime : 0,
    heuristic,
    initialAge,
    receivedMonotonic: same ? metadata.receivedMonotonic : moment.monotonic - Math.max(0, resident),
  };
  const rawHeaders = compact(metadata.rawHeaders);
  const line = { status, statusMessage, httpVersion, rawHeaders, fields: listFields(rawHeaders) };
  const head = { ...line, freshness, directives, vary, variant, forEverybody, since, groups };
  return { metadata, head };
}

/** A stored response without its content. */
export function withoutContent({ head, bodyLength }: DiskObject): StoredResponse {
  return { ...head, body: [], bodyLength, pieces: undefined };
}
