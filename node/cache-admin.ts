/**
 * The cache behind the administration socket.
 *
 * ```
 *   GET    /cache/stats               JSON: what `cache stats --json` prints
 *   GET    /cache/objects?SELECTION   a line of JSON for each stored response (CacheRow)
 *   DELETE /cache/objects?SELECTION   lines { "dropped": N } while it goes on, and at its end { "dropped": N, "done": true }
 *   POST   /cache/warm                [WarmRequest, …] as JSON; a line of JSON (WarmResult) for each as it is done
 *
 *   SELECTION   destination=ADDRESS PORT, authority=HOST:PORT, target=/PATH, prefix=1, tag=TAG: all that are given hold
 * ```
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpCache } from '../cache/cache.js';
import type { Listed } from '../cache/tiers.js';
import { keyParts } from '../cache/selection.js';
import type { Selection } from '../cache/store-contract.js';
import { tagsOf } from '../cache/tags.js';
import { messageOf } from '../core/errors.js';
import type { WarmRequest, WarmResult } from './warm.js';

/** One stored response in `cache ls --json`. */
export interface CacheRow {
  readonly url: string;
  /** `address:port` that clients connect to; `*` where the addresses of a name share. */
  readonly destination: string;
  readonly status: number;
  readonly bytes: number;
  readonly ageSeconds: number;
  /** Negative: stale for so long. */
  readonly freshSeconds: number;
  /** Names of the request fields that choose between variants. */
  readonly vary: readonly string[];
  readonly tags: readonly string[];
  readonly where: Listed['where'];
}

export interface CacheAdmin {
  readonly cache: HttpCache;
  readonly warm: (asked: WarmRequest) => Promise<WarmResult>;
}

/** Bytes of a request's content. */
const MOST_ASKED = 4 * 2 ** 20;
const WARM_AT_ONCE = 4;
const PROGRESS_MS = 500;

function readSelection(query: URLSearchParams): Selection {
  const text = (name: string): string | undefined => query.get(name) ?? undefined;
  return {
    destination: text('destination'),
    authority: text('authority')?.toLowerCase(),
    target: text('target'),
    prefix: query.get('prefix') === '1',
    tag: text('tag'),
  };
}

function rowOf(cache: HttpCache, { key, entry, bytes, where }: Listed): CacheRow {
  const { destination, authority, target } = keyParts(key);
  const [address = '', port = ''] = destination.split(' ');
  return {
    url: `http://${authority}${target}`,
    destination: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    status: entry.status,
    bytes,
    ageSeconds: cache.age(entry),
    freshSeconds: cache.ttl(entry),
    vary: entry.vary,
    tags: tagsOf(entry.fields, entry.groups),
    where,
  };
}

/** Writes a line at the reader's pace; `false` when it has gone. */
async function line(response: ServerResponse, value: unknown): Promise<boolean> {
  if (response.destroyed) return false;
  if (!response.write(`${JSON.stringify(value)}\n`))
    await Promise.race([once(response, 'drain'), once(response, 'close')]);
  return !response.destroyed;
}

async function list(cache: HttpCache, selection: Selection, response: ServerResponse): Promise<void> {
  for await (const listed of cache.list(selection)) if (!(await line(response, rowOf(cache, listed)))) return;
}

async function drop(cache: HttpCache, selection: Selection, response: ServerResponse): Promise<void> {
  let dropped = 0;
  let told = performance.now();
  const keys = cache.purge(selection);
  while ((await keys.next()).done !== true) {
    dropped++;
    if (performance.now() - told < PROGRESS_MS) continue;
    told = performance.now();
    await line(response, { dropped }); // it goes on although nobody listens
  }
  await line(response, { dropped, done: true });
}

async function contentOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > MOST_ASKED) throw new Error(`more than ${MOST_ASKED} bytes of URLs; ask for fewer at once`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function warmAll(admin: CacheAdmin, asked: string, response: ServerResponse): Promise<void> {
  const requests = (JSON.parse(asked) as WarmRequest[]).values();
  // Each takes the next one from the same iterator.
  const worker = async (): Promise<void> => {
    for (const one of requests) if (!(await line(response, await admin.warm(one)))) return;
  };
  await Promise.all(Array.from({ length: WARM_AT_ONCE }, worker));
}

function begin(response: ServerResponse, type: string): ServerResponse {
  return response.writeHead(200, { 'content-type': type });
}

const LINES = 'application/x-ndjson';

/** Answers a request under `/cache`; `false` for what it does not know. */
export function answerCache(admin: CacheAdmin, request: IncomingMessage, response: ServerResponse): boolean {
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://node');
  const selection = readSelection(searchParams);
  const asked = `${request.method ?? ''} ${pathname}`;
  let work: Promise<void>;
  if (asked === 'GET /cache/stats') {
    begin(response, 'application/json').end(`${JSON.stringify(admin.cache.stats())}\n`);
    return true;
  } else if (asked === 'GET /cache/objects') work = list(admin.cache, selection, begin(response, LINES));
  else if (asked === 'DELETE /cache/objects') work = drop(admin.cache, selection, begin(response, LINES));
  else if (asked === 'POST /cache/warm')
    work = contentOf(request).then((text) => warmAll(admin, text, begin(response, LINES)));
  else return false;
  work.catch((error: unknown) => line(response, { error: messageOf(error) })).finally(() => response.end());
  return true;
}
