/** New stored responses from stored ones: renewed by a 304 or a HEAD, put together from parts. */
import { listFields } from './fields.js';
import type { Completion } from './flight.js';
import type { ExchangeTimes } from './freshness.js';
import type { RequestHead } from './key.js';
import { combine, readContentRange, type Piece } from './partial.js';
import { judgeResponse, type ResponseHead } from './storable.js';
import { storedHead, type StoredHead, type StoredResponse } from './stored.js';
import { strongTag, updatedBy, updatedByHead } from './validation.js';

interface Renewal {
  readonly entry: StoredResponse;
  /** Whether it may be kept; otherwise it answers those who wait, as something validated just now. */
  readonly storable: boolean;
}

/** `stored` with another header section, judged as if the origin had sent it in full now. */
function withHeaders(
  stored: StoredResponse,
  rawHeaders: readonly string[],
  request: RequestHead,
  response: ResponseHead,
  times: ExchangeTimes,
  targets: readonly string[],
): Renewal {
  const { status, statusMessage, body, bodyLength, pieces, file } = stored;
  const { httpVersion } = response;
  const fields = listFields(rawHeaders);
  const merged: ResponseHead = { status, statusMessage, httpVersion, rawHeaders, fields, framing: 'length' };
  const as = request.method === 'GET' ? request : { ...request, method: 'GET' };
  const verdict = judgeResponse(as, merged, times, targets);
  if (verdict.storable) {
    const head = storedHead(as, merged, verdict, times);
    return { entry: { ...head, body, bodyLength, pieces, file }, storable: true };
  }
  const freshness = {
    ...stored.freshness,
    lifetime: 0,
    initialAge: 0,
    receivedMonotonic: times.receivedMonotonic,
  };
  return { entry: { ...stored, rawHeaders, fields, freshness }, storable: false };
}

/** What a 304 makes of a stored response (RFC 9111 section 4.3.4); `undefined` when it is about another one. */
export function renewed(
  stored: StoredResponse,
  request: RequestHead,
  notModified: ResponseHead,
  times: ExchangeTimes,
  targets: readonly string[],
): Renewal | undefined {
  const headers = updatedBy(stored, notModified);
  return headers && withHeaders(stored, headers, request, notModified, times, targets);
}

/** What a 200 to HEAD makes of a stored response (RFC 9111 section 4.3.5); `undefined` when it is no longer that. */
export function renewedByHead(
  stored: StoredResponse,
  request: RequestHead,
  head: ResponseHead,
  times: ExchangeTimes,
  targets: readonly string[],
): StoredResponse | undefined {
  const headers = updatedByHead(stored, stored.pieces?.total ?? stored.bodyLength, head);
  const renewal = headers && withHeaders(stored, headers, request, head, times, targets);
  return renewal?.storable === true ? renewal.entry : undefined;
}

/** A complete stored response. */
export function completed(head: StoredHead, body: readonly Buffer[]): StoredResponse {
  let bodyLength = 0;
  for (const block of body) bodyLength += block.length;
  return { ...head, body, bodyLength, pieces: undefined };
}

/** Whether two heads are of one representation, byte for byte. */
function sameBytes(one: StoredHead, other: StoredHead): boolean {
  const tag = strongTag(one.fields);
  return tag !== undefined && tag === strongTag(other.fields);
}

/** Pieces kept of one response, and blocks of one piece: clients decide how small the parts are that they ask for. */
const MOST_PIECES = 64;
const MOST_BLOCKS = 64;

/** The pieces with what came in too many blocks in one; only the newest when there are too many. */
function bounded(pieces: readonly Piece[], newest: Piece): readonly Piece[] {
  if (pieces.length > MOST_PIECES) return [newest];
  return pieces.map((piece) =>
    piece.blocks.length > MOST_BLOCKS ? { ...piece, blocks: [Buffer.concat(piece.blocks)] } : piece,
  );
}

/**
 * What a part makes of what is stored (RFC 9111 sections 3.3 and 3.4): put together with it under the same strong validator, in
 * its place otherwise; `undefined` when all of it is stored already.
 */
export function withPart(
  stored: StoredResponse | undefined,
  head: StoredHead,
  part: Piece,
  total: number,
): StoredResponse | undefined {
  const same = stored !== undefined && stored.status === 200 && sameBytes(stored, head) ? stored : undefined;
  if (same !== undefined && same.pieces === undefined && same.bodyLength === total) return undefined;
  const before = same?.pieces?.total === total ? same.pieces.pieces : [];
  const pieces = bounded(combine(before, part), part);
  const [whole] = pieces;
  if (pieces.length === 1 && whole?.first === 0 && whole.last === total - 1)
    return completed(head, whole.blocks);
  return { ...head, body: [], bodyLength: 0, pieces: { pieces, total } };
}

interface CompletedHead {
  readonly head: StoredHead;
  /** The bytes before the part that arrives, and those behind it. */
  readonly before: readonly Buffer[];
  readonly after: readonly Buffer[];
  readonly kept: boolean;
}

/** The head of the whole response, of which `response` brings the missing part; `undefined` when that does not fit. */
export function completedHead(
  { entry, gap }: Completion,
  request: RequestHead,
  response: ResponseHead,
  times: ExchangeTimes,
  targets: readonly string[],
): CompletedHead | undefined {
  const { pieces } = entry;
  const range = readContentRange(response.fields);
  const fits = range?.first === gap.first && range.last === gap.last && range.total === pieces?.total;
  const tag = strongTag(entry.fields);
  if (pieces === undefined || !fits || tag === undefined || strongTag(response.fields) !== tag)
    return undefined;
  const headers = updatedBy(entry, response);
  if (headers === undefined) return undefined;
  const { entry: head, storable } = withHeaders(
    entry,
    [...headers, 'Content-Length', String(pieces.total)],
    request,
    response,
    times,
    targets,
  );
  const before = pieces.pieces.filter(({ last }) => last < gap.first).flatMap(({ blocks }) => blocks);
  const after = pieces.pieces.filter(({ first }) => first > gap.last).flatMap(({ blocks }) => blocks);
  return { head, before, after, kept: storable };
}
