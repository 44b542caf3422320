/**
 * Finds what is stored under another query that means the same (No-Vary-Search).
 *
 * ```
 *   "destination authority /path" ─▶ the variance its latest response has stated
 *   the same, and what of the query matters under it ─▶ key of the response that was stored last
 * ```
 *
 * Only a hint: what it names is looked up, and must still say the same. Both tables are bounded; what has left them is
 * fetched once more.
 */
import { LRUCache } from 'lru-cache';
import type { Fields } from './fields.js';
import { readSearchVariance, significantQuery, type SearchVariance } from './search-variance.js';

const MOST_PATHS = 4096;
/** Of the keys in the second table, two bytes a letter. */
const MOST_BYTES = 8 * 2 ** 20;
const ENTRY_OVERHEAD = 256;

interface Path {
  readonly variance: SearchVariance;
  /** The field as it came, which a stored response is compared with. */
  readonly said: string;
}

const saying = (fields: Fields): string => fields.get('no-vary-search')?.join(', ') ?? '';

/** A key up to its query, and the query. */
function split(key: string): readonly [string, string] {
  const at = key.indexOf('?');
  return at < 0 ? [key, ''] : [key.slice(0, at), key.slice(at + 1)];
}

function placeOf({ variance }: Path, base: string, query: string): string | undefined {
  const significant = significantQuery(variance, query);
  return significant === undefined ? undefined : `${base}\n${variance.id}\n${significant}`;
}

export class SearchIndex {
  readonly #paths = new LRUCache<string, Path>({ max: MOST_PATHS });
  readonly #keys = new LRUCache<string, string>({
    maxSize: MOST_BYTES,
    sizeCalculation: (key, place) => ENTRY_OVERHEAD + 2 * (key.length + place.length),
  });

  /** Notes that a response with these fields is stored under `key`. */
  note(key: string, fields: Fields): void {
    const variance = fields.has('no-vary-search') ? readSearchVariance(fields) : undefined;
    if (variance === undefined) return;
    const [base, query] = split(key);
    const path: Path = { variance, said: saying(fields) };
    const place = placeOf(path, base, query);
    this.#paths.set(base, path);
    if (place !== undefined) this.#keys.set(place, key);
  }

  /** Another key whose response may stand for `key`'s, and what it must say for that. */
  find(key: string): { readonly key: string; readonly holds: (fields: Fields) => boolean } | undefined {
    if (this.#paths.size === 0) return undefined;
    const [base, query] = split(key);
    const path = this.#paths.get(base);
    const place = path && placeOf(path, base, query);
    const found = place === undefined ? undefined : this.#keys.get(place);
    if (path === undefined || found === undefined || found === key) return undefined;
    return { key: found, holds: (fields) => saying(fields) === path.said };
  }
}
