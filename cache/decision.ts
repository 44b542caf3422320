/**
 * The decision about one request, as a pure function of what it says, what is stored and the time.
 *
 * ```
 *   nothing stored ─────────────────────────────────────▶ fetch
 *   stored ─┬─ no-cache asked for, stale ───────────────▶ validate
 *           ├─ fresh, or stale within what is allowed ──▶ serve
 *           ├─ stale, stale-while-revalidate ───────────▶ serve, and validate behind it
 *           └─ fresh, but parts are missing ────────────▶ complete, or fetch
 * ```
 */
import type { RequestDirectives } from './cache-control.js';
import type { ForwardReason } from './cache-status.js';
import { currentAge, freshnessLeft } from './freshness.js';
import type { RequestHead } from './key.js';
import { extract, onlyGap, readRange, resolveRanges, type ByteRange } from './partial.js';
import { maxStaleAllows, revalidateBehind } from './stale.js';
import type { StoredHead, StoredResponse } from './stored.js';
import { strongTag, evaluateConditions, ifRangeHolds } from './validation.js';

/** A GET or HEAD that wants an answer: what it says, and what it accepts. */
export interface Asker {
  readonly request: RequestHead;
  readonly directives: RequestDirectives;
}

export interface Instant {
  /** Wall clock, milliseconds. */
  readonly now: number;
  /** Monotonic milliseconds. */
  readonly monotonic: number;
}

export type Decision =
  | {
      readonly kind: 'serve';
      readonly entry: StoredResponse;
      readonly reply: Reply;
      /** It is stale: one request renews it meanwhile (RFC 5861 section 3). */
      readonly renew: boolean;
    }
  | { readonly kind: 'validate'; readonly entry: StoredResponse; readonly fwd: ForwardReason }
  /** All of it is there but `gap`. */
  | { readonly kind: 'complete'; readonly entry: StoredResponse; readonly gap: ByteRange }
  | { readonly kind: 'fetch'; readonly fwd: ForwardReason };

/** How a stored response answers a request. */
export type Reply =
  | { readonly kind: 'full' | 'not-modified' | 'unsatisfiable' }
  /** At least one; of a representation of `total` bytes. */
  | { readonly kind: 'ranges'; readonly ranges: readonly ByteRange[]; readonly total: number };

const FULL: Reply = { kind: 'full' };
const NOT_MODIFIED: Reply = { kind: 'not-modified' };
const UNSATISFIABLE: Reply = { kind: 'unsatisfiable' };

/** Whether a response is fresh, and fresh enough for what the request asks (RFC 9111 sections 4.2 and 5.2.1). */
export function freshFor(
  stored: Pick<StoredHead, 'freshness' | 'directives'>,
  request: RequestDirectives,
  monotonic: number,
): boolean {
  const { freshness, directives } = stored;
  if (directives.noCache || request.noCache) return false;
  const left = freshnessLeft(freshness, monotonic);
  if (left <= (request.minFresh ?? 0)) return false;
  if (request.maxAge === undefined) return true;
  return request.maxAge > 0 && currentAge(freshness, monotonic) <= request.maxAge;
}

function sumOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** A GET for ranges of a 200; `undefined` when all of it is wanted, or the client's part is of another version. */
function rangesFor(stored: StoredResponse, request: RequestHead, now: number): Reply | undefined {
  if (request.method !== 'GET' || stored.status !== 200) return undefined;
  const specs = readRange(request.fields);
  if (specs === undefined || !ifRangeHolds(request.fields, stored.fields, now)) return undefined;
  const total = stored.pieces?.total ?? stored.bodyLength;
  const ranges = resolveRanges(specs, total);
  // Overlapping ranges that come to more than the whole: the whole it is (RFC 9110 section 14.2).
  if (ranges.length > 1 && sumOf(ranges) > total) return undefined;
  return ranges.length === 0 ? UNSATISFIABLE : { kind: 'ranges', ranges, total };
}

/**
 * What of a stored response answers a request, in the order of RFC 9110 section 13.2.2; `undefined` when not all of that is
 * there.
 */
export function replyFrom(stored: StoredResponse, request: RequestHead, now: number): Reply | undefined {
  const successful = stored.status >= 200 && stored.status < 300;
  if (successful && evaluateConditions(request.fields, stored.fields, stored.since, now) === 'not-modified') {
    return NOT_MODIFIED;
  }
  const reply = rangesFor(stored, request, now);
  const { pieces } = stored;
  if (pieces === undefined) return reply ?? FULL;
  if (reply?.kind !== 'ranges') return reply?.kind === 'unsatisfiable' ? reply : undefined;
  return reply.ranges.every((range) => extract(pieces, range) !== undefined) ? reply : undefined;
}

/** What to do about a request that selects `entry`, or with nothing stored, `missing` says why. */
export function decide(
  entry: StoredResponse | undefined,
  { request, directives }: Asker,
  { now, monotonic }: Instant,
  missing: ForwardReason,
): Decision {
  if (entry === undefined) return { kind: 'fetch', fwd: missing };
  const fresh = freshFor(entry, directives, monotonic);
  const renew = !fresh && !directives.noCache && revalidateBehind(entry, directives, monotonic);
  const stale = !fresh && !directives.noCache && maxStaleAllows(entry, directives, monotonic);
  const reply = replyFrom(entry, request, now);
  if (!fresh && !renew && !stale) {
    const fwd = directives.noCache ? 'request' : 'stale';
    return reply === undefined ? { kind: 'fetch', fwd } : { kind: 'validate', entry, fwd };
  }
  if (reply !== undefined) return { kind: 'serve', entry, reply, renew };
  return completion(entry, request) ?? { kind: 'fetch', fwd: 'partial' };
}

/** RFC 9111 section 3.4: parts are put together only under one strong validator, which is an entity tag here. */
function completion(entry: StoredResponse, request: RequestHead): Decision | undefined {
  const { pieces } = entry;
  if (pieces === undefined || request.method !== 'GET' || request.fields.has('range')) return undefined;
  const gap = onlyGap(pieces);
  return gap !== undefined && strongTag(entry.fields) !== undefined
    ? { kind: 'complete', entry, gap }
    : undefined;
}
