/** Responses out of the store: all of one, ranges of it, or that the client's copy still holds. */
import type { CacheStatus } from '../../cache/cache-status.js';
import type { Reply } from '../../cache/decision.js';
import { without } from '../../cache/fields.js';
import { OF_THE_BODY } from '../../cache/validation.js';
import { cut, extract, formatContentRange, type ByteRange } from '../../cache/partial.js';
import type { StoredResponse } from '../../cache/stored.js';
import { reply, storedHeaders, writeHead, type Delivery } from './deliver.js';
import { lengthLast } from './headers.js';

/** Fields a 304 repeats for a client (RFC 9110 section 15.4.5), plus those that say how it came. */
export const IN_304: ReadonlySet<string> = new Set([
  'age',
  'cache-control',
  'cdn-cache-control',
  'content-location',
  'date',
  'etag',
  'expires',
  'vary',
  'last-modified',
  'via',
  'cache-status',
]);

export const PARTIAL = { status: 206, statusMessage: 'Partial Content' };
const UNSATISFIABLE = { status: 416, statusMessage: 'Range Not Satisfiable' };
export const NOT_MODIFIED = { status: 304, statusMessage: 'Not Modified' };

/** What the node says of a stored response; the age in seconds. */
export interface Told {
  readonly age: number;
  readonly status: CacheStatus;
}

let boundaries = 0;

/** Answers with a stored response as `answer` says; `age` in seconds. Returns whether it went out like this. */
export function sendReply(
  delivery: Delivery,
  entry: StoredResponse,
  answer: Reply,
  { age, status }: Told,
): boolean {
  const headers = storedHeaders(delivery.node, entry, age, status);
  switch (answer.kind) {
    case 'not-modified': {
      // A cache before this one renews what it has stored with the rest, too: the same section allows it for that.
      const forCache = delivery.request.headers.via !== undefined;
      const kept = without(headers, (name) => (forCache ? OF_THE_BODY.has(name) : !IN_304.has(name)));
      if (!writeHead(delivery, NOT_MODIFIED, kept)) return false;
      delivery.response.end();
      return true;
    }
    case 'unsatisfiable': {
      const total = entry.pieces?.total ?? entry.bodyLength;
      const kept = without(headers, (name) => name.startsWith('content-'));
      kept.push('Content-Range', `bytes */${total}`, 'Content-Length', '0');
      if (!writeHead(delivery, UNSATISFIABLE, kept)) return false;
      delivery.response.end();
      return true;
    }
    case 'ranges':
      return sendRanges(delivery, entry, headers, answer);
    case 'full':
      return sendFull(delivery, entry, headers);
  }
}

/** The header section of all of a stored response, out of {@link storedHeaders}; changes `headers`. */
export function fullHeaders(entry: StoredResponse, headers: string[]): string[] {
  const bodiless = entry.status === 204 || entry.fields.has('content-length');
  if (!bodiless) headers.push('Content-Length', String(entry.pieces?.total ?? entry.bodyLength));
  return lengthLast(headers);
}

function sendFull(delivery: Delivery, entry: StoredResponse, headers: string[]): boolean {
  if (!writeHead(delivery, entry, fullHeaders(entry, headers))) return false;
  sendBlocks(delivery, delivery.request.method === 'HEAD' ? [] : entry.body);
  return true;
}

function sendRanges(
  delivery: Delivery,
  entry: StoredResponse,
  headers: readonly string[],
  { ranges, total }: Extract<Reply, { kind: 'ranges' }>,
): boolean {
  const kept = without(headers, (name) => name === 'content-length' || name === 'content-range');
  const parts = ranges.map((range) => blocksOf(entry, range));
  const [first] = ranges;
  if (first === undefined || parts.includes(undefined)) {
    reply(delivery, 502, 'a stored part is gone'); // decided otherwise in the same turn of the event loop
    return false;
  }
  const whole = ranges.length === 1 ? (parts[0] ?? []) : multipart(entry, kept, ranges, parts, total);
  if (ranges.length === 1) kept.push('Content-Range', formatContentRange(first, total));
  let length = 0;
  for (const block of whole) length += block.length;
  kept.push('Content-Length', String(length));
  if (!writeHead(delivery, PARTIAL, lengthLast(kept))) return false;
  sendBlocks(delivery, whole);
  return true;
}

function blocksOf(entry: StoredResponse, range: ByteRange): Buffer[] | undefined {
  if (entry.pieces !== undefined) return extract(entry.pieces, range);
  return cut(entry.body, range.first, range.last - range.first + 1);
}

/** multipart/byteranges (RFC 9110 section 14.6); replaces the media type in `headers`. */
function multipart(
  entry: StoredResponse,
  headers: string[],
  ranges: readonly ByteRange[],
  parts: readonly (readonly Buffer[] | undefined)[],
  total: number,
): Buffer[] {
  const boundary = `tpot-${Date.now().toString(36)}-${(boundaries++).toString(36)}`;
  const type = entry.fields.get('content-type')?.[0];
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (headers[at]?.toLowerCase() === 'content-type') headers.splice(at, 2);
  }
  headers.push('Content-Type', `multipart/byteranges; boundary=${boundary}`);
  const blocks: Buffer[] = [];
  for (const [index, range] of ranges.entries()) {
    let head = `${index === 0 ? '' : '\r\n'}--${boundary}\r\n`;
    if (type !== undefined) head += `Content-Type: ${type}\r\n`;
    head += `Content-Range: ${formatContentRange(range, total)}\r\n\r\n`;
    blocks.push(Buffer.from(head, 'latin1'), ...(parts[index] ?? []));
  }
  blocks.push(Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1'));
  return blocks;
}

/** Writes blocks at the client's pace, and ends. */
function sendBlocks(delivery: Delivery, blocks: readonly Buffer[]): void {
  const { response } = delivery;
  if (blocks.length <= 1) {
    response.end(blocks[0]);
    return;
  }
  let next = 0;
  const write = (): void => {
    while (next < blocks.length && !response.destroyed) {
      if (!response.write(blocks[next++])) {
        response.once('drain', write);
        return;
      }
    }
    response.end();
  };
  write();
}
