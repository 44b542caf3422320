/**
 * Responses to the client. Whatever is cut short ends with RST, never with what could pass for the end of a body.
 */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Fill, FillReader } from '../../cache/fill.js';
import type { CacheStatus } from '../../cache/cache-status.js';
import { isToken } from '../../cache/fields.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredHead } from '../../cache/stored.js';
import { reset } from '../relay.js';
import type { RawBody } from './raw-body.js';
import {
  carriesTrailers,
  lengthLast,
  nodeFields,
  responseHeaders,
  trailerPairs,
  writablePairs,
} from './headers.js';
import type { NodeIdentity } from './headers.js';

/** The client's side of one exchange. */
export interface Delivery {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly node: NodeIdentity;
  /** Milliseconds a client may take nothing while others wait for it to read on. */
  readonly stallTimeout: number;
}

/** Ends the client's connection in a way that cannot be taken for a complete response. */
export function cutShort({ request, response }: Delivery): void {
  reset(request.socket);
  response.destroy();
}

/** Answers to requests that are not understood; what follows them may not be what it seems. */
const ENDS_CONNECTION = new Set([400, 431, 501, 505]);

/** A response of this node's own, in plain text; the connection is cut when another has begun. */
export function reply(delivery: Delivery, status: number, text: string, cacheStatus?: CacheStatus): void {
  const { request, response, node } = delivery;
  if (response.headersSent || response.destroyed) {
    cutShort(delivery);
    return;
  }
  const body = Buffer.from(`tpot-node ${node.name}: ${text}\n`);
  const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Content-Length', String(body.length)];
  headers.push('Cache-Control', 'no-store');
  if (cacheStatus !== undefined) headers.push(...nodeFields(node, '1.1', cacheStatus).slice(2));
  // What follows on the connection may be the rest of a request that is not answered here.
  if (!request.complete || ENDS_CONNECTION.has(status)) headers.push('Connection', 'close');
  // With its reason: one that was refused before is remembered otherwise, and refused again.
  response.writeHead(status, STATUS_CODES[status] ?? '', headers);
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Writes a head that came from elsewhere; `false`, and a 502, when Node refuses to. */
export function writeHead(
  delivery: Delivery,
  head: { status: number; statusMessage: string },
  headers: string[],
): boolean {
  try {
    delivery.response.writeHead(head.status, head.statusMessage, headers);
    return true;
  } catch {
    reply(delivery, 502, 'the next hop sent a response that cannot be passed on');
    return false;
  }
}

/** Sends the head now unless content comes right behind it and takes it along. */
function flushSoon(response: ServerResponse): void {
  setImmediate(() => {
    if (!response.writableEnded && !response.destroyed) response.flushHeaders();
  });
}

function end(response: ServerResponse, trailers: readonly string[], carried: boolean): void {
  if (carried && trailers.length > 0) response.addTrailers(trailerPairs(trailers));
  response.end();
}

/** Writes the head of what the next hop sent, before its content; `false` when that failed and all has been said. */
function beginForwarded(delivery: Delivery, head: ResponseHead, status: CacheStatus): boolean {
  const { request, response, node } = delivery;
  const trailers = carriesTrailers(request, head);
  const headers = responseHeaders(head, nodeFields(node, head.httpVersion, status), trailers);
  // Keeps Node from vouching, with a last chunk, for a content that ends when the connection does.
  if (head.framing === 'close') response.removeHeader('Transfer-Encoding');
  return writeHead(delivery, head, headers);
}

/** Whether the chunks of a response can reach this client as they are. */
export function takesChunks({ request }: Delivery, head: ResponseHead): boolean {
  return head.framing === 'chunked' && request.httpVersion === '1.1';
}

/** Who looks on while a chunked body passes as it comes. */
export interface Onlooker {
  see(bytes: Buffer): void;
  /** Whether the message may go on, as far as this one is concerned. */
  ready(): boolean;
}

/** Passes a chunked body on as it comes; `false` when that cannot be. The head is written, and the client takes chunks. */
function passChunks(
  response: ServerResponse,
  message: IncomingMessage,
  raw: RawBody,
  onlooker: Onlooker | undefined,
): boolean {
  response.flushHeaders();
  const before = response.chunkedEncoding;
  response.chunkedEncoding = false; // it is chunked already
  const begun = raw.begin((bytes) => {
    onlooker?.see(bytes);
    if (!response.write(bytes)) message.pause();
  });
  if (!begun) {
    response.chunkedEncoding = before;
    return false;
  }
  response.on('drain', () => {
    if (onlooker?.ready() !== false) message.resume();
  });
  if (!response.writableNeedDrain) message.resume(); // what Node makes of it is not needed, but its end
  return true;
}

/**
 * Passes the next hop's response on as it comes; a chunked body with its own chunks if there is `raw`. Returns whether
 * the head was written and a body follows.
 */
export function passOn(
  delivery: Delivery,
  message: IncomingMessage,
  head: ResponseHead,
  status: CacheStatus,
  raw?: RawBody,
  onlooker?: Onlooker,
): boolean {
  const { request, response } = delivery;
  if (!beginForwarded(delivery, head, status)) {
    message.destroy();
    return false;
  }
  if (head.framing === 'none') {
    message.resume();
    response.end();
    return false;
  }
  const asItComes = raw !== undefined && passChunks(response, message, raw, onlooker);
  if (!asItComes) message.pipe(response, { end: false });
  message.once('end', () => {
    if (message.complete) end(response, message.rawTrailers, !asItComes && carriesTrailers(request, head));
  });
  message.once('close', () => {
    if (!message.readableEnded || !message.complete) cutShort(delivery);
  });
  flushSoon(response);
  return true;
}

/** Passes the next hop's response on to the client whose request fetched it, out of the fill. */
export function passOnFill(delivery: Delivery, head: ResponseHead, fill: Fill, status: CacheStatus): void {
  if (!beginForwarded(delivery, head, status)) return;
  pump(delivery, fill, carriesTrailers(delivery.request, head));
  flushSoon(delivery.response);
}

/** The header section of what is answered from the store. */
export function storedHeaders(
  node: NodeIdentity,
  head: StoredHead,
  age: number,
  status: CacheStatus,
): string[] {
  return [...head.rawHeaders, 'Age', String(age), ...nodeFields(node, head.httpVersion, status)];
}

/** Shares another client's fetch. */
export function shareFill(
  delivery: Delivery,
  head: StoredHead,
  fill: Fill,
  age: number,
  status: CacheStatus,
): void {
  if (!writeHead(delivery, head, lengthLast(storedHeaders(delivery.node, head, age, status)))) return;
  pump(delivery, fill, delivery.request.httpVersion !== '1.0' && !head.fields.has('content-length'));
  flushSoon(delivery.response);
}

/** Copies a fill to the client at the client's pace. */
function pump(delivery: Delivery, fill: Fill, trailers: boolean): void {
  const { response } = delivery;
  let full = false;
  const run = (): void => {
    while (!full && !response.destroyed) {
      const next = reader.next();
      if (next === 'wait') return;
      if (next === 'end') {
        end(response, reader.trailers, trailers);
        reader.leave();
        return;
      }
      if (next === 'failed') {
        cutShort(delivery);
        return;
      }
      full = !response.write(next);
    }
  };
  const reader: FillReader = fill.read(run);
  response.on('drain', () => {
    full = false;
    run();
  });
  let taken = 0;
  const watch = setInterval(() => {
    if (full && reader.offset === taken && reader.holdsUpOthers()) cutShort(delivery);
    taken = reader.offset;
  }, delivery.stallTimeout).unref();
  response.once('close', () => {
    clearInterval(watch);
    reader.leave();
  });
  run();
}

/** A 1xx response (RFC 9110 section 15.2), to a client that speaks HTTP/1.1. */
export function sendInformation(
  { request, response }: Delivery,
  info: {
    readonly statusCode: number;
    readonly statusMessage: string;
    readonly rawHeaders: readonly string[];
  },
): void {
  if (request.httpVersion === '1.0' || response.headersSent) return;
  if (info.statusCode === 100) {
    response.writeContinue();
    return;
  }
  let head = `HTTP/1.1 ${info.statusCode} ${info.statusMessage}\r\n`;
  for (const [name, value] of writablePairs(info.rawHeaders))
    if (isToken(name)) head += `${name}: ${value}\r\n`;
  response.socket?.write(`${head}\r\n`, 'latin1');
}
