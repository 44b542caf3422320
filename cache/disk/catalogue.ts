/** What the disk store has: the index with what its rows mean, and how much room there is. */
import type { Fields } from '../fields.js';
import type { Selection } from '../store-contract.js';
import type { StoredHead } from '../stored.js';
import { tagsOf } from '../tags.js';
import { variantKey } from '../vary.js';
import { bodyFileBytes, type BodyFile } from './format.js';
import { IndexTable, VaryNames, type Row } from './index-table.js';
import {
  authorityHash,
  hashOf,
  originHash,
  placeFrom,
  shortHash,
  tagMask,
  type Hash,
  type Place,
} from './names.js';

export const UNIT_BYTES = 4096;
/** Rows of the index. */
const MOST_OBJECTS = 2 ** 20;
const MOST_VARIANTS = 64;
const MOST_VARY_LISTS = 4096;
/** By this share less than it holds a store keeps to after the disk was full; it grows again as it is written to. */
const FULL_SHARE = 1 / 16;
const LEAST_UNITS = 1024;

export const unitsOf = (bytes: number): number => Math.ceil(bytes / UNIT_BYTES);

/** 4 KiB units of a response whose object file has so many bytes. */
export function unitsOfObject(bytes: number, bodyFile: BodyFile | undefined): number {
  return unitsOf(bytes) + (bodyFile === undefined ? 0 : unitsOf(bodyFileBytes(bodyFile.length)));
}

/** A group of an origin, as the index has it. */
export interface GroupHash {
  readonly origin: number;
  readonly mask: number;
}

export function groupHash(origin: string, group: string): GroupHash {
  return { origin: shortHash(origin), mask: tagMask([group]) };
}

export function inGroup({ originHash: origin, tags }: Row, group: GroupHash): boolean {
  return origin === group.origin && (tags & group.mask) >>> 0 === group.mask;
}

export class Catalogue {
  readonly #table = new IndexTable(MOST_OBJECTS);
  readonly #vary = new VaryNames(MOST_VARY_LISTS);
  readonly #maxUnits: number;
  readonly #evict: (slot: number) => void;
  /** Below `#maxUnits` after the disk was full. */
  #limit: number;
  #reserved = 0;
  #evictions = 0;

  /** `evict` takes a row out, and its files off the disk. */
  constructor(maxBytes: number, evict: (slot: number) => void) {
    this.#maxUnits = Math.floor(maxBytes / UNIT_BYTES);
    this.#limit = this.#maxUnits;
    this.#evict = evict;
  }

  stats(): { entries: number; bytes: number; maxBytes: number; evictions: number; indexBytes: number } {
    const { size, units, bytes } = this.#table;
    return {
      entries: size,
      bytes: (units + this.#reserved) * UNIT_BYTES,
      maxBytes: this.#maxUnits * UNIT_BYTES,
      evictions: this.#evictions,
      indexBytes: bytes,
    };
  }

  slotOf({ keyHash, variantHash }: Place): number | undefined {
    return this.#table.find(keyHash, variantHash);
  }

  slotsOfKey(keyHash: Hash): number[] {
    return this.#table.ofKey(keyHash);
  }

  row(slot: number): Row {
    return this.#table.row(slot);
  }

  place(slot: number): Place {
    const { keyHash, variantHash } = this.#table.row(slot);
    return placeFrom(keyHash, variantHash);
  }

  varyOf(slot: number): readonly string[] {
    return this.#vary.list(this.#table.row(slot).vary);
  }

  /** The row of the variant that `fields` choose. */
  choose(keyHash: Hash, fields: Fields): number | undefined {
    return this.#table.ofKey(keyHash).find((slot) => {
      const [first, second] = this.#table.row(slot).variantHash;
      const wanted = hashOf(variantKey(this.varyOf(slot), fields));
      return wanted[0] === first && wanted[1] === second;
    });
  }

  /** Notes a use; returns the seconds of the one noted before. */
  touch(slot: number, seconds: number): number {
    return this.#table.touch(slot, seconds);
  }

  /** `undefined` when there are too many different lists of Vary names. */
  rowOf(
    { keyHash, variantHash }: Place,
    key: string,
    head: StoredHead,
    { units, bodyFile, used }: Pick<Row, 'units' | 'used'> & { readonly bodyFile: BodyFile | undefined },
  ): Row | undefined {
    const vary = this.#vary.number(head.vary);
    if (vary === undefined) return undefined;
    const suffix = bodyFile === undefined ? 0 : Number.parseInt(bodyFile.suffix, 16);
    const tags = tagMask(tagsOf(head.fields, head.groups));
    const hashes = { keyHash, variantHash, originHash: originHash(key), authorityHash: authorityHash(key) };
    return { ...hashes, units, suffix, vary, tags, used };
  }

  /** Takes a new row; the place must not have one. `false` when there is no room for a row. */
  add(row: Row): boolean {
    if (this.#table.full) return false;
    this.#table.add(row);
    this.#limit = Math.min(this.#maxUnits, this.#limit + row.units);
    return true;
  }

  /** As {@link add}, for what was found at the start: only where it goes with what is there. */
  admit(row: Row): boolean {
    const siblings = this.#table.ofKey(row.keyHash).map((slot) => this.#table.row(slot).vary);
    if (siblings.some((vary) => vary !== row.vary) || siblings.length >= MOST_VARIANTS) return false;
    return this.add(row);
  }

  /** The other variants of a resource that cannot stay beside a new one at `place`. */
  outdatedBy(place: Place, vary: readonly string[]): number[] {
    const number = this.#vary.number(vary);
    const own = this.slotOf(place);
    const others = this.#table.ofKey(place.keyHash).filter((slot) => slot !== own);
    const crowded = own === undefined && others.length >= MOST_VARIANTS;
    return others.filter((slot) => crowded || this.#table.row(slot).vary !== number);
  }

  remove(slot: number): void {
    this.#table.remove(slot);
  }

  /** All rows have been found: orders them by use, and lets go what is too much. */
  settle(): void {
    this.#table.sortByUse();
    this.makeRoom(0);
  }

  /** Lets the oldest go until there is room; `false` when there cannot be. */
  makeRoom(units: number): boolean {
    if (units > this.#limit) return false;
    while (this.#table.units + this.#reserved + units > this.#limit || this.#table.full) {
      const { oldest } = this.#table;
      if (oldest === undefined) return false;
      this.#evictions++;
      this.#evict(oldest);
    }
    return true;
  }

  /** Keeps room for what is being written; `false` when there is none. */
  reserve(units: number): boolean {
    if (!this.makeRoom(units)) return false;
    this.#reserved += units;
    return true;
  }

  release(units: number): void {
    this.#reserved -= units;
  }

  /** Others have filled the disk: there is room for less than what is here now. */
  diskFull(): void {
    this.#limit = Math.max(LEAST_UNITS, Math.floor(this.#table.units * (1 - FULL_SHARE)));
    this.makeRoom(0);
  }

  slotsInGroup(group: GroupHash): number[] {
    return [...this.#table.slots()].filter((slot) => inGroup(this.#table.row(slot), group));
  }

  /** The rows that a selection may mean, as far as hashes tell. */
  select({ authority, tag }: Selection): { readonly place: Place; readonly bytes: number }[] {
    const wanted = authority === undefined ? undefined : shortHash(authority);
    const mask = tag === undefined ? 0 : tagMask([tag]);
    const rows: { readonly place: Place; readonly bytes: number }[] = [];
    for (const slot of this.#table.slots()) {
      const { authorityHash: found, tags, units } = this.#table.row(slot);
      if ((wanted === undefined || found === wanted) && (tags & mask) >>> 0 === mask)
        rows.push({ place: this.place(slot), bytes: units * UNIT_BYTES });
    }
    return rows;
  }
}
