/**
 * Finds the ends of header sections and of chunked bodies in raw bytes (RFC 9112 sections 2.2 and 7.1), which Node's
 * parser does not tell. It parses the same bytes and answers for their being right; here lines are counted.
 */

const LF = 0x0a;
const CR = 0x0d;

/** Header sections, one behind the other. */
export class HeadScanner {
  #heads = 0;
  #lineLength = 0;
  #begun = false;

  /** The index behind the end of the header section number `wanted`, counted from the first; -1 when it is not here. */
  find(bytes: Uint8Array, wanted: number): number {
    for (const [index, byte] of bytes.entries()) {
      if (byte === LF) {
        const empty = this.#lineLength === 0;
        if (empty && this.#begun && ++this.#heads === wanted) return index + 1;
        this.#begun = !empty; // empty lines before a message are none of it
        this.#lineLength = 0;
      } else if (byte !== CR) {
        this.#lineLength++;
      }
    }
    return -1;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** One chunked body, last chunk and trailers included. */
export class ChunkScanner {
  #state: 'size' | 'extension' | 'content' | 'behind' | 'trailers' | 'done' = 'size';
  /** Of the size being read, or bytes of content to come, or the length of a trailer line. */
  #count = 0;

  /** How many of these bytes belong to the body: all of them, or those up to its end. */
  push(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'content') at += this.#content(bytes.length - at);
      else this.#step(bytes[at++] ?? 0);
    }
    return at;
  }

  #content(available: number): number {
    const taken = Math.min(available, this.#count);
    this.#count -= taken;
    if (this.#count === 0) this.#state = 'behind';
    return taken;
  }

  #step(byte: number): void {
    if (this.#state === 'size') this.#size(byte);
    else if (this.#state === 'trailers') this.#trailers(byte);
    else if (byte === LF) this.#lineEnd();
  }

  #size(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) this.#count = this.#count * 16 + digit;
    else if (byte === LF) this.#lineEnd();
    else this.#state = 'extension';
  }

  /** Behind a size and its extensions, or behind content. */
  #lineEnd(): void {
    if (this.#state === 'behind') this.#state = 'size';
    else this.#state = this.#count === 0 ? 'trailers' : 'content';
  }

  #trailers(byte: number): void {
    if (byte === LF && this.#count === 0) this.#state = 'done';
    else if (byte === LF) this.#count = 0;
    else if (byte !== CR) this.#count++;
  }
}
