/**
 * The chunked body of a response, byte for byte as it comes on a leg whose messages Node parses.
 *
 * ```
 *   leg ──data──▶ RawBody ──(kept)          until the response's head has been parsed: begin()
 *        └─data─▶ Node's parser ─ response ─▶ end of message, errors
 *                 RawBody ──▶ client        from behind the head to the end of the last chunk
 * ```
 */
import type { Socket } from 'node:net';
import { ChunkScanner, HeadScanner } from './chunked.js';
import type { HeadSoFar } from './http-leg.js';

export class RawBody {
  readonly #leg: Socket;
  readonly #heads: HeadScanner;
  readonly #chunks = new ChunkScanner();
  #wanted: number;
  /** What Node's parser is reading at this moment, or has read last. */
  #current: Buffer;
  #to: ((bytes: Buffer) => void) | undefined;

  /**
   * To be made before the first byte of the response, or while the parser reads the chunk that ends its head: then `head` is what
   * has come by then, with `informed` responses 1xx before it.
   */
  constructor(leg: Socket, head?: HeadSoFar, informed = 0) {
    this.#leg = leg;
    this.#heads = head?.heads ?? new HeadScanner();
    this.#current = head?.chunk ?? Buffer.alloc(0);
    this.#wanted = 1 + informed;
    leg.prependListener('data', this.#see);
  }

  /** A 1xx response has been parsed: one more header section before that of the response. */
  informed(): void {
    this.#wanted++;
  }

  /**
   * Begins to hand on the body. To be called when Node has just parsed the head, in the same turn; `false` when its end
   * cannot be found.
   */
  begin(to: (bytes: Buffer) => void): boolean {
    const end = this.#heads.find(this.#current, this.#wanted);
    if (end < 0) return false;
    this.#to = to;
    this.#hand(this.#current.subarray(end));
    return true;
  }

  get begun(): boolean {
    return this.#to !== undefined;
  }

  stop(): void {
    this.#leg.off('data', this.#see);
  }

  readonly #see = (bytes: Buffer): void => {
    if (this.#to !== undefined) {
      this.#hand(bytes);
      return;
    }
    this.#heads.find(this.#current, Infinity); // nothing in it but heads
    this.#current = bytes;
  };

  #hand(bytes: Buffer): void {
    const length = this.#chunks.push(bytes);
    if (length > 0) this.#to?.(bytes.subarray(0, length));
  }
}
