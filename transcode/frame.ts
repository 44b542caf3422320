/**
 * What crosses a leg between two nodes that have agreed to transform it. Each direction describes itself:
 *
 * ```
 * direction = hello frame* end          all numbers big-endian
 *
 * hello (28)  | magic 00 "TPOTX" (6) | version 1 (1) | abilities (1) | store id (8) | dictionary id (8) | CRC (4) |
 * frame       | kind 4 bits, XXH3 1 bit, form 3 bits | length (3) | checksum (4) | payload (length) |
 * ```
 *
 * The checksum of `data` and `chunks` is that of the *plain* bytes they stand for, so that an error in a transform is found as
 * surely as one on the way: CRC-32 (ISO 3309, as in RFC 1952), or with the bit the lower half of XXH3-64, which takes a third
 * of the time and is used once the other node's hello has said that it can check it. That of a hello or a control frame is the
 * CRC-32 of its own bytes. In a frame the first word is added to it without carry, so that no damage makes one kind of frame
 * another one.
 *
 * Why a hello: the reply in the SYN-ACK says what was agreed, but whoever sent the reply cannot know whether it arrived
 * when no segment of the connection has come by tunnel. A direction that does not begin with a hello is plain.
 */
import { crc32 } from 'node:zlib';
import { TpotError } from '../core/errors.js';

/** What a frame is. */
export const KIND = {
  /** Plain bytes. */
  data: 1,
  /** A list of chunks and references (dedup.ts). */
  chunks: 2,
  /** Against the stream: the number of a reference that its receiver could not resolve (4). */
  missing: 3,
  /** The answer: that number (4), then the bytes. */
  fill: 4,
  /** Against the stream: how many references have been resolved so far, modulo 2^32 (4). */
  resolved: 5,
  /** The direction's FIN: how many plain bytes it has carried (8). */
  end: 6,
  /** No reference follows in this direction: the other one will carry no answers (0). */
  last: 7,
  /** What follows this frame, to the FIN, is plain; how many plain bytes came before (8). */
  plain: 8,
} as const;

/** What the sender of a hello can do beside what every node can. */
export const ABILITY = {
  /** It can check XXH3. */
  xxh3: 1,
  /** It knows `last` and `plain`. */
  plain: 2,
} as const;

/** How the payload of `data` and `chunks` is written. */
export const FORM = {
  plain: 0,
  /** The next block of this direction's compressor. */
  packed: 1,
  /** The first block of a compressor that knows nothing. */
  anew: 2,
  /** The first block of one that knows the dictionary named by the receiver's hello. */
  withDictionary: 3,
} as const;

export type Kind = (typeof KIND)[keyof typeof KIND];
export type Form = (typeof FORM)[keyof typeof FORM];

export interface Hello {
  /** Names what the sender's chunk store holds; another one after it was lost. 8 bytes. */
  readonly storeId: Buffer;
  /** The dictionary that the sender of the hello has for what it will receive; all zero: none. 8 bytes. */
  readonly dictionaryId: Buffer;
  /** Bits of {@link ABILITY}; others mean nothing to this version. */
  readonly abilities: number;
}

export interface Frame {
  readonly kind: Kind;
  readonly form: Form;
  /** Whether its checksum is one of XXH3. */
  readonly xxh3: boolean;
  readonly checksum: number;
  /** Views of what was fed in, cut where that was cut; copy what is kept. */
  readonly payload: readonly Buffer[];
}

const MAGIC = Buffer.from('\0TPOTX', 'latin1');
const VERSION = 1;
const XXH3 = 8;
export const HELLO_LENGTH = 28;
export const FRAME_HEADER_LENGTH = 8;
export const ID_LENGTH = 8;
/** Plain bytes that one frame stands for, at most. */
export const MAX_PLAIN = 64 * 1024;
/** A payload may be a little larger than the bytes it stands for. */
export const MAX_PAYLOAD = 2 * MAX_PLAIN;

/** The peer sent what no peer of this version sends; the connection cannot go on. */
export class FrameError extends TpotError {
  override readonly name = 'FrameError';

  constructor(what: string) {
    super('transform-broken', `the other node's transformed stream is broken: ${what}`, {
      hint: 'Both connections were reset. If it happens again, switch the transforms off on one of the two nodes.',
    });
  }
}

export function encodeHello({ storeId, dictionaryId, abilities }: Hello): Buffer {
  const hello = Buffer.alloc(HELLO_LENGTH);
  MAGIC.copy(hello, 0);
  hello.writeUInt8(VERSION, MAGIC.length);
  hello.writeUInt8(abilities, MAGIC.length + 1);
  storeId.copy(hello, 8);
  dictionaryId.copy(hello, 16);
  hello.writeUInt32BE(crc32(hello.subarray(0, HELLO_LENGTH - 4)), HELLO_LENGTH - 4);
  return hello;
}

/**
 * Whether a direction begins with a hello. `undefined`: the bytes so far could be the beginning of one.
 * A hello of another version or with a wrong CRC is none: the direction is plain.
 */
export function readHello(bytes: Buffer): Hello | 'plain' | undefined {
  const known = Math.min(bytes.length, MAGIC.length);
  if (!bytes.subarray(0, known).equals(MAGIC.subarray(0, known))) return 'plain';
  if (bytes.length < HELLO_LENGTH) return undefined;
  const crc = crc32(bytes.subarray(0, HELLO_LENGTH - 4));
  if (bytes.readUInt8(MAGIC.length) !== VERSION || bytes.readUInt32BE(HELLO_LENGTH - 4) !== crc)
    return 'plain';
  return {
    storeId: Buffer.from(bytes.subarray(8, 16)),
    dictionaryId: Buffer.from(bytes.subarray(16, 24)),
    abilities: bytes.readUInt8(MAGIC.length + 1),
  };
}

/** Of parts, one after the other. */
export const crcOf = (parts: readonly Buffer[]): number => parts.reduce((sum, part) => crc32(part, sum), 0);

/** A number as it stands in frames: 32 bits. */
export function word(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

/** The header of a frame; the payload follows it as it is. */
export function frameHeader(kind: Kind, form: Form, length: number, checksum: number, xxh3 = false): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_LENGTH);
  const first = (((kind * 16 + form + (xxh3 ? XXH3 : 0)) << 24) | length) >>> 0;
  header.writeUInt32BE(first, 0);
  header.writeUInt32BE((checksum ^ first) >>> 0, 4);
  return header;
}

/** A frame whose CRC is of its own payload. */
export function controlFrame(kind: Kind, payload: Buffer): Buffer {
  return Buffer.concat([frameHeader(kind, FORM.plain, payload.length, crc32(payload)), payload]);
}

/** Parts in one piece; a copy only where there are several. */
export function joined(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

/** What a frame that is not complete may be held in; beyond this its parts are joined. */
const MOST_PARTS = 64;

/** Cuts a byte stream into frames without copying them; holds what has been pushed and not been read. */
export class FrameReader {
  #parts: Buffer[] = [];
  #size = 0;
  /** Of the next frame, once it is there. */
  #header: Header | undefined;

  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    // Segments of a few bytes each would take far more memory than what is in them.
    if (this.#parts.length >= MOST_PARTS) this.#parts = [Buffer.concat(this.#parts)];
    this.#parts.push(bytes);
    this.#size += bytes.length;
  }

  /** The next frame, if all of it is there; throws {@link FrameError} for a header no peer sends. */
  next(): Frame | undefined {
    if (this.#header === undefined) {
      if (this.#size < FRAME_HEADER_LENGTH) return undefined;
      const bytes = joined(this.#take(FRAME_HEADER_LENGTH));
      const first = bytes.readUInt32BE(0);
      this.#header = { ...parseHeader(first), checksum: (bytes.readUInt32BE(4) ^ first) >>> 0 };
    }
    const { kind, form, xxh3, length, checksum } = this.#header;
    if (this.#size < length) return undefined;
    this.#header = undefined;
    return { kind, form, xxh3, checksum, payload: this.#take(length) };
  }

  /** What has been pushed and is in no frame that has been read; nothing is held any more. */
  rest(): Buffer[] {
    return this.#take(this.#size);
  }

  #take(length: number): Buffer[] {
    const taken: Buffer[] = [];
    let left = length;
    for (let first = this.#parts[0]; left > 0 && first !== undefined; first = this.#parts[0]) {
      if (first.length > left) {
        taken.push(first.subarray(0, left));
        this.#parts[0] = first.subarray(left);
        break;
      }
      taken.push(first);
      left -= first.length;
      this.#parts.shift();
    }
    this.#size -= length;
    return taken;
  }
}

interface Header {
  readonly kind: Kind;
  readonly form: Form;
  readonly xxh3: boolean;
  readonly length: number;
  readonly checksum: number;
}

function parseHeader(word: number): Omit<Header, 'checksum'> {
  const kind = word >>> 28;
  const form = (word >>> 24) & 7;
  const xxh3 = ((word >>> 24) & XXH3) !== 0;
  const length = word & 0xffffff;
  if (kind === 0 || kind > KIND.plain) throw new FrameError(`unknown kind of frame ${kind}`);
  const content = kind <= KIND.chunks;
  if (form > (content ? FORM.withDictionary : FORM.plain) || (xxh3 && !content))
    throw new FrameError(`unknown form ${form}`);
  if (length > MAX_PAYLOAD) throw new FrameError(`a frame of ${length} bytes, more than ${MAX_PAYLOAD}`);
  return { kind: kind as Kind, form: form as Form, xxh3, length };
}
