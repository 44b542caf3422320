/** The header sections this node writes: what it passes on, what it takes out, what it adds. */
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import { cacheStatusName, formatCacheStatus, type CacheStatus } from '../../cache/cache-status.js';
import {
  endToEnd,
  indexFields,
  isToken,
  listFields,
  listMembers,
  tokenList,
  without,
} from '../../cache/fields.js';
import type { RequestHead } from '../../cache/key.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { ResponseStart } from './response-parser.js';

/**
 * Fields of a message. Node leaves out what stands behind as many as it is told to read, a `Content-Length` or `private` among
 * them: it is told to read one more, and a message that has it is refused.
 */
export const MOST_FIELDS = 1000;

/** A node's name in the two grammars that carry it. */
export interface NodeIdentity {
  readonly name: string;
  /** Pseudonym in `Via`: a token (RFC 9110 section 7.6.3). */
  readonly via: string;
  /** `Cache-Status` identifier: sf-token or sf-string (RFC 9211 section 2). */
  readonly cacheStatus: string;
}

export function nodeIdentity(name: string): NodeIdentity {
  const printable = name.replace(/[^\x20-\x7e]/g, '_');
  return {
    name,
    via: printable.replace(/[^!#$%&'*+\-.^_`|~0-9A-Za-z]/g, '_') || '_',
    cacheStatus: cacheStatusName(printable),
  };
}

/** `Via` of a message that arrived as `httpVersion`, and `Cache-Status`: lines of their own, after those from below. */
export function nodeFields(node: NodeIdentity, httpVersion: string, status: CacheStatus): string[] {
  return ['Via', `${httpVersion} ${node.via}`, 'Cache-Status', formatCacheStatus(node.cacheStatus, status)];
}

/** The head of a request, as the client sent it. */
export function requestHead(message: IncomingMessage): RequestHead {
  const fields = indexFields(message.rawHeaders);
  const length = fields.get('content-length');
  return {
    method: message.method ?? '',
    target: message.url ?? '',
    rawHeaders: message.rawHeaders,
    fields,
    hasBody: fields.has('transfer-encoding') || (length !== undefined && !/^0+$/.test(length.join())),
  };
}

/** What Node would refuse to write again says nothing that the status does not. */
function reasonOf(said: string, status: number): string {
  const usual = STATUS_CODES[status] ?? '';
  return /[^\t\x20-\x7e\x80-\xff]/.test(said) ? usual : said;
}

/** The head of a response, as the next hop sent it. */
export function responseHead(start: ResponseStart, method: string): ResponseHead {
  const { status, statusMessage, httpVersion, rawHeaders } = start;
  const fields = listFields(rawHeaders);
  let framing: ResponseHead['framing'] = 'close';
  if (method === 'HEAD' || status === 204 || status === 304) framing = 'none';
  else if (fields.has('transfer-encoding')) framing = 'chunked';
  else if (fields.has('content-length')) framing = 'length';
  return {
    status,
    statusMessage: reasonOf(statusMessage, status),
    httpVersion,
    rawHeaders,
    fields,
    framing,
  };
}

/** Whether the only transfer coding is `chunked`, or there is none: what this node can pass on. */
export function transferCodingKnown(head: { readonly fields: RequestHead['fields'] }): boolean {
  const codings = tokenList(head.fields.get('transfer-encoding') ?? ['chunked']);
  return codings?.length === 1 && codings[0] === 'chunked';
}

const EMPTY_BODY_IMPLIED = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);

/**
 * The header section for the next hop: the client's, order and case kept, without the fields of its hop, with the
 * framing that Node is to use. `authority` stands in when the client, speaking HTTP/1.0, named none. `replaced` are the
 * lower-case names of fields in whose place the node sends its own.
 */
export function requestHeaders(
  request: RequestHead,
  received: { readonly httpVersion: string; readonly authority: string },
  node: NodeIdentity,
  replaced: ReadonlySet<string>,
): string[] {
  const { fields } = request;
  const chunked = fields.has('transfer-encoding');
  const ignored = (name: string): boolean =>
    (name === 'trailer' && !chunked) ||
    (name === 'expect' && received.httpVersion === '1.0') ||
    replaced.has(name);
  const headers = without(endToEnd(request.rawHeaders, fields), ignored);
  // RFC 9112 section 3.3: without a Host, the authority is where the connection leads.
  if (!fields.has('host')) headers.unshift('Host', received.authority);
  if (chunked) headers.push('Transfer-Encoding', 'chunked');
  else if (!fields.has('content-length') && !EMPTY_BODY_IMPLIED.has(request.method)) {
    headers.push('Content-Length', '0');
  }
  headers.push('Via', `${received.httpVersion} ${node.via}`);
  const te = listMembers(fields.get('te') ?? []) ?? [];
  if (te.some((coding) => coding.toLowerCase() === 'trailers')) {
    headers.push('TE', 'trailers', 'Connection', 'keep-alive, TE');
  }
  return headers;
}

const UNWRITABLE_TARGET = /[^\x21-\xff]/;
const UNWRITABLE_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Fields as they are sent; `undefined` where a parser has let something through that Node's writer refuses. */
export function fieldLines(headers: readonly string[]): string | undefined {
  let text = '';
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    if (!isToken(name) || UNWRITABLE_VALUE.test(value)) return undefined;
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** Those of a request without content, with what frames the connection and the end of the header section. */
export function fieldsText(headers: readonly string[]): string | undefined {
  const lines = fieldLines(headers);
  const named = headers.some((text, index) => index % 2 === 0 && text === 'Connection');
  const framed = named ? '' : 'Connection: keep-alive\r\n';
  return lines === undefined ? undefined : `${lines}${framed}\r\n`;
}

/** A request without content; `undefined` as in {@link fieldLines}. */
export function requestText(request: {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly prepared?: string | undefined;
}): string | undefined {
  const { method, target, headers, prepared = fieldsText(headers) } = request;
  if (prepared === undefined || !isToken(method) || target === '' || UNWRITABLE_TARGET.test(target))
    return undefined;
  return `${method} ${target} HTTP/1.1\r\n${prepared}`;
}

/** Whether trailer fields can follow the content on the way to this client. */
export function carriesTrailers(client: IncomingMessage, response: ResponseHead): boolean {
  return response.framing === 'chunked' && client.httpVersion !== '1.0';
}

/**
 * The header section for the client, from the next hop's. The content's framing is left to Node, except a length
 * that is known. What ends with the connection is passed on as such: it cannot be vouched for.
 */
export function responseHeaders(
  response: ResponseHead,
  added: readonly string[],
  trailers: boolean,
): string[] {
  const { fields, framing } = response;
  const ignored = (name: string): boolean =>
    (name === 'trailer' && !trailers) ||
    (name === 'content-length' && (framing === 'chunked' || response.status === 204));
  const headers = without(endToEnd(response.rawHeaders, fields), ignored);
  headers.push(...added);
  if (framing === 'close') headers.push('Connection', 'close');
  return lengthLast(headers);
}

/**
 * Node re-encodes a Content-Disposition that follows a Content-Length and destroys its non-ASCII bytes, so the length
 * goes behind it.
 */
export function lengthLast(headers: string[]): string[] {
  if (!listFields(headers).has('content-disposition')) return headers;
  const names = headers.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : ''));
  const lengthAt = names.indexOf('content-length');
  if (lengthAt < 0) return headers;
  return [
    ...headers.slice(0, lengthAt),
    ...headers.slice(lengthAt + 2),
    ...headers.slice(lengthAt, lengthAt + 2),
  ];
}

/**
 * Fields that mean something else where they come late (RFC 9110 section 6.5.1): framing, routing, authentication and how content is
 * to be read. Some recipients merge what stands behind the content into the header section.
 */
const NEVER_TRAILERS = new Set([
  ...[
    'transfer-encoding',
    'content-length',
    'host',
    'connection',
    'upgrade',
    'te',
    'trailer',
    'cache-control',
  ],
  ...['authorization', 'proxy-authorization', 'cookie', 'set-cookie'],
  ...['content-encoding', 'content-type', 'content-range'],
]);

/** What may be written out again behind the content. */
export const trailerPairs = (raw: readonly string[]): [string, string][] =>
  writablePairs(raw).filter(([name]) => !NEVER_TRAILERS.has(name.toLowerCase()));

/** `isToken` for names a peer chose, and no control characters in the value: what may be written out again. */
export function writablePairs(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const [name = '', value = ''] = raw.slice(index, index + 2);
    if (isToken(name) && !/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) pairs.push([name, value]);
  }
  return pairs;
}
