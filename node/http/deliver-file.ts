/** Stored responses whose content is on the disk: read at the client's pace, a few blocks in memory at a time. */
import type { ServerResponse } from 'node:http';
import type { Reply } from '../../cache/decision.js';
import { without } from '../../cache/fields.js';
import { formatContentRange, type ByteRange } from '../../cache/partial.js';
import type { StoredFileReader, StoredResponse } from '../../cache/stored.js';
import { cutShort, storedHeaders, writeHead, type Delivery } from './deliver.js';
import { PARTIAL, type Told } from './deliver-stored.js';
import { lengthLast } from './headers.js';

/** Whether an answer needs content that is not in memory. */
export function streams({ request }: Delivery, entry: StoredResponse, { kind }: Reply): boolean {
  return entry.file !== undefined && request.method === 'GET' && (kind === 'full' || kind === 'ranges');
}

/** One range is sent as it is asked for; in place of several, all of it (RFC 9110 section 14.2 allows that). */
function oneRange(answer: Reply): ByteRange | undefined {
  return answer.kind === 'ranges' && answer.ranges.length === 1 ? answer.ranges[0] : undefined;
}

/** `false` when the content is not there any more, or is damaged: nothing has been sent then. */
export async function sendFromFile(
  delivery: Delivery,
  entry: StoredResponse,
  answer: Reply,
  { age, status }: Told,
): Promise<boolean> {
  const { response } = delivery;
  const range = oneRange(answer);
  const { first, last } = range ?? { first: 0, last: entry.bodyLength - 1 };
  let reader: StoredFileReader | undefined;
  try {
    reader = await entry.file?.open();
    const begin = await reader?.read(first);
    if (reader === undefined || begin === undefined) return false;
    if (response.destroyed) return true;
    const headers = without(
      storedHeaders(delivery.node, entry, age, status),
      (name) => name === 'content-length' || (range !== undefined && name === 'content-range'),
    );
    if (range !== undefined) headers.push('Content-Range', formatContentRange(range, entry.bodyLength));
    headers.push('Content-Length', String(last - first + 1));
    if (writeHead(delivery, range === undefined ? entry : PARTIAL, lengthLast(headers)))
      await copy(reader, response, begin, { first, last });
    return true;
  } catch {
    if (!response.headersSent) return false;
    cutShort(delivery); // the bytes that were sent are right, and there are no more
    return true;
  } finally {
    await reader?.close().catch(() => undefined);
  }
}

async function copy(
  reader: StoredFileReader,
  response: ServerResponse,
  begin: Buffer,
  { first, last }: ByteRange,
): Promise<void> {
  let block = begin;
  for (let at = first; !response.destroyed; block = await reader.read(at)) {
    const part = block.subarray(0, last - at + 1);
    at += part.length;
    const more = response.write(part);
    if (at > last) break;
    if (!more) await roomIn(response);
  }
  response.end();
}

/** Resolves when a response takes more, or is over. */
function roomIn(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
