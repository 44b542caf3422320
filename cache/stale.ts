/** When a stale response may be used all the same (RFC 9111 section 4.2.4, RFC 5861). */
import type { RequestDirectives, ResponseDirectives } from './cache-control.js';
import { freshnessLeft, type Freshness } from './freshness.js';

/** What of a stored response decides; seconds and directives. */
export interface StaleSubject {
  readonly freshness: Freshness;
  readonly directives: ResponseDirectives;
}

/** Statuses that RFC 5861 section 4 calls an error. */
const ERRORS = new Set([500, 502, 503, 504]);
/** Statuses by which a gateway says that nobody could be asked. */
const UNREACHED = new Set([502, 504]);

/**
 * Whether the origin forbids it. `s-maxage` implies `proxy-revalidate` (RFC 9111 section 5.2.2.10); neither yields to
 * anything else that would allow it.
 */
export function staleForbidden({ directives }: Pick<StaleSubject, 'directives'>): boolean {
  const { mustRevalidate, proxyRevalidate, noCache, sMaxAge } = directives;
  return mustRevalidate || proxyRevalidate || noCache || sMaxAge !== undefined;
}

/** Whole seconds past the end of freshness; negative while fresh. */
export function staleness({ freshness }: Pick<StaleSubject, 'freshness'>, monotonic: number): number {
  return -freshnessLeft(freshness, monotonic);
}

/** `max-stale` of the request (RFC 9111 section 5.2.1.2). */
export function maxStaleAllows(stored: StaleSubject, request: RequestDirectives, monotonic: number): boolean {
  if (request.maxStale === undefined || staleForbidden(stored)) return false;
  return staleness(stored, monotonic) <= request.maxStale && agreesWithAge(stored, request, monotonic);
}

/** `stale-while-revalidate` of the response (RFC 5861 section 3). */
export function revalidateBehind(
  stored: StaleSubject,
  request: RequestDirectives,
  monotonic: number,
): boolean {
  const window = stored.directives.staleWhileRevalidate;
  if (window === undefined || staleForbidden(stored) || request.minFresh !== undefined) return false;
  return staleness(stored, monotonic) < window && agreesWithAge(stored, request, monotonic);
}

/** `max-age` of the request bounds the age whatever else is allowed. */
function agreesWithAge(stored: StaleSubject, request: RequestDirectives, monotonic: number): boolean {
  if (request.maxAge === undefined) return true;
  const age = staleness(stored, monotonic) + Math.floor(stored.freshness.lifetime);
  return age <= request.maxAge && request.maxAge > 0;
}

/**
 * Whether a stored response stands in for an error: `status` is what the next hop answered, `undefined` when there was no
 * answer. Allowed by `stale-if-error` of either side (RFC 5861 section 4), and within `disconnectedSeconds` when nobody
 * could be reached (RFC 9111 section 4.2.4).
 */
export function standsInForError(
  stored: StaleSubject,
  request: RequestDirectives,
  at: {
    readonly status: number | undefined;
    readonly monotonic: number;
    readonly disconnectedSeconds: number;
  },
): boolean {
  if (staleForbidden(stored) || request.noCache) return false;
  if (at.status !== undefined && !ERRORS.has(at.status)) return false;
  const past = staleness(stored, at.monotonic);
  const allowed = Math.max(stored.directives.staleIfError ?? -1, request.staleIfError ?? -1);
  if (past <= allowed) return true;
  return (at.status === undefined || UNREACHED.has(at.status)) && past < at.disconnectedSeconds;
}
