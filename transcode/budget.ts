/** Bytes that all legs of a node may have for one purpose together. */
export class Budget {
  readonly #bytes: number;
  #taken = 0;
  #refused = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  get taken(): number {
    return this.#taken;
  }

  /** How often there was no room. */
  get refused(): number {
    return this.#refused;
  }

  /** Whether there was room; nothing is taken where there was none. */
  take(bytes: number): boolean {
    if (this.#taken + bytes > this.#bytes) {
      this.#refused++;
      return false;
    }
    this.#taken += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
  }
}
