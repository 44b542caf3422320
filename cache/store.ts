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
import { originOf } from './key.js';
import { means } from './selection.js';
import type { Selected, Selection, Store, StoreStats } from './store-contract.js';
import type { StoredResponse } from './stored.js';
import { speaksPreferred, variantKey } from './vary.js';

/** Variants one resource may have; an origin that varies by a random field must not fill the store with itself. */
const MOST_VARIANTS = 64;
/** Objects and map entries around one stored response, roughly. */
const ENTRY_OVERHEAD = 1024;
/** A Buffer object, roughly. */
const BLOCK_OVERHEAD = 128;
/** A place in the index of groups, roughly. */
const GROUP_OVERHEAD = 128;
const ACCEPT_LANGUAGE = 'accept-language';

interface Resource {
  /** All variants of one resource name the same fields; a response that names others replaces them all. */
  readonly vary: readonly string[];
  readonly variants: Set<string>;
}

/** The bytes a stored response is counted as. */
function sizeOf(entry: StoredResponse, key: string): number {
  let size = ENTRY_OVERHEAD + 2 * key.length + entry.bodyLength + entry.body.length * BLOCK_OVERHEAD;
  for (const { first, last, blocks } of entry.pieces?.pieces ?? []) {
    size += last - first + 1 + blocks.length * BLOCK_OVERHEAD;
  }
  // Twice: once as raw pairs, once in the index by name.
  for (const text of entry.rawHeaders) size += 2 * text.length;
  for (const group of entry.groups) size += 2 * group.length + GROUP_OVERHEAD;
  return size;
}

const resourceOf = (entryKey: string): string => entryKey.slice(0, entryKey.indexOf('\n'));
const groupKey = (origin: string, group: string): string => `${origin}\n${group}`;

export class MemoryStore implements Store {
  readonly #entries: LRUCache<string, StoredResponse>;
  readonly #resources = new Map<string, Resource>();
  /** Entry keys by origin and group (RFC 9875 section 2.1: groups are an origin's own). */
  readonly #groups = new Map<string, Set<string>>();
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
      dispose: (entry, key, reason) => {
        if (reason === 'evict') this.#evictions++;
        this.#leaveGroups(key, entry);
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
    if (resource === undefined) return undefined;
    const found = this.#entries.get(`${key}\n${variantKey(resource.vary, fields)}`);
    return (
      found ?? (resource.vary.includes(ACCEPT_LANGUAGE) ? this.#byLanguage(resource, fields) : undefined)
    );
  }

  /** What stands at a place that {@link MemoryStore.placeOf} gave. Counts as a use. */
  at(place: string): StoredResponse | undefined {
    return this.#entries.get(place);
  }

  /** Where a request with these fields finds `entry`; `undefined` when it is another's variant that it was given. */
  placeOf(key: string, entry: StoredResponse, fields: Fields): string | undefined {
    return variantKey(entry.vary, fields) === entry.variant ? `${key}\n${entry.variant}` : undefined;
  }

  /** The keys of the resources of `origin` that have a response in `group`. */
  grouped(origin: string, group: string): string[] {
    const members = this.#groups.get(groupKey(origin, group));
    return [...new Set([...(members ?? [])].map(resourceOf))];
  }

  /** The variant in the language that the client prefers, the same in all other respects. */
  #byLanguage(resource: Resource, fields: Fields): StoredResponse | undefined {
    const others = resource.vary.filter((name) => name !== ACCEPT_LANGUAGE);
    const at = resource.vary.indexOf(ACCEPT_LANGUAGE);
    const wanted = variantKey(others, fields);
    for (const entryKey of resource.variants) {
      const entry = this.#entries.peek(entryKey);
      if (entry === undefined || !speaksPreferred(entry.fields.get('content-language'), fields)) continue;
      const said = entry.variant.split('\n').filter((_, index) => index !== at);
      if (said.join('\n') === wanted) return this.#entries.get(entryKey);
    }
    return undefined;
  }

  /** Stores a response in place of the same variant; `false` when it is too large. */
  put(key: string, entry: StoredResponse): boolean {
    const entryKey = `${key}\n${entry.variant}`;
    const known = this.#resources.get(key);
    const full = known !== undefined && known.variants.size >= MOST_VARIANTS && !known.variants.has(entryKey);
    if (full || (known !== undefined && known.vary.join() !== entry.vary.join())) this.delete(key);
    this.#entries.set(entryKey, entry);
    this.#joinGroups(entryKey, entry);
    if (!this.#entries.has(entryKey)) {
      this.#leaveGroups(entryKey, entry);
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

  deleteGroup(origin: string, group: string): void {
    for (const key of this.grouped(origin, group)) this.delete(key);
  }

  *select(selection: Selection): Generator<Selected> {
    for (const [entryKey, entry] of this.#entries.entries()) {
      const key = resourceOf(entryKey);
      if (means(selection, key, entry)) yield { key, entry, bytes: sizeOf(entry, entryKey) };
    }
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

  #joinGroups(entryKey: string, { groups }: StoredResponse): void {
    for (const group of groups) {
      const name = groupKey(originOf(resourceOf(entryKey)), group);
      const members = this.#groups.get(name);
      if (members === undefined) this.#groups.set(name, new Set([entryKey]));
      else members.add(entryKey);
    }
  }

  #leaveGroups(entryKey: string, { groups }: StoredResponse): void {
    for (const group of groups) {
      const name = groupKey(originOf(resourceOf(entryKey)), group);
      const members = this.#groups.get(name);
      members?.delete(entryKey);
      if (members?.size === 0) this.#groups.delete(name);
    }
  }

  #forget(entryKey: string): void {
    const key = resourceOf(entryKey);
    const resource = this.#resources.get(key);
    resource?.variants.delete(entryKey);
    if (resource?.variants.size === 0) this.#resources.delete(key);
  }
}
