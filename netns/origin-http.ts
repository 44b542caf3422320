/**
 * HTTP/1.1 on `node:http`. Paths:
 *
 *   /hello           a short text, cacheable for 60 s
 *   /bytes/N         N deterministic bytes (content.ts, the seed is the path), cacheable for 60 s
 *   /aged/L/A/N      as /bytes/N, cacheable for L s of which A have passed elsewhere, with an ETag; 304 where that is right
 *   /private/NAME    a short text that must not be stored
 *   /echo            the request's body
 *   /upload          SHA-256 and length of the request's body, as `HEX LENGTH`
 *   /gated/N         as /bytes/N but not cacheable, and the second half waits until …
 *   /gate/open       … this is asked for
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { content } from './content.js';
import type { OriginEvent } from './origin-events.js';

type Report = (event: OriginEvent) => void;

const CACHEABLE = 'max-age=60';
const HELLO = 'hello, translucent world\n';

/** Lets `/gated` responses go on. */
class Gate {
  #open: () => void = () => undefined;
  #opened = this.#next();

  get opened(): Promise<void> {
    return this.#opened;
  }

  /** Lets everyone pass who waits now; who comes later waits for the next time. */
  open(): void {
    this.#open();
    this.#opened = this.#next();
  }

  #next(): Promise<void> {
    return new Promise((resolve) => (this.#open = resolve));
  }
}

function* half(blocks: readonly Buffer[], which: 0 | 1): Generator<Buffer, void> {
  const middle = Math.ceil(blocks.length / 2);
  yield* which === 0 ? blocks.slice(0, middle) : blocks.slice(middle);
}

async function* gated(path: string, length: number, gate: Gate): AsyncGenerator<Buffer, void> {
  const blocks = [...content(path, length)];
  const opened = gate.opened;
  yield* half(blocks, 0);
  await opened;
  yield* half(blocks, 1);
}

async function answerText(response: ServerResponse, text: string, cacheControl: string): Promise<void> {
  response.setHeader('Content-Type', 'text/plain');
  response.setHeader('Cache-Control', cacheControl);
  response.setHeader('Content-Length', Buffer.byteLength(text));
  await pipeline(Readable.from([text]), response);
}

async function answerBytes(
  response: ServerResponse,
  length: number,
  body: Iterable<Buffer> | AsyncIterable<Buffer>,
  cacheControl: string,
): Promise<void> {
  response.setHeader('Content-Type', 'application/octet-stream');
  response.setHeader('Cache-Control', cacheControl);
  response.setHeader('Content-Length', length);
  await pipeline(Readable.from(body, { objectMode: false }), response);
}

/** As a server behind a cache answers: what it sends has an age. */
async function answerAged(
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  [lifetime, age, size]: readonly number[],
): Promise<void> {
  const tag = `"${size ?? 0}"`;
  response.setHeader('ETag', tag).setHeader('Age', age ?? 0);
  const cacheControl = `max-age=${lifetime ?? 0}`;
  if (request.headers['if-none-match'] !== tag) {
    return answerBytes(response, size ?? 0, content(path, size ?? 0), cacheControl);
  }
  response.statusCode = 304;
  response.setHeader('Cache-Control', cacheControl);
  response.end();
  await finished(response);
}

async function answerUpload(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    length += chunk.length;
  }
  await answerText(response, `${hash.digest('hex')} ${length}\n`, 'no-store');
}

async function answer(request: IncomingMessage, response: ServerResponse, gate: Gate): Promise<void> {
  const path = request.url ?? '/';
  const size = Number(/^\/(?:bytes|gated)\/(\d{1,12})$/.exec(path)?.[1] ?? Number.NaN);
  if (path === '/upload') return answerUpload(request, response);
  if (path === '/echo') {
    response.setHeader('Cache-Control', 'no-store');
    return pipeline(request, response);
  }
  request.resume();
  if (path === '/hello') return answerText(response, HELLO, CACHEABLE);
  if (path.startsWith('/private')) return answerText(response, `private: ${path}\n`, 'no-store');
  const aged = /^\/aged\/(\d{1,9})\/(\d{1,9})\/(\d{1,9})$/.exec(path);
  if (aged !== null) return answerAged(request, response, path, aged.slice(1).map(Number));
  if (path.startsWith('/bytes/') && size >= 0)
    return answerBytes(response, size, content(path, size), CACHEABLE);
  if (path.startsWith('/gated/') && size >= 0) {
    return answerBytes(response, size, gated(path, size, gate), 'no-store');
  }
  if (path === '/gate/open') gate.open();
  else response.statusCode = 404;
  return answerText(response, '', 'no-store');
}

const peerOf = (request: IncomingMessage): string =>
  request.socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  gate: Gate,
  report: Report,
): Promise<void> {
  const peer = peerOf(request); // the socket forgets it when it closes
  let received = 0;
  request.on('data', (chunk: Buffer) => (received += chunk.length));
  request.pause(); // listening for data would start the flow before anyone else listens
  try {
    await answer(request, response, gate);
  } catch {
    response.destroy(); // the client has gone; `complete` tells
  }
  report({
    event: 'request',
    method: request.method ?? '',
    path: request.url ?? '',
    peer,
    status: response.statusCode,
    received,
    complete: response.writableFinished,
    via: request.headers.via,
  });
}

export function createHttpOrigin(report: Report): Server {
  const gate = new Gate();
  const server = createServer((request, response) => void serve(request, response, gate, report));
  server.on('clientError', (error, socket) => {
    report({ event: 'unusual', what: error.message, peer: '' });
    socket.destroy();
  });
  return server;
}
