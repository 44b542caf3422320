/**
 * Whether a response may be stored by a shared cache, for how long it is fresh, and how old it is (RFC 9111 sections 3
 * and 4.2).
 *
 * `http-cache-semantics` computes storability and lifetime. It is shown only fields that were read strictly here and
 * written anew in one canonical form, because it compares directives with case, splits inside quoted strings and lets
 * `Date.parse` guess at dates. Every rule of this file can only take away from what the package allows.
 */
import CachePolicy from 'http-cache-semantics';
import type { Directives } from './directives.js';
import { formatDirectives, parseResponseDirectives } from './directives.js';
import type { Fields, RawHeaders } from './fields.js';
import { nominatesFields, parseHttpDate, single, tokenList } from './fields.js';
import type { RequestHead } from './key.js';

/** A response's head as the next hop sent it. */
export interface ResponseHead {
  readonly status: number;
  readonly statusMessage: string;
  /** `1.0` or `1.1`, what the next hop spoke. */
  readonly httpVersion: string;
  readonly rawHeaders: RawHeaders;
  readonly fields: Fields;
  /** How the end of the content is found (RFC 9112 section 6.3). `close` cannot be told from a truncation. */
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
}

/** Wall-clock and monotonic milliseconds around one exchange with the next hop. */
export interface ExchangeTimes {
  readonly requestedAt: number;
  readonly receivedAt: number;
  readonly receivedMonotonic: number;
}

export interface Freshness {
  /** Seconds the response is fresh for, counted from its generation. */
  readonly lifetime: number;
  /** Seconds: corrected_initial_age of RFC 9111 section 4.2.3. */
  readonly initialAge: number;
  /** Monotonic milliseconds when the head arrived. */
  readonly receivedMonotonic: number;
}

export type Verdict =
  | {
      readonly storable: true;
      readonly vary: readonly string[];
      readonly freshness: Freshness;
      /** `public` or `s-maxage`. */
      readonly forEverybody: boolean;
    }
  | { readonly storable: false; readonly reason: string };

/** Final statuses whose responses are understood here and complete by themselves. */
const STORABLE_STATUS = new Set([200, 203, 301, 404, 410]);
/** RFC 9111 section 4.2.2 suggests a tenth of the time since the last change; more than a day is a guess too far. */
const MOST_HEURISTIC_SECONDS = 86_400;

const no = (reason: string): Verdict => ({ storable: false, reason });

/** The age of a stored response, in whole seconds, at `monotonic` milliseconds. */
export function currentAge(freshness: Freshness, monotonic: number): number {
  return Math.floor(freshness.initialAge + Math.max(0, monotonic - freshness.receivedMonotonic) / 1000);
}

/** Whether a response is fresh, and fresh enough for what the request asks (RFC 9111 section 5.2.1). */
export function freshFor(freshness: Freshness, request: Directives, monotonic: number): boolean {
  const age = currentAge(freshness, monotonic);
  const left = freshness.lifetime - age;
  const mostAge = request.get('max-age');
  const leastLeft = request.get('min-fresh');
  if (typeof mostAge === 'number' && age > mostAge) return false;
  if (typeof mostAge === 'number' && mostAge === 0) return false;
  return left > (typeof leastLeft === 'number' ? leastLeft : 0);
}

/** The fields a response varies by: sorted, lower-case; `undefined` for `*` or anything malformed. */
function readVary(fields: Fields): readonly string[] | undefined {
  const names = tokenList(fields.get('vary') ?? []);
  return names === undefined || names.includes('*') ? undefined : [...new Set(names)].sort();
}

interface Dates {
  readonly date: number;
  readonly expires: number | undefined;
  readonly lastModified: number | undefined;
  readonly age: number;
}

/** The dates and the age; `undefined` when one that matters is repeated or malformed. */
function readDates(fields: Fields, times: ExchangeTimes): Dates | undefined {
  const dateText = single(fields, 'date');
  const date =
    dateText === undefined ? times.receivedAt : dateText === null ? undefined : parseHttpDate(dateText);
  const ageText = single(fields, 'age');
  const age =
    ageText === undefined ? 0 : ageText !== null && /^\d+$/.test(ageText) ? Number(ageText) : undefined;
  const expiresText = single(fields, 'expires');
  if (date === undefined || age === undefined || expiresText === null) return undefined;
  // An Expires that is no date means "already expired" (RFC 9111 section 5.3).
  const expires = expiresText === undefined ? undefined : (parseHttpDate(expiresText) ?? 0);
  const modifiedText = single(fields, 'last-modified');
  const lastModified = typeof modifiedText === 'string' ? parseHttpDate(modifiedText) : undefined;
  return { date, expires, lastModified, age };
}

/** RFC 9111 section 4.2.3. */
function freshnessOf(lifetime: number, dates: Dates, times: ExchangeTimes): Freshness {
  const apparentAge = Math.max(0, times.receivedAt - dates.date) / 1000;
  const delay = Math.max(0, times.receivedAt - times.requestedAt) / 1000;
  return {
    lifetime,
    initialAge: Math.max(apparentAge, dates.age + delay),
    receivedMonotonic: times.receivedMonotonic,
  };
}

function lifetimeOf(request: RequestHead, status: number, directives: Directives, dates: Dates): number {
  const explicit = directives.has('max-age') || directives.has('s-maxage') || dates.expires !== undefined;
  // A guess needs a plain resource: status 200, no query (scripts), no cookie (somebody's own page).
  const guessable = status === 200 && !request.target.includes('?') && !request.fields.has('cookie');
  if (!explicit && !guessable) return 0;
  const headers: Record<string, string> = { date: new Date(dates.date).toUTCString() };
  if (directives.size > 0) headers['cache-control'] = formatDirectives(directives);
  if (dates.expires !== undefined) headers['expires'] = new Date(dates.expires).toUTCString();
  if (dates.lastModified !== undefined) headers['last-modified'] = new Date(dates.lastModified).toUTCString();
  const policy = new CachePolicy(
    { method: request.method, url: request.target, headers: {} },
    { status, headers },
    { shared: true, cacheHeuristic: 0.1, immutableMinTimeToLive: 0 },
  );
  if (!policy.storable()) return 0;
  const lifetime = policy.maxAge();
  return explicit ? lifetime : Math.min(lifetime, MOST_HEURISTIC_SECONDS);
}

function refusal(request: RequestHead, response: ResponseHead, directives: Directives): string | undefined {
  const { fields } = response;
  if (request.method !== 'GET') return 'method';
  if (!STORABLE_STATUS.has(response.status)) return 'status';
  if (response.framing === 'close') return 'close-delimited';
  for (const name of ['no-store', 'private', 'no-cache']) if (directives.has(name)) return name;
  if (fields.has('set-cookie') || fields.has('set-cookie2')) return 'set-cookie';
  if (fields.has('content-range')) return 'partial';
  if (fields.get('pragma')?.some((value) => /no-cache/i.test(value)) === true) return 'pragma';
  if (nominatesFields(fields)) return 'connection-options';
  // Somebody's own page unless the origin says otherwise; origins that forget `Vary: Cookie` are many.
  if (request.fields.has('cookie') && !isForEverybody(directives)) return 'cookie';
  return undefined;
}

function isForEverybody(directives: Directives): boolean {
  return directives.has('public') || directives.has('s-maxage');
}

/** An encoded body whose origin forgot to say that it depends on Accept-Encoding would reach who cannot decode it. */
function hidesNegotiation(fields: Fields, vary: readonly string[]): boolean {
  const codings = fields.get('content-encoding');
  if (codings === undefined || vary.includes('accept-encoding')) return false;
  return codings.some((coding) => coding.trim().toLowerCase() !== 'identity');
}

/**
 * Decides whether `response` may be stored as the answer to `request`, which {@link requestUse} has found usable.
 * A response that is not fresh on arrival is not stored.
 */
export function judgeResponse(request: RequestHead, response: ResponseHead, times: ExchangeTimes): Verdict {
  const directives = parseResponseDirectives(response.fields.get('cache-control') ?? []);
  if (directives === undefined) return no('response-directives');
  const reason = refusal(request, response, directives);
  if (reason !== undefined) return no(reason);
  const vary = readVary(response.fields);
  if (vary === undefined) return no('vary');
  if (hidesNegotiation(response.fields, vary)) return no('encoding-without-vary');
  const dates = readDates(response.fields, times);
  if (dates === undefined) return no('dates');
  const freshness = freshnessOf(lifetimeOf(request, response.status, directives, dates), dates, times);
  if (freshness.lifetime <= freshness.initialAge) return no('not-fresh');
  return { storable: true, vary, freshness, forEverybody: isForEverybody(directives) };
}
