/**
 * The disk store's index: one row of {@link ROW_BYTES} bytes for each stored response, in columns, with a hash table over keys
 * and a list by use. It holds no key and no header field, so its size is known; what it says is checked against the file.
 *
 * ```
 *  buckets ─▶ row ─next▶ row …                 rows of one bucket
 *  oldest ◀─▶ row ◀─▶ row ◀─▶ … ◀─▶ newest     by use
 * ```
 */

/** What is known of one stored response; hashes are of SHA-256. */
export interface Row {
  readonly keyHash: readonly [number, number];
  readonly variantHash: readonly [number, number];
  /** 4 KiB units on the disk. */
  readonly units: number;
  /** The name of the body file; 0: none. */
  readonly suffix: number;
  /** Which list of Vary names, by {@link VaryNames}. */
  readonly vary: number;
  readonly originHash: number;
  readonly authorityHash: number;
  /** A Bloom filter of tags: two bits of 32 for each. */
  readonly tags: number;
  /** Seconds since the epoch: last noted use. */
  readonly used: number;
}

const NONE = 0xffffffff;
const FIRST_CAPACITY = 1024;
/** Bytes of all columns, and of a bucket for each row. */
export const ROW_BYTES = 15 * 4;

export class IndexTable {
  readonly #most: number;
  #columns = columns(FIRST_CAPACITY);
  #buckets = new Uint32Array(FIRST_CAPACITY).fill(NONE);
  #free = NONE;
  /** Rows ever used. */
  #high = 0;
  #size = 0;
  #units = 0;
  #oldest = NONE;
  #newest = NONE;

  /** `most` rows at most. */
  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size >= this.#most;
  }

  /** 4 KiB units of all rows. */
  get units(): number {
    return this.#units;
  }

  get bytes(): number {
    return this.#buckets.length * ROW_BYTES;
  }

  /** Adds a row as the one used last; the table must not be {@link full}. Returns its number. */
  add(row: Row): number {
    const slot = this.#slot();
    const c = this.#columns;
    [c.key0[slot], c.key1[slot]] = row.keyHash;
    [c.variant0[slot], c.variant1[slot]] = row.variantHash;
    c.units[slot] = row.units;
    c.suffix[slot] = row.suffix;
    c.vary[slot] = row.vary;
    c.origin[slot] = row.originHash;
    c.authority[slot] = row.authorityHash;
    c.tags[slot] = row.tags;
    c.used[slot] = row.used;
    const bucket = this.#bucket(row.keyHash[0]);
    c.next[slot] = this.#buckets[bucket] ?? NONE;
    this.#buckets[bucket] = slot;
    this.#append(slot);
    this.#size++;
    this.#units += row.units;
    return slot;
  }

  row(slot: number): Row {
    const c = this.#columns;
    return {
      keyHash: [c.key0[slot] ?? 0, c.key1[slot] ?? 0],
      variantHash: [c.variant0[slot] ?? 0, c.variant1[slot] ?? 0],
      units: c.units[slot] ?? 0,
      suffix: c.suffix[slot] ?? 0,
      vary: c.vary[slot] ?? 0,
      originHash: c.origin[slot] ?? 0,
      authorityHash: c.authority[slot] ?? 0,
      tags: c.tags[slot] ?? 0,
      used: c.used[slot] ?? 0,
    };
  }

  /** The rows of a key. */
  ofKey([key0, key1]: Row['keyHash']): number[] {
    const c = this.#columns;
    const found: number[] = [];
    for (let slot = this.#buckets[this.#bucket(key0)] ?? NONE; slot !== NONE; slot = c.next[slot] ?? NONE) {
      if (c.key0[slot] === key0 && c.key1[slot] === key1) found.push(slot);
    }
    return found;
  }

  find(keyHash: Row['keyHash'], [variant0, variant1]: Row['variantHash']): number | undefined {
    const c = this.#columns;
    return this.ofKey(keyHash).find((slot) => c.variant0[slot] === variant0 && c.variant1[slot] === variant1);
  }

  remove(slot: number): void {
    const c = this.#columns;
    const bucket = this.#bucket(c.key0[slot] ?? 0);
    let at = this.#buckets[bucket] ?? NONE;
    if (at === slot) this.#buckets[bucket] = c.next[slot] ?? NONE;
    else {
      while ((c.next[at] ?? NONE) !== slot) at = c.next[at] ?? NONE;
      c.next[at] = c.next[slot] ?? NONE;
    }
    this.#unlink(slot);
    this.#size--;
    this.#units -= c.units[slot] ?? 0;
    c.units[slot] = 0;
    c.next[slot] = this.#free;
    this.#free = slot;
  }

  /** Notes a use. Returns the seconds of the one noted before. */
  touch(slot: number, seconds: number): number {
    const before = this.#columns.used[slot] ?? 0;
    this.#columns.used[slot] = seconds;
    if (this.#newest !== slot) {
      this.#unlink(slot);
      this.#append(slot);
    }
    return before;
  }

  get oldest(): number | undefined {
    return this.#oldest === NONE ? undefined : this.#oldest;
  }

  /** Every row, from the oldest use on; rows may be removed meanwhile, the one that was given included. */
  *slots(): Generator<number> {
    let slot = this.#oldest;
    while (slot !== NONE) {
      const next = this.#columns.newer[slot] ?? NONE;
      yield slot;
      slot = next;
    }
  }

  /** Orders the list by the noted uses, as after a start that found the rows in any order. */
  sortByUse(): void {
    const { used } = this.#columns;
    const order = new Float64Array(this.#size);
    let count = 0;
    // Both fit: 32 bits of seconds and 21 of slots.
    for (const slot of this.slots()) order[count++] = (used[slot] ?? 0) * 2 ** 21 + slot;
    order.sort();
    this.#oldest = this.#newest = NONE;
    for (const value of order) this.#append(value % 2 ** 21);
  }

  #bucket(hash: number): number {
    return hash & (this.#buckets.length - 1);
  }

  #append(slot: number): void {
    const { newer, older } = this.#columns;
    older[slot] = this.#newest;
    newer[slot] = NONE;
    if (this.#newest === NONE) this.#oldest = slot;
    else newer[this.#newest] = slot;
    this.#newest = slot;
  }

  #unlink(slot: number): void {
    const { newer, older } = this.#columns;
    const before = older[slot] ?? NONE;
    const after = newer[slot] ?? NONE;
    if (before === NONE) this.#oldest = after;
    else newer[before] = after;
    if (after === NONE) this.#newest = before;
    else older[after] = before;
  }

  #slot(): number {
    if (this.#free !== NONE) {
      const slot = this.#free;
      this.#free = this.#columns.next[slot] ?? NONE;
      return slot;
    }
    if (this.#high === this.#buckets.length) this.#grow();
    return this.#high++;
  }

  #grow(): void {
    const grown = columns(this.#buckets.length * 2);
    for (const [name, column] of Object.entries(this.#columns)) grown[name as keyof Columns].set(column);
    this.#columns = grown;
    this.#buckets = new Uint32Array(this.#buckets.length * 2).fill(NONE);
    for (let slot = 0; slot < this.#high; slot++) {
      const bucket = this.#bucket(grown.key0[slot] ?? 0);
      grown.next[slot] = this.#buckets[bucket] ?? NONE;
      this.#buckets[bucket] = slot;
    }
  }
}

const NAMES = [
  'key0',
  'key1',
  'variant0',
  'variant1',
  'units',
  'suffix',
  'vary',
  'origin',
  'authority',
  'tags',
  'used',
  'next',
  'older',
  'newer',
] as const;
type Columns = Record<(typeof NAMES)[number], Uint32Array>;

function columns(capacity: number): Columns {
  return Object.fromEntries(NAMES.map((name) => [name, new Uint32Array(capacity)])) as Columns;
}

/** Lists of Vary names by number: there are few different ones. */
export class VaryNames {
  readonly #most: number;
  readonly #numbers = new Map<string, number>();
  readonly #lists: (readonly string[])[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  /** `undefined` when there are too many different ones. */
  number(vary: readonly string[]): number | undefined {
    const text = vary.join();
    const known = this.#numbers.get(text);
    if (known !== undefined || this.#lists.length >= this.#most) return known;
    this.#numbers.set(text, this.#lists.length);
    return this.#lists.push(vary) - 1;
  }

  list(number: number): readonly string[] {
    return this.#lists[number] ?? [];
  }
}
