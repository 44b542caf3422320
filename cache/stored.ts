/** Stored responses: what is kept, how a 304 updates it, how a client's own conditions are answered from it. */
import type { Fields } from './fields.js';
import { endToEnd, indexFields, listMembers, parseHttpDate, single, without } from './fields.js';
import type { RequestHead } from './key.js';
import { variantKey } from './key.js';
import type { ExchangeTimes, Freshness, ResponseHead } from './rules.js';

/** A response's head as it is kept: end-to-end fields only, `Age` taken out, `Date` always present. */
export interface StoredHead {
  readonly status: number;
  readonly statusMessage: string;
  readonly httpVersion: string;
  readonly rawHeaders: readonly string[];
  readonly fields: Fields;
  readonly freshness: Freshness;
  /** Sorted lower-case names of the request fields that chose this representation. */
  readonly vary: readonly string[];
  /** What the request said in them. */
  readonly variant: string;
  /** The origin says that it is for everybody (`public`, `s-maxage`), so also for requests with a cookie. */
  readonly forEverybody: boolean;
}

export interface StoredResponse extends StoredHead {
  readonly body: readonly Buffer[];
  readonly bodyLength: number;
}

/** The head to keep of a response that may be stored. */
export function storedHead(
  request: RequestHead,
  response: ResponseHead,
  verdict: Pick<StoredHead, 'vary' | 'freshness' | 'forEverybody'>,
  times: ExchangeTimes,
): StoredHead {
  const rawHeaders = without(
    endToEnd(response.rawHeaders, response.fields),
    (name) => name === 'age' || name === 'trailer',
  );
  // RFC 9110 section 6.6.1: a recipient with a clock records when it received a response that has no Date.
  if (!response.fields.has('date')) rawHeaders.push('Date', new Date(times.receivedAt).toUTCString());
  return {
    status: response.status,
    statusMessage: response.statusMessage,
    httpVersion: response.httpVersion,
    rawHeaders,
    fields: indexFields(rawHeaders),
    freshness: verdict.freshness,
    vary: verdict.vary,
    variant: variantKey(verdict.vary, request.fields),
    forEverybody: verdict.forEverybody,
  };
}

/**
 * Whether a stored response may answer this request, freshness aside: the same variant (RFC 9111 section 4.1), and for a
 * request with a cookie only what the origin has declared to be for everybody.
 */
export function answers(stored: StoredHead, request: RequestHead): boolean {
  if (request.fields.has('cookie') && !stored.forEverybody) return false;
  return variantKey(stored.vary, request.fields) === stored.variant;
}

/** The condition fields that validate `stored`; empty when it has no validator (RFC 9111 section 4.3.1). */
export function validators(stored: StoredHead): string[] {
  const etag = single(stored.fields, 'etag');
  const modified = single(stored.fields, 'last-modified');
  const headers: string[] = [];
  if (typeof etag === 'string' && ENTITY_TAG.test(etag)) headers.push('If-None-Match', etag);
  if (typeof modified === 'string' && parseHttpDate(modified) !== undefined) {
    headers.push('If-Modified-Since', modified);
  }
  return headers;
}

/** Fields of a 304 that describe its own message or would contradict the body that is kept (RFC 9111 section 3.2). */
const KEPT_FROM_STORED = new Set(['content-length', 'content-encoding', 'content-type', 'content-range']);

/**
 * The stored response's head with the fields of a 304 in place of its own, as if the origin had sent it in full now.
 * `undefined` when the 304 is about another representation (RFC 9111 section 4.3.4), which leaves the stored body useless.
 */
export function updatedBy(stored: StoredHead, notModified: ResponseHead): ResponseHead | undefined {
  for (const name of ['etag', 'last-modified']) {
    const now = notModified.fields.get(name);
    if (now !== undefined && !sameValidator(now, stored.fields.get(name))) return undefined;
  }
  const fresh = without(endToEnd(notModified.rawHeaders, notModified.fields), (name) =>
    KEPT_FROM_STORED.has(name),
  );
  const named = indexFields(fresh);
  // A 304 without a Date was made now, not when the stored response was.
  const rawHeaders = [...without(stored.rawHeaders, (name) => name === 'date' || named.has(name)), ...fresh];
  return {
    status: stored.status,
    statusMessage: stored.statusMessage,
    httpVersion: notModified.httpVersion,
    rawHeaders,
    fields: indexFields(rawHeaders),
    framing: 'length',
  };
}

const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/;
const opaque = (etag: string): string => etag.trim().replace(/^W\//, '');

function sameValidator(now: readonly string[], then: readonly string[] | undefined): boolean {
  return now.length === 1 && then?.length === 1 && opaque(now[0] ?? '') === opaque(then[0] ?? '');
}

/**
 * Evaluates a client's If-None-Match or If-Modified-Since against a stored 200 (RFC 9110 section 13.2.2).
 * `undecided` means a condition that is not surely understood: the origin has to be asked.
 */
export function evaluateConditions(
  request: Fields,
  stored: StoredHead,
): 'full' | 'not-modified' | 'undecided' {
  const noneMatch = request.get('if-none-match');
  if (noneMatch !== undefined) {
    const tags = listMembers(noneMatch);
    if (tags?.length === 1 && tags[0] === '*') return 'not-modified';
    if (tags?.every((tag) => ENTITY_TAG.test(tag)) !== true) return 'undecided';
    const etag = single(stored.fields, 'etag');
    if (typeof etag !== 'string') return 'full';
    return tags.some((tag) => opaque(tag) === opaque(etag)) ? 'not-modified' : 'full';
  }
  const since = single(request, 'if-modified-since');
  if (since === undefined) return 'full';
  const sinceTime = since === null ? undefined : parseHttpDate(since);
  const modified = single(stored.fields, 'last-modified');
  const modifiedTime = typeof modified === 'string' ? parseHttpDate(modified) : undefined;
  if (sinceTime === undefined) return 'undecided';
  return modifiedTime !== undefined && modifiedTime <= sinceTime ? 'not-modified' : 'full';
}
