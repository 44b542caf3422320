/**
 * The memory store: stored responses by primary key and variant, least recently used out first, bounded by bytes.
 *
 * ```
 *   primary key ─▶ { vary: [accept-encoding], variants: { '[["gzip"]]', '[["br"]]' } }
 *        └──────────────┬───────────────────────────────────┘
 *                  "primary\nvariant" ─▶ StoredResponse        (LRU over these)
 * ```
 */
import { LRUCache } from 'lru-cache';
import type { Fields } from './fields.js';
import { variantKey } from './key.js';
import type { StoredResponse } from './stored.js';

/** Variants one resource may have; an origin that varies by a random field must not fill the store with itself. */
const MOST_VARIANTS = 64;
/** Objects and map entries around one stored response, roughly. */
const ENTRY_OVERHEAD = 1024;
/** A Buffer object, roughly. */
const BLOCK_OVERHEAD = 128;

interface Resource {
  /** All variants of one resource name the same fields; a response that names others replaces them all. */
  readonly vary: readonly string[];
  readonly variants: Set<string>;
}

export interface StoreStats {
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
  /** Responses put in, replacements and updates included. */
  readonly stores: number;
  /** Entries that left to make room. */
  readonly evictions: number;
}

/** The bytes a stored response is counted as. */
function sizeOf(entry: StoredResponse, key: string): number {
  let size = ENTRY_OVERHEAD + 2 * key.length + entry.bodyLength + entry.body.length * BLOCK_OVERHEAD;
  // Twice: once as raw pairs, once in the index by name.
  for (const text of entry.rawHeaders) size += 2 * text.length;
  return size;
}

export class MemoryStore {
  readonly #entries: LRUCache<string, StoredResponse>;
  readonly #resources = new Map<string, Resource>();
  readonly #maxBytes: number;
  #stores = 0;
  #evictions = 0;

  /** `maxBytes` bounds the sum; one response may take `maxEntryBytes` of it. */
  constructor(maxBytes: number, maxEntryBytes: number) {
    this.#maxBytes = maxBytes;
    this.#entries = new LRUCache<string, StoredResponse>({
      maxSize: Math.max(1, maxBytes),
      maxEntrySize: Math.max(1, maxEntryBytes),
      sizeCalculation: sizeOf,
      dispose: (_entry, key, reason) => {
        if (reason === 'evict') this.#evictions++;
        if (reason !== 'set') this.#forget(key);
      },
    });
  }

  /** The fields that choose among the variants of a resource, as its stored responses named them. */
  vary(key: string): readonly string[] | undefined {
    return this.#resources.get(key)?.vary;
  }

  /** The variant that `fields` chooses. Counts as a use. */
  get(key: string, fields: Fields): StoredResponse | undefined {
    const resource = this.#resources.get(key);
    return resource && this.#entries.get(`${key}\n${variantKey(resource.vary, fields)}`);
  }

  /** Stores a response in place of the same variant; `false` when it is too large. */
  put(key: string, entry: StoredResponse): boolean {
    const entryKey = `${key}\n${entry.variant}`;
    const known = this.#resources.get(key);
    const full = known !== undefined && known.variants.size >= MOST_VARIANTS && !known.variants.has(entryKey);
    if (full || (known !== undefined && known.vary.join() !== entry.vary.join())) this.delete(key);
    this.#entries.set(entryKey, entry);
    if (!this.#entries.has(entryKey)) {
      this.#forget(entryKey); // one of the same variant is gone all the same
      return false;
    }
    this.#stores++;
    // Read again: making room may have taken the other variants.
    const resource = this.#resources.get(key);
    if (resource === undefined) this.#resources.set(key, { vary: entry.vary, variants: new Set([entryKey]) });
    else resource.variants.add(entryKey);
    return true;
  }

  /** Drops one variant. */
  drop(key: string, entry: StoredResponse): void {
    this.#entries.delete(`${key}\n${entry.variant}`);
  }

  /** Drops all variants of a resource. */
  delete(key: string): void {
    for (const entryKey of [...(this.#resources.get(key)?.variants ?? [])]) this.#entries.delete(entryKey);
  }

  stats(): StoreStats {
    return {
      entries: this.#entries.size,
      bytes: this.#entries.calculatedSize,
      maxBytes: this.#maxBytes,
      stores: this.#stores,
      evictions: this.#evictions,
    };
  }

  #forget(entryKey: string): void {
    const key = entryKey.slice(0, entryKey.indexOf('\n'));
    const resource = this.#resources.get(key);
    resource?.variants.delete(entryKey);
    if (resource?.variants.size === 0) this.#resources.delete(key);
  }
}
