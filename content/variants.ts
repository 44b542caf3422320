/** Transformed contents that are kept: least recently used out first, bounded by bytes. */
import { LRUCache } from 'lru-cache';
import type { AnyCoding } from './content-coding.js';
import type { Untouched } from './eligible.js';

/** A content in the form that some requests get. */
export interface Variant {
  readonly content: Buffer;
  /** When it is another one than the original's. */
  readonly mediaType: string | undefined;
  /** When the original has a content coding. */
  readonly coding: AnyCoding | undefined;
  /** Tells these bytes from others: the beginning of their SHA-256, in base64url. */
  readonly tag: string;
}

/** A word: the original stays, for that reason. */
export type Kept = Variant | Untouched;

/** Map entries, key and objects around one, roughly. */
const OVERHEAD = 512;
/** A transform that failed or took too long is not tried again for so long. */
const FAILED_MS = 60_000;

export interface VariantStats {
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
}

export class Variants {
  readonly #kept: LRUCache<string, { readonly kept: Kept }>;
  readonly #maxBytes: number;
  #hits = 0;
  #misses = 0;
  #evictions = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#kept = new LRUCache({
      maxSize: Math.max(1, maxBytes),
      maxEntrySize: Math.max(1, Math.floor(maxBytes / 4)),
      sizeCalculation: ({ kept }, key) =>
        OVERHEAD + 2 * key.length + (typeof kept === 'string' ? 0 : kept.content.length),
      dispose: (_kept, _key, reason) => {
        if (reason === 'evict') this.#evictions++;
      },
    });
  }

  get(key: string): Kept | undefined {
    const found = this.#kept.get(key)?.kept;
    if (found === undefined) this.#misses++;
    else this.#hits++;
    return found;
  }

  put(key: string, kept: Kept, { failed = false } = {}): void {
    this.#kept.set(key, { kept }, failed ? { ttl: FAILED_MS } : {});
  }

  clear(): void {
    this.#kept.clear();
  }

  stats(): VariantStats {
    const counts = { hits: this.#hits, misses: this.#misses, evictions: this.#evictions };
    return {
      entries: this.#kept.size,
      bytes: this.#kept.calculatedSize,
      maxBytes: this.#maxBytes,
      ...counts,
    };
  }
}
