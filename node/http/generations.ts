/** A table by text that is bounded by bytes: what is not asked for while a generation fills up goes with the old one. */

/** What an entry takes beside its texts, roughly. */
const ENTRY_OVERHEAD = 256;

interface Entry<T> {
  readonly value: T;
  readonly size: number;
}

export class Generations<T> {
  readonly #bytes: number;
  #young = new Map<string, Entry<T>>();
  #old = new Map<string, Entry<T>>();
  #youngBytes = 0;

  /** `bytes`: of one generation; there are two. */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(name: string): T | undefined {
    return this.#young.get(name)?.value ?? this.#promote(name);
  }

  /** `bytes`: of what the value keeps alive, whoever else does. */
  set(name: string, value: T, bytes: number): void {
    this.#enter(name, { value, size: name.length + bytes + ENTRY_OVERHEAD });
  }

  delete(name: string): void {
    this.#young.delete(name);
    this.#old.delete(name);
  }

  #promote(name: string): T | undefined {
    const entry = this.#old.get(name);
    if (entry === undefined) return undefined;
    this.#old.delete(name);
    this.#enter(name, entry);
    return entry.value;
  }

  #enter(name: string, entry: Entry<T>): void {
    if (this.#youngBytes + entry.size > this.#bytes) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(name, entry);
    this.#youngBytes += entry.size;
  }
}
