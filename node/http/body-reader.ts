/**
 * Finds the content and the end of a response's body in its bytes (RFC 9112 sections 6 and 7.1), where no parser of Node
 * reads them. Strict, since nobody else looks: what is not exactly right is `bad`.
 */

export type Reading =
  | 'more'
  /** The body has ended; what follows is none of it. */
  | 'complete'
  /** No such body, or one with trailers. */
  | 'bad';

export interface BodyReader {
  /** Hands the content in these bytes to `to`. Nothing is read after `complete` or `bad`. */
  read(bytes: Buffer, to: (content: Buffer) => void): Reading;
}

/** A body of known length. */
export class LengthReader implements BodyReader {
  #left: number;

  /** `left` is how many bytes are to come, at least one. */
  constructor(left: number) {
    this.#left = left;
  }

  read(bytes: Buffer, to: (content: Buffer) => void): Reading {
    const content = bytes.subarray(0, this.#left);
    this.#left -= content.length;
    if (content.length > 0) to(content);
    return this.#left === 0 ? 'complete' : 'more';
  }
}

const LF = 0x0a;
const CR = 0x0d;
/** Digits of a size that a number can hold, and bytes of a chunk's extensions. */
const MOST_DIGITS = 12;
const MOST_EXTENSION = 4096;

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** A chunked body. */
export class ChunkReader implements BodyReader {
  #state:
    | 'size'
    | 'extension'
    | 'size-end'
    | 'content'
    | 'content-cr'
    | 'content-lf'
    | 'last-cr'
    | 'last-lf'
    | Exclude<Reading, 'more'> = 'size';
  /** The size that is being read, then content to come. */
  #size = 0;
  /** Digits of the size, or bytes of its extensions. */
  #count = 0;

  read(bytes: Buffer, to: (content: Buffer) => void): Reading {
    for (let at = 0; at < bytes.length;) {
      if (this.#state === 'complete' || this.#state === 'bad') break;
      if (this.#state !== 'content') {
        this.#step(bytes[at++] ?? 0);
        continue;
      }
      const content = bytes.subarray(at, at + this.#size);
      to(content);
      at += content.length;
      this.#size -= content.length;
      if (this.#size === 0) this.#state = 'content-cr';
    }
    return this.#state === 'complete' || this.#state === 'bad' ? this.#state : 'more';
  }

  #step(byte: number): void {
    switch (this.#state) {
      case 'size':
        this.#readSize(byte);
        break;
      case 'extension':
        if (byte === CR) this.#state = 'size-end';
        else if (byte === LF || ++this.#count > MOST_EXTENSION) this.#state = 'bad';
        break;
      case 'size-end':
        if (byte !== LF) this.#state = 'bad';
        else this.#state = this.#size === 0 ? 'last-cr' : 'content';
        break;
      case 'content-cr':
        this.#state = byte === CR ? 'content-lf' : 'bad';
        break;
      case 'content-lf':
        this.#state = byte === LF ? 'size' : 'bad';
        this.#count = 0;
        break;
      case 'last-cr': // anything else begins a trailer
        this.#state = byte === CR ? 'last-lf' : 'bad';
        break;
      default:
        this.#state = byte === LF ? 'complete' : 'bad';
    }
  }

  #readSize(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#size = this.#size * 16 + digit;
      if (++this.#count > MOST_DIGITS) this.#state = 'bad';
    } else if (this.#count === 0) {
      this.#state = 'bad';
    } else if (byte === CR) {
      this.#state = 'size-end';
    } else {
      this.#count = 0;
      this.#state = byte === 0x3b || byte === 0x20 || byte === 0x09 ? 'extension' : 'bad';
    }
  }
}
