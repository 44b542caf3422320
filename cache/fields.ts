/**
 * HTTP field lines as they were on the wire, and the few readings of them that a cache needs.
 *
 * Everything here works on raw pairs and never on a library's merged view: merging drops duplicates, and a
 * duplicate is exactly what a careful cache must see.
 */

import { recent, shared } from './recent.js';

/** Alternating names and values in order and case of arrival, as in `IncomingMessage.rawHeaders`. */
export type RawHeaders = readonly string[];

/**
 * Values by lower-case name, in order of arrival. A `Map` is one; so is anything that finds a field in bytes it has not
 * indexed yet.
 */
export interface Fields {
  get(name: string): readonly string[] | undefined;
  has(name: string): boolean;
}

/** A field name in lower case. */
const lowerCase = recent((name) => name.toLowerCase());

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

export function indexFields(raw: RawHeaders): ReadonlyMap<string, readonly string[]> {
  const fields = new Map<string, string[]>();
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = lowerCase(raw[index] ?? '');
    const value = raw[index + 1] ?? '';
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return fields;
}

/** Fields that are looked for where they stand: for header sections that are kept, or asked a few times only. */
class ListedFields implements Fields {
  readonly #raw: RawHeaders;

  constructor(raw: RawHeaders) {
    this.#raw = raw;
  }

  get(name: string): readonly string[] | undefined {
    let values: string[] | undefined;
    for (let at = this.#find(name, 0); at >= 0; at = this.#find(name, at + 2)) {
      const value = this.#raw[at + 1] ?? '';
      if (values === undefined) values = [value];
      else values.push(value);
    }
    return values;
  }

  has(name: string): boolean {
    return this.#find(name, 0) >= 0;
  }

  #find(name: string, from: number): number {
    const raw = this.#raw;
    for (let at = from; at + 1 < raw.length; at += 2) {
      const other = raw[at];
      if (other?.length === name.length && lowerCase(other) === name) return at;
    }
    return -1;
  }
}

/** The fields of `raw`, without an index of their own. */
export function listFields(raw: RawHeaders): Fields {
  return new ListedFields(raw);
}

/** The same pairs, those that others have too in strings that are shared with them: for header sections that are kept. */
export function compact(raw: RawHeaders): RawHeaders {
  return raw.map(shared);
}

/** The value of a field that must stand at most once; `undefined` when absent, `null` when repeated. */
export function single(fields: Fields, name: string): string | undefined | null {
  const values = fields.get(name);
  if (values === undefined) return undefined;
  return values.length === 1 ? (values[0] ?? '').trim() : null;
}

/**
 * Splits a list field into its trimmed members (RFC 9110 section 5.6.1), commas inside quoted strings excepted.
 * Empty members are dropped; `undefined` when a quoted string does not end.
 */
export function listMembers(values: readonly string[]): string[] | undefined {
  const members: string[] = [];
  for (const value of values) {
    let start = 0;
    let quoted = false;
    for (let at = 0; at <= value.length; at++) {
      const char = value[at];
      if (quoted && char === '\\') at++;
      else if (char === '"') quoted = !quoted;
      else if (char === undefined || (char === ',' && !quoted)) {
        const member = value.slice(start, at).trim();
        if (member !== '') members.push(member);
        start = at + 1;
      }
    }
    if (quoted) return undefined;
  }
  return members;
}

/** Lower-case members of a list of tokens (`Connection`, `Vary`); `undefined` when one is not a token. */
export function tokenList(values: readonly string[]): string[] | undefined {
  const members = listMembers(values)?.map((member) => member.toLowerCase());
  return members?.every(isToken) === true ? members : undefined;
}

/**
 * Fields of one hop (RFC 9110 section 7.6.1); what takes the place of `TE` and `Transfer-Encoding` is the forwarder's to
 * decide. The Proxy-Authenticate and Proxy-Authorization fields are not among them: they belong to a proxy that the
 * client has chosen (RFC 9110 section 11.7), and a translucent node never is one but may stand before one.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Fields that stay although `Connection` names them: they carry framing, routing or authority for all recipients, and
 * RFC 9110 section 7.6.1 forbids nominating them. Dropping one on a sender's word would let it change what the request means
 * behind the cache.
 */
const NEVER_NOMINATED = new Set([
  'host',
  'content-length',
  'cache-control',
  'authorization',
  'cookie',
  'set-cookie',
]);

/** Connection options that nominate nothing of consequence. */
const PLAIN_OPTIONS = new Set(['close', 'keep-alive', 'te', 'upgrade', 'http2-settings']);

/**
 * Whether `Connection` of a request takes other fields out of it, or is malformed. The origin sees such a request without
 * those fields, so what it answers must not be stored as the answer to one that has them.
 */
export function nominatesFields(fields: Fields): boolean {
  const values = fields.get('connection');
  if (values === undefined) return false;
  const options = tokenList(values);
  return options === undefined || options.some((option) => !PLAIN_OPTIONS.has(option));
}

/** Whether `Connection` cannot be read: what it takes out of the message is unknown, so the message is not for a cache. */
export function nominatesUnreadably(fields: Fields): boolean {
  const values = fields.get('connection');
  return values !== undefined && tokenList(values) === undefined;
}

/** The pairs without the fields of this hop, order and case kept. */
export function endToEnd(raw: RawHeaders, fields: Fields): string[] {
  const connection = fields.get('connection');
  if (connection === undefined) return without(raw, (name) => HOP_BY_HOP.has(name));
  const nominated = tokenList(connection) ?? [];
  const dropped = new Set(nominated.filter((name) => !NEVER_NOMINATED.has(name)));
  return without(raw, (name) => HOP_BY_HOP.has(name) || dropped.has(name));
}

/** Fields that say something about a proxy beside those of the hop; they are not stored (RFC 9111 section 3.1). */
const OF_PROXIES = new Set(['proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization']);

/** The pairs that may be stored (RFC 9111 section 3.1), without those that `unwanted` names (lower-case). */
export function storable(raw: RawHeaders, fields: Fields, unwanted: ReadonlySet<string>): string[] {
  return without(endToEnd(raw, fields), (name) => OF_PROXIES.has(name) || unwanted.has(name));
}

/** The pairs whose lower-case name is not `dropped`. */
export function without(raw: RawHeaders, dropped: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!dropped(lowerCase(name))) kept.push(name, raw[index + 1] ?? '');
  }
  return kept;
}
