/**
 * How long a response is fresh and how old it is (RFC 9111 section 4.2).
 *
 * Ages are counted on the monotonic clock from the moment a response arrived, so that setting the wall clock neither
 * revives nor ages what is stored.
 */
import { deltaSeconds } from './cache-control.js';
import { listMembers, single, type Fields } from './fields.js';
import { parseHttpDate } from './http-date.js';
import type { EffectiveDirectives } from './targeted.js';

/** Wall-clock and monotonic milliseconds around one exchange with the next hop. */
export interface ExchangeTimes {
  readonly requestedAt: number;
  readonly receivedAt: number;
  readonly receivedMonotonic: number;
}

export interface Freshness {
  /** Seconds the response is fresh for, counted from its generation. */
  readonly lifetime: number;
  /** Nothing in the response says so: it is a guess. */
  readonly heuristic: boolean;
  /** Seconds: corrected_initial_age of RFC 9111 section 4.2.3. */
  readonly initialAge: number;
  /** Monotonic milliseconds when the head arrived. */
  readonly receivedMonotonic: number;
}

export interface Dates {
  /** When the response was generated: `Date`, or where that is missing or unreadable, when it arrived. */
  readonly date: number;
  /** Whether `Date` could be read. */
  readonly dated: boolean;
  /** Milliseconds; `-Infinity` for what is no date or stands twice, `undefined` without the field. */
  readonly expires: number | undefined;
  readonly lastModified: number | undefined;
}

/** Statuses whose responses may be guessed to be fresh (RFC 9110 section 15.1). */
const HEURISTIC_STATUS = new Set([200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501]);
/** RFC 9111 section 4.2.2 suggests a tenth of the time since the last change; more than a day is a guess too far. */
const HEURISTIC_FRACTION = 0.1;
const MOST_HEURISTIC_SECONDS = 86_400;

export function readDates(fields: Fields, now: number): Dates {
  const dateText = single(fields, 'date');
  const date = typeof dateText === 'string' ? parseHttpDate(dateText, now) : undefined;
  const expiresText = single(fields, 'expires');
  // RFC 9111 section 5.3: an invalid value, in particular 0, is a time in the past.
  const expired = typeof expiresText === 'string' ? parseHttpDate(expiresText, now) : undefined;
  const modifiedText = single(fields, 'last-modified');
  return {
    date: date ?? now,
    dated: date !== undefined,
    expires: expiresText === undefined ? undefined : (expired ?? -Infinity),
    lastModified: typeof modifiedText === 'string' ? parseHttpDate(modifiedText, now) : undefined,
  };
}

/** Seconds of `Age` (RFC 9111 section 5.1): the first value counts, and one that is no number says nothing. */
export function readAge(fields: Fields): number {
  const values = fields.get('age');
  if (values === undefined) return 0;
  const [first] = listMembers(values.slice(0, 1)) ?? [];
  return deltaSeconds(first) ?? 0;
}

/** corrected_initial_age (RFC 9111 section 4.2.3), in seconds. */
export function initialAge(date: number, age: number, times: ExchangeTimes): number {
  const apparentAge = Math.max(0, times.receivedAt - date) / 1000;
  const responseDelay = Math.max(0, times.receivedAt - times.requestedAt) / 1000;
  return Math.max(apparentAge, age + responseDelay);
}

/** Seconds a response says it is fresh for (RFC 9111 section 4.2.1), `undefined` when it does not say. */
export function explicitLifetime(
  { directives, targeted }: EffectiveDirectives,
  dates: Dates,
): number | undefined {
  if (directives.sMaxAge !== undefined) return directives.sMaxAge;
  if (directives.maxAge !== undefined) return directives.maxAge;
  if (targeted || dates.expires === undefined) return undefined; // RFC 9213 section 2.2
  return Math.max(0, (dates.expires - dates.date) / 1000);
}

/** Whether the lifetime of a response may be guessed (RFC 9111 section 4.2.2). */
export function heuristicStatus(status: number, isPublic: boolean): boolean {
  return HEURISTIC_STATUS.has(status) || isPublic;
}

/** A guess, in seconds; 0 without a basis for one. */
export function heuristicLifetime(dates: Dates): number {
  if (dates.lastModified === undefined) return 0;
  const unchanged = Math.max(0, dates.date - dates.lastModified) / 1000;
  return Math.min(unchanged * HEURISTIC_FRACTION, MOST_HEURISTIC_SECONDS);
}

/** The age of a stored response, in whole seconds, at `monotonic` milliseconds. */
export function currentAge(freshness: Freshness, monotonic: number): number {
  const resident = Math.max(0, monotonic - freshness.receivedMonotonic) / 1000;
  return Math.floor(freshness.initialAge + resident);
}

/** Whole seconds a response is still fresh for; 0 and less when it is stale. */
export function freshnessLeft(freshness: Freshness, monotonic: number): number {
  return Math.floor(freshness.lifetime) - currentAge(freshness, monotonic);
}
