/**
 * No-Vary-Search: which differences in a query do not matter to the origin (draft-ietf-httpbis-no-vary-search).
 *
 * ```
 *   No-Vary-Search: key-order, params=("utm_source")       /a?x=1&utm_source=m&b=2  ~  /a?b=2&x=1
 *   No-Vary-Search: params, except=("id")                  /a?id=7&t=1              ~  /a?t=2&id=7
 * ```
 */
import type { Fields } from './fields.js';
import { parseDictionary, type Member } from './structured.js';

/** What of a query matters. A response without the field, or with one that cannot be used, has none: all of it does. */
export interface SearchVariance {
  /** Whether the order of parameters with different names matters. */
  readonly varyOnOrder: boolean;
  /** Names of parameters that do not matter; `all`: every one but {@link except}. */
  readonly ignored: ReadonlySet<string> | 'all';
  readonly except: ReadonlySet<string>;
  /** The same for two fields that mean the same. */
  readonly id: string;
}

/** Bounds of what is worth understanding; beyond them only the same target matches. */
const MOST_NAMES = 64;
const LONGEST_NAME = 256;
const LONGEST_QUERY = 4096;

const REPLACEMENT = '\ufffd';
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** The draft's "parse a key": `+` is a space, escapes are bytes of UTF-8. */
function parseKey(text: string): string {
  const bytes = text
    .replaceAll('+', ' ')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return utf8.decode(Buffer.from(bytes, 'latin1'));
}

/** The keys in an inner list of strings; `undefined` for anything else, and for more than is worth it. */
function keys(member: Member): ReadonlySet<string> | undefined {
  if (!('inner' in member) || member.inner.length > MOST_NAMES) return undefined;
  const names = new Set<string>();
  for (const { item } of member.inner) {
    if (item.kind !== 'string' || item.value.length > LONGEST_NAME) return undefined;
    names.add(parseKey(item.value));
  }
  return names;
}

/** `undefined`: no boolean. */
function flag(member: Member | undefined, absent: boolean): boolean | undefined {
  if (member === undefined) return absent;
  return 'item' in member && member.item.kind === 'boolean' ? member.item.value : undefined;
}

const NONE: ReadonlySet<string> = new Set();

/** The parameters that do not matter; `undefined` when the field is not what the draft asks for. */
function readNames(
  params: Member | undefined,
  except: Member | undefined,
): Pick<SearchVariance, 'ignored' | 'except'> | undefined {
  const all = flag(params, false);
  if (except !== undefined) {
    const kept = all === true ? keys(except) : undefined;
    return kept && { ignored: 'all', except: kept };
  }
  if (all !== undefined) return { ignored: all ? 'all' : NONE, except: NONE };
  const ignored = params && keys(params);
  return ignored && { ignored, except: NONE };
}

const sorted = (names: ReadonlySet<string>): string[] => [...names].sort();

/** What a response says about its query; `undefined` when all of the query matters. Unknown members are ignored. */
export function readSearchVariance(fields: Fields): SearchVariance | undefined {
  const values = fields.get('no-vary-search');
  const members = values && parseDictionary(values);
  if (members === undefined) return undefined;
  const noOrder = flag(members.get('key-order'), false);
  const names = readNames(members.get('params'), members.get('except'));
  if (noOrder === undefined || names === undefined) return undefined;
  const { ignored, except } = names;
  if (!noOrder && ignored !== 'all' && ignored.size === 0) return undefined;
  const id = JSON.stringify([noOrder, ignored === 'all' ? 'all' : sorted(ignored), sorted(except)]);
  return { varyOnOrder: !noOrder, ignored, except, id };
}

/** The parameters of a query (application/x-www-form-urlencoded); bytes that are not ASCII count as their escapes. */
function parameters(query: string): [string, string][] {
  const escaped = query.replace(/[\x80-\xff]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  return [...new URLSearchParams(`?${escaped}`)];
}

/**
 * What of `query` (without its question mark) matters: two targets of one path are equivalent when this is the same text.
 * `undefined` when that cannot be said: the query is too long, or its escapes are not UTF-8, which the draft would take for one
 * and the same character.
 */
export function significantQuery(variance: SearchVariance, query: string): string | undefined {
  if (query.length > LONGEST_QUERY) return undefined;
  const { ignored, except, varyOnOrder } = variance;
  const matters = (name: string): boolean => (ignored === 'all' ? except.has(name) : !ignored.has(name));
  const kept = parameters(query).filter(([name]) => matters(name));
  if (kept.some(([name, value]) => name.includes(REPLACEMENT) || value.includes(REPLACEMENT)))
    return undefined;
  // Stable: the order among parameters of one name matters always.
  if (!varyOnOrder) kept.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return JSON.stringify(kept);
}
