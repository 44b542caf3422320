/**
 * Second-hit admission: what is asked for only once is not worth storing where a node nearer to the origin may have it.
 *
 * A table of fixed size remembers which keys have been asked for: one 32-bit fingerprint a slot, a newer key in the place
 * of an older one. It forgets when it is crowded, and two keys may share slot and fingerprint (once in four billion); both
 * only mean that something is stored a request later or earlier.
 */
const SLOTS = 65_536;
const PRIME = 0x01000193;

/** FNV-1a, twice with different beginnings, over UTF-16 code units. */
function hash(text: string, basis: number): number {
  let value = basis;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), PRIME);
  return value >>> 0;
}

export class Admission {
  readonly #seen = new Uint32Array(SLOTS);

  /** Notes a request for `key`; `true` when there has been one before. */
  again(key: string): boolean {
    const slot = hash(key, 0x811c9dc5) % SLOTS;
    const fingerprint = hash(key, 0x2f0b4a1d) | 1;
    const before = this.#seen[slot] === fingerprint >>> 0;
    this.#seen[slot] = fingerprint;
    return before;
  }
}
