/**
 * Targeted cache control (RFC 9213): a field such as CDN-Cache-Control that speaks to some caches only, and to them in
 * place of Cache-Control and Expires.
 */
import {
  MOST_SECONDS,
  NO_RESPONSE_DIRECTIVES,
  parseResponseDirectives,
  type ResponseDirectives,
} from './cache-control.js';
import type { Fields } from './fields.js';
import { parseDictionary, type Member } from './structured.js';

export interface EffectiveDirectives {
  readonly directives: ResponseDirectives;
  /** They come from a targeted field: Expires does not count. */
  readonly targeted: boolean;
}

const FLAGS: Readonly<Record<string, keyof ResponseDirectives>> = {
  'no-store': 'noStore',
  'no-cache': 'noCache',
  private: 'isPrivate',
  public: 'isPublic',
  'must-revalidate': 'mustRevalidate',
  'proxy-revalidate': 'proxyRevalidate',
  'must-understand': 'mustUnderstand',
  immutable: 'immutable',
};

const SECONDS: Readonly<Record<string, keyof ResponseDirectives>> = {
  'max-age': 'maxAge',
  's-maxage': 'sMaxAge',
  'stale-while-revalidate': 'staleWhileRevalidate',
  'stale-if-error': 'staleIfError',
};

/** One directive; `undefined` when its value is of the wrong type. */
function directive(name: string, member: Member): Partial<ResponseDirectives> | undefined {
  const value = 'item' in member ? member.item : undefined;
  if (Object.hasOwn(SECONDS, name)) {
    if (value?.kind !== 'integer' || value.value < 0) return undefined;
    return { [SECONDS[name] ?? '']: Math.min(value.value, MOST_SECONDS) };
  }
  if (!Object.hasOwn(FLAGS, name)) return {}; // unknown ones are ignored
  if (value?.kind === 'boolean') return { [FLAGS[name] ?? '']: value.value };
  // `no-cache="a"`: taken for the whole response, which is the stricter meaning.
  return value?.kind === 'string' || value?.kind === 'token' ? { [FLAGS[name] ?? '']: true } : undefined;
}

/** RFC 9213 section 2.1: a field that is empty, is no dictionary or has a value of the wrong type is ignored. */
export function parseTargeted(values: readonly string[]): ResponseDirectives | undefined {
  const members = parseDictionary(values);
  if (members === undefined || members.size === 0) return undefined;
  const directives = { ...NO_RESPONSE_DIRECTIVES };
  for (const [name, member] of members) {
    const read = directive(name, member);
    if (read === undefined) return undefined;
    Object.assign(directives, read);
  }
  return directives;
}

/** RFC 9213 section 2.2: the first field of `targets` (lower-case, by precedence) that is valid, else Cache-Control. */
export function effectiveDirectives(fields: Fields, targets: readonly string[]): EffectiveDirectives {
  for (const name of targets) {
    const values = fields.get(name);
    const directives = values && parseTargeted(values);
    if (directives !== undefined) return { directives, targeted: true };
  }
  return { directives: parseResponseDirectives(fields.get('cache-control')), targeted: false };
}
