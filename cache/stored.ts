/** Stored responses: what is kept of one, and how a 304 or a HEAD renews it. */
import { compact, listFields, storable, type Fields } from './fields.js';
import type { ResponseDirectives } from './cache-control.js';
import type { ExchangeTimes, Freshness } from './freshness.js';
import { cacheGroups } from './invalidation.js';
import type { RequestHead } from './key.js';
import type { Pieces } from './partial.js';
import type { ResponseHead, Verdict } from './storable.js';
import { variantKey } from './vary.js';

/** A response's head as it is kept: end-to-end fields only, `Age` taken out, `Date` always present. */
export interface StoredHead {
  /** 200 for what came as 206: it is kept as an incomplete 200 (RFC 9111 section 3.3). */
  readonly status: number;
  readonly statusMessage: string;
  readonly httpVersion: string;
  readonly rawHeaders: readonly string[];
  readonly fields: Fields;
  readonly freshness: Freshness;
  readonly directives: ResponseDirectives;
  /** Sorted lower-case names of the request fields that chose this representation. */
  readonly vary: readonly string[];
  /** What the request said in them. */
  readonly variant: string;
  /** The origin allows it for requests with credentials (RFC 9111 section 3.5). */
  readonly forEverybody: boolean;
  /** Last-Modified, or without it Date: what If-Modified-Since is compared with; milliseconds. */
  readonly since: number;
  readonly groups: readonly string[];
}

/** Content that is not in memory. */
export interface StoredFile {
  /** Rejects when it is gone or damaged; whoever opens it closes it. */
  open(): Promise<StoredFileReader>;
}

export interface StoredFileReader {
  /** Some of the content from `position` (less than its length) on, at least a byte; rejects when it is damaged. */
  read(position: number): Promise<Buffer>;
  close(): Promise<void>;
}

export interface StoredResponse extends StoredHead {
  /** The content; empty when {@link pieces} or {@link file} has what there is of it. */
  readonly body: readonly Buffer[];
  /** Bytes in `body`, or in `file`. */
  readonly bodyLength: number;
  /** Where the content is instead of in `body`. */
  readonly file?: StoredFile | undefined;
  /** What there is of an incomplete response. */
  readonly pieces: Pieces | undefined;
}

/** What is never stored beside the fields of the hop: the age is counted anew, and trailers are not kept. */
const NOT_KEPT: ReadonlySet<string> = new Set(['age', 'trailer']);

/** The head to keep of a response that may be stored. */
export function storedHead(
  request: RequestHead,
  response: ResponseHead,
  verdict: Extract<Verdict, { storable: true }>,
  times: ExchangeTimes,
): StoredHead {
  const { directives, dates, vary, freshness, forEverybody } = verdict;
  // RFC 9111 sections 5.2.2.4 and 5.2.2.7: fields that must not be sent unvalidated, or not to anybody else.
  const named = [...directives.noCacheFields, ...directives.privateFields];
  const partial = response.status === 206;
  if (partial) named.push('content-range', 'content-length');
  if (!dates.dated) named.push('date');
  const unwanted = named.length === 0 ? NOT_KEPT : new Set([...NOT_KEPT, ...named]);
  const kept = storable(response.rawHeaders, response.fields, unwanted);
  // RFC 9110 section 6.6.1: a recipient with a clock records when it received a response that has no Date.
  if (!dates.dated) kept.push('Date', new Date(times.receivedAt).toUTCString());
  const rawHeaders = compact(kept);
  return {
    status: partial ? 200 : response.status,
    statusMessage: partial ? 'OK' : response.statusMessage,
    httpVersion: response.httpVersion,
    rawHeaders,
    fields: listFields(rawHeaders),
    freshness,
    directives,
    vary,
    variant: variantKey(vary, request.fields),
    forEverybody,
    since: dates.lastModified ?? dates.date,
    groups: cacheGroups(response.fields),
  };
}

/**
 * Whether a stored response that a request selects may answer it: one with credentials gets only what the origin allows
 * for everybody, one with a cookie nothing that is fresh by a guess.
 */
export function answers(stored: StoredHead, request: RequestHead): boolean {
  if (request.fields.has('authorization') && !stored.forEverybody) return false;
  return !(request.fields.has('cookie') && stored.freshness.heuristic && stored.freshness.lifetime > 0);
}

/** Whether a request that did not select `stored` by looking it up may have it too. */
export function answersAlso(stored: StoredHead, request: RequestHead): boolean {
  return variantKey(stored.vary, request.fields) === stored.variant && answers(stored, request);
}
