/** What was dropped while the files of an earlier process were being looked at: it must not come in behind that. */
import { inGroup, type GroupHash } from './catalogue.js';
import type { Row } from './index-table.js';
import { keyPrefix, type Hash } from './names.js';

/** Keys are needed as long as a file of theirs may be in somebody's hands: they go by generations. */
const GENERATION = 16_384;
const MOST_GROUPS = 4096;

export class Dropped {
  #keys = new Set<string>();
  #before = new Set<string>();
  readonly #groups: GroupHash[] = [];

  key(keyHash: Hash): void {
    if (this.#keys.size >= GENERATION) {
      this.#before = this.#keys;
      this.#keys = new Set();
    }
    this.#keys.add(keyPrefix(keyHash));
  }

  group(group: GroupHash): void {
    if (this.#groups.length < MOST_GROUPS) this.#groups.push(group);
  }

  /** Whether the resource of a file was dropped. */
  hasName(name: string): boolean {
    const prefix = name.slice(0, 16);
    return this.#keys.has(prefix) || this.#before.has(prefix);
  }

  hasKey(keyHash: Hash): boolean {
    return this.hasName(keyPrefix(keyHash));
  }

  /** Whether a response belongs to what was dropped, or may: with too many groups nothing is believed any more. */
  hasRow(row: Row): boolean {
    return this.#groups.length >= MOST_GROUPS || this.#groups.some((group) => inGroup(row, group));
  }
}
