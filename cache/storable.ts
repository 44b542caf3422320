/** Whether a shared cache may store a response, and on what terms it may be used again (RFC 9111 sections 3 and 4). */
import type { ResponseDirectives } from './cache-control.js';
import { nominatesUnreadably, single, type Fields, type RawHeaders } from './fields.js';
import {
  explicitLifetime,
  heuristicLifetime,
  heuristicStatus,
  initialAge,
  readAge,
  readDates,
  type Dates,
  type ExchangeTimes,
  type Freshness,
} from './freshness.js';
import type { RequestHead } from './key.js';
import { readContentRange } from './partial.js';
import { effectiveDirectives, type EffectiveDirectives } from './targeted.js';
import { hasValidator } from './validation.js';
import { readVary } from './vary.js';

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

export type Verdict =
  | {
      readonly storable: true;
      readonly vary: readonly string[];
      readonly freshness: Freshness;
      readonly directives: ResponseDirectives;
      readonly dates: Dates;
      /** Also for requests with credentials (RFC 9111 section 3.5). */
      readonly forEverybody: boolean;
    }
  | { readonly storable: false; readonly reason: string };

/** Final statuses this cache knows the caching rules of (RFC 9110 section 15), for `must-understand`. */
const UNDERSTOOD_STATUS = new Set([
  200, 203, 204, 206, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 407, 408, 409, 410, 411,
  413, 414, 415, 416, 421, 422, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505,
]);

const no = (reason: string): Verdict => ({ storable: false, reason });

/** RFC 9111 section 3.5: the directives that let others have what one got with credentials. */
function isForEverybody({ isPublic, mustRevalidate, sMaxAge }: ResponseDirectives): boolean {
  return isPublic || mustRevalidate || sMaxAge !== undefined;
}

/** POST responses stand for a later GET when they name the resource and a lifetime (RFC 9110 section 9.3.3). */
function methodRefusal(request: RequestHead, response: ResponseHead, explicit: boolean): string | undefined {
  if (request.method === 'GET') return undefined;
  if (request.method !== 'POST' || response.status !== 200 || !explicit) return 'method';
  const location = single(response.fields, 'content-location');
  const host = single(request.fields, 'host');
  if (typeof location !== 'string' || typeof host !== 'string') return 'method';
  const same =
    location === request.target || location.toLowerCase() === `http://${host}${request.target}`.toLowerCase();
  return same ? undefined : 'method';
}

/** RFC 9111 section 5.2.2.3: a cache that knows the status ignores the `no-store` beside `must-understand`. */
function directiveRefusal(status: number, directives: ResponseDirectives): string | undefined {
  if (directives.mustUnderstand) {
    if (!UNDERSTOOD_STATUS.has(status)) return 'must-understand';
  } else if (directives.noStore) {
    return 'no-store';
  }
  return directives.isPrivate ? 'private' : undefined;
}

function refusal(
  request: RequestHead,
  response: ResponseHead,
  { directives }: EffectiveDirectives,
  explicit: boolean,
): string | undefined {
  const { status, fields, framing } = response;
  const refused = methodRefusal(request, response, explicit) ?? directiveRefusal(status, directives);
  if (refused !== undefined) return refused;
  // 304 updates what is stored; 412 and 416 answer this request's own conditions; 101 ends HTTP.
  if (status < 200 || status === 304 || status === 412 || status === 416) return 'status';
  if (status === 206 && readContentRange(fields) === undefined) return 'partial';
  if (framing === 'close') return 'close-delimited'; // RFC 9111 section 3.3: may be incomplete
  if (nominatesUnreadably(fields)) return 'connection-options';
  // RFC 9111 section 3.5.
  if (request.fields.has('authorization') && !isForEverybody(directives)) return 'authorization';
  return undefined;
}

/** Whether nobody's cookie is in it: what says nothing about caching may then be a page for everybody. */
function impersonal(request: RequestHead, { fields }: ResponseHead): boolean {
  return !request.fields.has('cookie') && !fields.has('set-cookie') && !fields.has('set-cookie2');
}

/**
 * A guess needs a plain resource: no query (a program's answer), nobody's cookie, and no `Pragma: no-cache`, which
 * origins send that know nothing of Cache-Control.
 */
function guessable(request: RequestHead, response: ResponseHead, isPublic: boolean): boolean {
  if (!heuristicStatus(response.status, isPublic) || request.method !== 'GET') return false;
  if (request.target.includes('?') || !impersonal(request, response)) return false;
  const pragma = response.fields.has('cache-control') ? undefined : response.fields.get('pragma');
  return pragma?.some((value) => /no-cache/i.test(value)) !== true;
}

/** Whether a response that is stale on arrival is worth keeping, to be validated. */
function validatable(
  request: RequestHead,
  response: ResponseHead,
  directives: ResponseDirectives,
  explicit: boolean,
): boolean {
  const said = explicit || directives.noCache;
  return said || (heuristicStatus(response.status, directives.isPublic) && impersonal(request, response));
}

/** An encoded body whose origin forgot to say that it depends on Accept-Encoding would reach who cannot decode it. */
function effectiveVary(fields: Fields, vary: readonly string[]): readonly string[] {
  const encoded = fields
    .get('content-encoding')
    ?.some((coding) => coding.trim().toLowerCase() !== 'identity');
  return encoded === true && !vary.includes('accept-encoding') ? [...vary, 'accept-encoding'].sort() : vary;
}

/**
 * Decides whether `response` may be stored as the answer to `request`, which `requestUse` has found usable. `targets` are
 * the targeted fields this cache listens to. What is stale on arrival is stored only when it can be validated.
 */
export function judgeResponse(
  request: RequestHead,
  response: ResponseHead,
  times: ExchangeTimes,
  targets: readonly string[],
): Verdict {
  const effective = effectiveDirectives(response.fields, targets);
  const { directives } = effective;
  const dates = readDates(response.fields, times.receivedAt);
  const explicit = explicitLifetime(effective, dates);
  const reason = refusal(request, response, effective, explicit !== undefined);
  if (reason !== undefined) return no(reason);
  const vary = readVary(response.fields);
  if (vary === undefined) return no('vary');
  const guess = explicit === undefined && guessable(request, response, directives.isPublic);
  const freshness: Freshness = {
    lifetime: explicit ?? (guess ? heuristicLifetime(dates) : 0),
    heuristic: explicit === undefined,
    initialAge: initialAge(dates.date, readAge(response.fields), times),
    receivedMonotonic: times.receivedMonotonic,
  };
  const usable = Math.floor(freshness.lifetime) > Math.floor(freshness.initialAge) && !directives.noCache;
  const kept = usable || validatable(request, response, directives, explicit !== undefined);
  if (!kept || (!usable && !hasValidator(response.fields, times.receivedAt))) {
    return no(directives.noCache ? 'no-cache' : 'not-fresh');
  }
  return {
    storable: true,
    vary: effectiveVary(response.fields, vary),
    freshness,
    directives,
    dates,
    forEverybody: isForEverybody(directives),
  };
}
