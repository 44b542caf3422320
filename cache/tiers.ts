/**
 * Memory and disk as one: what is stored goes to both, memory answers, and what only the disk has is read into memory.
 *
 * ```
 *   put ─▶ memory, unless the content is in a file ─▶ noted in the search index (No-Vary-Search)
 *    └───▶ disk, where there is one
 * ```
 */
import type { DiskStats } from './disk/disk-stats.js';
import type { DiskStore } from './disk/store.js';
import type { Fields } from './fields.js';
import type { RequestHead } from './key.js';
import { SearchIndex } from './search-index.js';
import type { Selected, Selection, StoreStats } from './store-contract.js';
import type { MemoryStore } from './store.js';
import { answers, type StoredResponse } from './stored.js';

/** One stored response in a list. */
export interface Listed extends Selected {
  readonly where: 'memory' | 'disk' | 'both';
}

export interface TierStats extends StoreStats {
  readonly disk?: DiskStats;
}

export class Tiers {
  readonly memory: MemoryStore;
  readonly disk: DiskStore | undefined;
  readonly #searches: SearchIndex | undefined;

  /** `searches`: whether responses may be found under other queries than their own. */
  constructor(memory: MemoryStore, disk: DiskStore | undefined, searches: boolean) {
    this.memory = memory;
    this.disk = disk;
    this.#searches = searches ? new SearchIndex() : undefined;
  }

  /** Bytes of content that a response may have that is too large for memory; 0 when there is no place for it. */
  get room(): number {
    return this.disk?.writable === true ? this.disk.maxObject : 0;
  }

  /**
   * What only the disk has for a request, once it is read; `undefined` when there is nothing to wait for. It comes into memory
   * unless it is to be streamed.
   */
  recall(key: string, fields: Fields): Promise<StoredResponse | undefined> | undefined {
    if (this.disk === undefined || this.memory.get(key, fields) !== undefined) return undefined;
    return this.disk.get(key, fields)?.then((entry) => {
      const newer = this.memory.get(key, fields);
      if (newer !== undefined || entry === undefined) return newer;
      if (entry.file === undefined) this.remember(key, entry);
      return entry;
    });
  }

  /** Whether {@link Tiers.recall} would have to be waited for. */
  recalls(key: string, fields: Fields): boolean {
    if (this.disk === undefined || this.memory.get(key, fields) !== undefined) return false;
    return this.disk.mayHave(key, fields);
  }

  /** What is in memory under another query that means the same, all of it, for this request. */
  elsewhere(key: string, request: RequestHead): StoredResponse | undefined {
    const other = this.#searches?.find(key);
    const entry = other && this.memory.get(other.key, request.fields);
    if (other === undefined || entry === undefined || entry.pieces !== undefined) return undefined;
    return other.holds(entry.fields) && answers(entry, request) ? entry : undefined;
  }

  /** Stores a response; one whose content is in a file stays out of memory, where all is ready to be sent. */
  put(key: string, entry: StoredResponse): void {
    if (entry.file === undefined) this.remember(key, entry);
    else this.memory.drop(key, entry);
    void this.disk?.put(key, entry);
  }

  /** Stores a response in memory only. */
  remember(key: string, entry: StoredResponse): void {
    if (this.memory.put(key, entry)) this.#searches?.note(key, entry.fields);
  }

  /** Drops one variant. */
  drop(key: string, entry: StoredResponse): void {
    this.memory.drop(key, entry);
    this.disk?.drop(key, entry);
  }

  /** Drops the variant that a request with these fields chooses. */
  dropChosen(key: string, fields: Fields): void {
    const chosen = this.memory.get(key, fields);
    if (chosen !== undefined) this.memory.drop(key, chosen);
    this.disk?.dropChosen(key, fields);
  }

  /** Drops all variants of a resource, and what stands in for it under another query. */
  delete(key: string): void {
    const other = this.#searches?.find(key)?.key;
    for (const each of other === undefined ? [key] : [key, other]) {
      this.memory.delete(each);
      this.disk?.delete(each);
    }
  }

  /** What a selection means, wherever it is stored; entries may come without their content. */
  async *list(selection: Selection): AsyncGenerator<Listed> {
    const inMemory = new Set<string>();
    for (const { key, entry, bytes } of [...this.memory.select(selection)]) {
      inMemory.add(`${key}\n${entry.variant}`);
      yield { key, entry, bytes, where: this.disk?.has(key, entry) === true ? 'both' : 'memory' };
    }
    for await (const selected of this.disk?.select(selection) ?? []) {
      const { key, entry } = selected;
      if (!inMemory.has(`${key}\n${entry.variant}`)) yield { ...selected, where: 'disk' };
    }
  }

  stats(): TierStats {
    const disk = this.disk && { disk: this.disk.stats() };
    return { ...this.memory.stats(), ...disk };
  }
}
