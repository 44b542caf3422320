/**
 * What every store of responses does: memory (store.ts) and disk (disk/store.ts). A store that needs no I/O answers at
 * once. `store-contract.test.ts` is the suite that each passes.
 */
import type { Fields } from './fields.js';
import type { StoredResponse } from './stored.js';

/** What a store says of itself. */
export interface StoreStats {
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
  /** Responses put in, replacements and updates included. */
  readonly stores: number;
  /** Entries that left to make room. */
  readonly evictions: number;
}

/** Which stored responses are meant; what is left out does not restrict. */
export interface Selection {
  /** `ADDRESS PORT`, as a key begins. */
  readonly destination?: string | undefined;
  /** Host and port as in the key, lower-case. */
  readonly authority?: string | undefined;
  /** The request target, whole; or, with `prefix`, its beginning. */
  readonly target?: string | undefined;
  readonly prefix?: boolean | undefined;
  /** A tag (tags.ts) of the response. */
  readonly tag?: string | undefined;
}

/** One stored response that a {@link Selection} means. */
export interface Selected {
  readonly key: string;
  readonly entry: StoredResponse;
  /** Bytes it takes in its store. */
  readonly bytes: number;
}

export interface Store {
  /** The variant that `fields` chooses; counts as a use. */
  get(key: string, fields: Fields): StoredResponse | undefined | Promise<StoredResponse | undefined>;
  /** Stores a response in place of the same variant; `false` when it is not kept, and neither is what it replaced. */
  put(key: string, entry: StoredResponse): boolean | Promise<boolean>;
  /** Drops one variant. */
  drop(key: string, entry: StoredResponse): void;
  /** Drops all variants of a resource. From the return on, none of them is found. */
  delete(key: string): void;
  /** Drops what belongs to a group of an origin (RFC 9875 section 2.1: groups are an origin's own). */
  deleteGroup(origin: string, group: string): void;
  /** What a selection means, in no particular order; entries have no content. */
  select(selection: Selection): Iterable<Selected> | AsyncIterable<Selected>;
  stats(): StoreStats;
}
