/** Whether it is worth while to go on transforming a direction. */

/** What is left of a frame that counts as made smaller. */
const WORTH = 0.95;
/** So many bytes in a row of which nothing became smaller, and the rest of the direction is not tried. */
const IN_VAIN = 64 * 1024 * 1024;
/** Bytes that say what a stream is. */
const FIRST = 8;
/** A TLS record (RFC 8446 section 5.1) with the beginning of a handshake: of type 22, version 3.x, ClientHello or ServerHello. */
const TLS_HANDSHAKE = 22;
/** RFC 4253 section 4.2; 1.99 means both versions. */
const SSH = ['SSH-2.0-', 'SSH-1.99'];

export class Prospects {
  readonly #most: number;
  #first: Buffer = Buffer.alloc(0);
  #vain = 0;
  #encrypted = false;

  /** `store`: bytes of the chunk store where chunks may still be met again; 0 where there is none. */
  constructor(store: number) {
    // After so much that was new, what the store had is not there any more.
    this.#most = Math.max(IN_VAIN, store);
  }

  /** Whether nothing of what follows will become smaller: it is encrypted, or has not for long. */
  get poor(): boolean {
    return this.#encrypted || this.#vain >= this.#most;
  }

  /** Takes in bytes of the direction before they are transformed. */
  begins(plain: Buffer): void {
    if (this.#first.length >= FIRST) return;
    this.#first = Buffer.concat([this.#first, plain.subarray(0, FIRST - this.#first.length)]);
    this.#encrypted = isTls(this.#first) || SSH.includes(this.#first.toString('latin1'));
  }

  /** Takes in what a frame stands for and what it came to. */
  sent(plain: number, wire: number): void {
    this.#vain = wire <= plain * WORTH ? 0 : this.#vain + plain;
  }
}

function isTls(first: Buffer): boolean {
  const [type, major, minor = 255, , , message = 0] = first;
  return type === TLS_HANDSHAKE && major === 3 && minor <= 4 && (message === 1 || message === 2);
}
