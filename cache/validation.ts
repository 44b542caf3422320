/**
 * Validators: asking the origin whether a stored response still holds (RFC 9111 section 4.3), and answering a client's own
 * conditions from the store (RFC 9110 section 13).
 */
import {
  endToEnd,
  indexFields,
  listMembers,
  single,
  without,
  type Fields,
  type RawHeaders,
} from './fields.js';
import { parseHttpDate } from './http-date.js';

/** RFC 9110 section 8.8.3; the `W/` is case-sensitive. */
const ENTITY_TAG = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/;
const opaque = (etag: string): string => etag.replace(/^W\//, '');

/** The one valid entity tag of a response. */
export function entityTag(fields: Fields): string | undefined {
  const etag = single(fields, 'etag');
  return typeof etag === 'string' && ENTITY_TAG.test(etag) ? etag : undefined;
}

/** The entity tag when it is strong: equal bytes for equal tags (RFC 9110 section 8.8.1). */
export function strongTag(fields: Fields): string | undefined {
  const etag = entityTag(fields);
  return etag?.startsWith('W/') === true ? undefined : etag;
}

/** RFC 9110 section 8.8.3.2. */
function weaklyEqual(one: string, other: string): boolean {
  return opaque(one) === opaque(other);
}

function dateOf(fields: Fields, name: string, now: number): number | undefined {
  const text = single(fields, name);
  return typeof text === 'string' ? parseHttpDate(text, now) : undefined;
}

export function hasValidator(fields: Fields, now: number): boolean {
  return entityTag(fields) !== undefined || dateOf(fields, 'last-modified', now) !== undefined;
}

/** The conditions that validate a stored response, both where it has both; empty without a validator (RFC 9111 section 4.3.1). */
export function validators(stored: Fields, now: number): string[] {
  const headers: string[] = [];
  const etag = entityTag(stored);
  if (etag !== undefined) headers.push('If-None-Match', etag);
  const modified = single(stored, 'last-modified');
  if (typeof modified === 'string' && parseHttpDate(modified, now) !== undefined) {
    headers.push('If-Modified-Since', modified);
  }
  return headers;
}

/** Fields of a 304 that describe its own message or would contradict the body that is kept (RFC 9111 section 3.2). */
export const OF_THE_BODY: ReadonlySet<string> = new Set([
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
]);

/** Whether a validator of the new response speaks against its being about the stored one. */
function contradicts(now: Fields, then: Fields): boolean {
  const etag = now.get('etag');
  if (etag !== undefined) {
    const stored = single(then, 'etag');
    return etag.length !== 1 || typeof stored !== 'string' || !weaklyEqual(etag[0]?.trim() ?? '', stored);
  }
  const modified = now.get('last-modified');
  return modified !== undefined && single(then, 'last-modified') !== single(now, 'last-modified');
}

/** Header sections that can be merged. */
interface Head {
  readonly rawHeaders: RawHeaders;
  readonly fields: Fields;
}

/**
 * The stored header section with the fields of `update` in place of its own (RFC 9111 section 3.2); `undefined` when the
 * update is about another representation (RFC 9111 section 4.3.4).
 */
export function updatedBy(stored: Head, update: Head): string[] | undefined {
  if (contradicts(update.fields, stored.fields)) return undefined;
  const fresh = without(endToEnd(update.rawHeaders, update.fields), (name) => OF_THE_BODY.has(name));
  const named = indexFields(fresh);
  // A response without a Date was made now, not when the stored one was.
  return [...without(stored.rawHeaders, (name) => name === 'date' || named.has(name)), ...fresh];
}

/** RFC 9111 section 4.3.5: what a 200 to HEAD makes of the stored GET response; `undefined` when they differ. */
export function updatedByHead(stored: Head, length: number, head: Head): string[] | undefined {
  const said = single(head.fields, 'content-length');
  return said === undefined || said === String(length) ? updatedBy(stored, head) : undefined;
}

/**
 * Evaluates a client's If-None-Match or If-Modified-Since against a stored response (RFC 9110 section 13.2.2, RFC 9111
 * section 4.3.2). `since` is the stored Last-Modified, or else its Date. A condition that cannot be read is ignored.
 */
export function evaluateConditions(
  request: Fields,
  stored: Fields,
  since: number,
  now: number,
): 'full' | 'not-modified' {
  const noneMatch = request.get('if-none-match');
  if (noneMatch !== undefined) {
    const etag = single(stored, 'etag');
    const matches = (listMembers(noneMatch) ?? []).some(
      (tag) => tag === '*' || (typeof etag === 'string' && weaklyEqual(tag, etag)),
    );
    return matches ? 'not-modified' : 'full';
  }
  const condition = dateOf(request, 'if-modified-since', now);
  return condition !== undefined && since <= condition ? 'not-modified' : 'full';
}

/** A Last-Modified this much older than Date is strong: nothing changed twice within its second (RFC 9110 section 8.8.2.2). */
const STRONG_AFTER_MS = 60_000;

/** RFC 9110 section 13.1.5: whether a Range is to be honoured, since the client's part is of this very representation. */
export function ifRangeHolds(request: Fields, stored: Fields, now: number): boolean {
  const condition = single(request, 'if-range');
  if (condition === undefined) return true;
  if (condition === null) return false;
  if (condition.startsWith('"') || condition.startsWith('W/')) return condition === strongTag(stored);
  const date = dateOf(stored, 'date', now);
  const modified = dateOf(stored, 'last-modified', now);
  const strong = date !== undefined && modified !== undefined && date - modified >= STRONG_AFTER_MS;
  return strong && parseHttpDate(condition, now) === modified;
}
