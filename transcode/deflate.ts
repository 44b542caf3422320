/**
 * Streaming DEFLATE (RFC 1951) with what Node always has. Each block is compressed on its own, with the last 32 KiB before
 * it as its dictionary: the same matches as in one stream, and synchronous, which Node's zlib streams are not.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Compressor, Decompressor } from './compressor.js';

const WINDOW = 32 * 1024;

/** The end of what has passed, at most a window of it. */
class History {
  #bytes: Buffer = Buffer.alloc(0);

  restart(dictionary?: Buffer): void {
    this.#bytes = Buffer.from(dictionary?.subarray(-WINDOW) ?? []);
  }

  add(plain: Buffer): void {
    this.#bytes =
      plain.length >= WINDOW
        ? Buffer.from(plain.subarray(-WINDOW))
        : Buffer.concat([this.#bytes.subarray(plain.length - WINDOW), plain]);
  }

  /** zlib refuses an empty dictionary. */
  options(): { dictionary?: Buffer } {
    return this.#bytes.length === 0 ? {} : { dictionary: this.#bytes };
  }
}

export class DeflateCompressor implements Compressor {
  readonly #history = new History();
  #level: number;

  constructor(level: number) {
    this.#level = level;
  }

  restart(level: number, dictionary?: Buffer): void {
    this.#level = level;
    this.#history.restart(dictionary);
  }

  compress(plain: Buffer): Buffer {
    const packed = deflateRawSync(plain, { level: this.#level, ...this.#history.options() });
    this.#history.add(plain);
    return packed;
  }

  close(): void {
    this.#history.restart();
  }
}

export class DeflateDecompressor implements Decompressor {
  readonly #history = new History();

  restart(dictionary?: Buffer): void {
    this.#history.restart(dictionary);
  }

  decompress(packed: Buffer, limit: number): Buffer {
    const plain = inflateRawSync(packed, { maxOutputLength: limit, ...this.#history.options() });
    this.#history.add(plain);
    return plain;
  }

  close(): void {
    this.#history.restart();
  }
}
