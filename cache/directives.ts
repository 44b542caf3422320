/**
 * Cache-Control (RFC 9111 section 5.2), read strictly.
 *
 * `http-cache-semantics` splits at every comma and compares names with case; here names are case-insensitive, quoted
 * strings are strings, and whatever is unknown, malformed or contradictory makes the whole field unusable, which
 * every caller takes as "do not store, do not answer from the store".
 */
import { isToken, listMembers } from './fields.js';

type Argument = 'none' | 'seconds' | 'optional-seconds' | 'optional-fields';

const RESPONSE: Readonly<Record<string, Argument>> = {
  'max-age': 'seconds',
  's-maxage': 'seconds',
  'must-revalidate': 'none',
  'proxy-revalidate': 'none',
  'must-understand': 'none',
  'no-cache': 'optional-fields',
  'no-store': 'none',
  'no-transform': 'none',
  private: 'optional-fields',
  public: 'none',
  immutable: 'none', // RFC 8246
  'stale-while-revalidate': 'seconds', // RFC 5861
  'stale-if-error': 'seconds',
};

const REQUEST: Readonly<Record<string, Argument>> = {
  'max-age': 'seconds',
  'max-stale': 'optional-seconds',
  'min-fresh': 'seconds',
  'no-cache': 'none',
  'no-store': 'none',
  'no-transform': 'none',
  'only-if-cached': 'none',
  'stale-if-error': 'seconds',
};

/** RFC 9111 section 1.2.2: a larger number of seconds is taken as this one. */
const MOST_SECONDS = 2 ** 31;

/** Seconds, text or `true` (no argument) by lower-case directive name. */
export type Directives = ReadonlyMap<string, number | string | true>;

function readArgument(kind: Argument, text: string | undefined): number | string | true | undefined {
  if (text === undefined) return kind === 'seconds' ? undefined : true;
  if (kind === 'none') return undefined;
  if (kind === 'optional-fields') return isToken(text) || /^"(?:[^"\\]|\\.)*"$/.test(text) ? text : undefined;
  return /^\d+$/.test(text) ? Math.min(Number(text), MOST_SECONDS) : undefined;
}

function parse(values: readonly string[], known: Readonly<Record<string, Argument>>): Directives | undefined {
  const directives = new Map<string, number | string | true>();
  const members = listMembers(values);
  if (members === undefined) return undefined;
  for (const member of members) {
    const equals = member.indexOf('=');
    const name = (equals < 0 ? member : member.slice(0, equals)).toLowerCase();
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) return undefined;
    const argument = readArgument(kind, equals < 0 ? undefined : member.slice(equals + 1));
    if (argument === undefined) return undefined;
    if (directives.has(name) && directives.get(name) !== argument) return undefined;
    directives.set(name, argument);
  }
  return directives;
}

/** The directives of a response; `undefined` when any is unknown, malformed or contradicts another. */
export function parseResponseDirectives(values: readonly string[]): Directives | undefined {
  return parse(values, RESPONSE);
}

/** As {@link parseResponseDirectives}, for a request. */
export function parseRequestDirectives(values: readonly string[]): Directives | undefined {
  return parse(values, REQUEST);
}

/** One canonical Cache-Control value that says the same, for readers that parse less strictly. */
export function formatDirectives(directives: Directives): string {
  return [...directives].map(([name, value]) => (value === true ? name : `${name}=${value}`)).join(', ');
}
