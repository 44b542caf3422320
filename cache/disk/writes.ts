/** Writes under way. One that something else has overtaken, a newer write or a drop, does not count when it is done. */
import type { StoredHead } from '../stored.js';
import type { Place } from './names.js';
import type { Write } from './object-files.js';

export class Writes {
  /** The newest of each name. */
  readonly #newest = new Map<string, Write>();
  /** Those whose content is still coming. */
  readonly #streams = new Set<Write>();

  get size(): number {
    return this.#newest.size;
  }

  get streams(): number {
    return this.#streams.size;
  }

  has(name: string): boolean {
    return this.#newest.has(name);
  }

  create(place: Place, key: string, head: StoredHead): Write {
    return { place, key, head, overtaken: false, made: [] };
  }

  streaming(write: Write): void {
    this.#streams.add(write);
  }

  streamed(write: Write): void {
    this.#streams.delete(write);
  }

  /** From now on it counts, and none before it under its name. */
  begin(write: Write): void {
    if (write.overtaken) return;
    this.overtake(write.place.name);
    this.#newest.set(write.place.name, write);
  }

  done(write: Write): void {
    if (this.#newest.get(write.place.name) === write) this.#newest.delete(write.place.name);
  }

  overtake(name: string): void {
    const write = this.#newest.get(name);
    if (write !== undefined) write.overtaken = true;
  }

  overtakeWhere(meant: (write: Write) => boolean): void {
    for (const write of [...this.#newest.values(), ...this.#streams])
      if (meant(write)) write.overtaken = true;
  }
}
