/** Responses as origins write them, and as nobody should: split, framed twice, cut off, or with another one behind. */
import type { Random } from './random.js';

export interface ResponseCase {
  readonly what: string;
  readonly bytes: string;
  /**
   * `good`: the client gets `body`. `bad`: it gets an error in its place, or its connection is cut. `either`: what it gets is
   * whole or cut, and the next response is not part of it.
   */
  readonly kind: 'good' | 'bad' | 'either';
  readonly body: string;
  readonly method: 'GET' | 'HEAD';
  /** The origin closes behind it. */
  readonly close: boolean;
}

type Made = Pick<ResponseCase, 'bytes' | 'kind'> & Partial<ResponseCase>;
type Maker = (random: Random) => Made;

const head = (...lines: string[]): string => `${lines.join('\r\n')}\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK';
const FRESH = 'Cache-Control: max-age=60';
const BODY = 'hello';
const chunked = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;

/** What would be taken for the answer to the next request. */
const EVIL = `${head(OK, FRESH, 'X-Evil: 1', 'Content-Length: 4')}EVIL`;

const plain = `${head(OK, FRESH, 'Content-Length: 5')}${BODY}`;

const GOOD: Readonly<Record<string, Maker>> = {
  plain: () => ({ kind: 'good', bytes: plain }),
  chunked: () => ({
    kind: 'good',
    bytes: `${head(OK, FRESH, 'Transfer-Encoding: chunked')}${chunked(BODY)}`,
  }),
  'chunked, with trailers': () => ({
    kind: 'good',
    bytes: `${head(OK, FRESH, 'Transfer-Encoding: chunked', 'Trailer: X')}5;a=b\r\n${BODY}\r\n0\r\nX: 1\r\n\r\n`,
  }),
  'what is said before it': (random) => ({
    kind: 'good',
    bytes: `${head('HTTP/1.1 103 Early Hints', 'Link: </a>').repeat(1 + random.below(5))}${plain}`,
  }),
  'the end of the connection': () => ({ kind: 'good', bytes: `${head(OK, FRESH)}${BODY}`, close: true }),
  'the head alone': () => ({
    kind: 'good',
    bytes: head(OK, FRESH, 'Content-Length: 5'),
    method: 'HEAD',
    body: '',
  }),
  'nothing at all': () => ({ kind: 'good', bytes: head('HTTP/1.1 204 No Content'), body: '' }),
};

const framed =
  (...lines: string[]): Maker =>
  () => ({ kind: 'bad', bytes: `${head(OK, FRESH, ...lines)}5\r\n${BODY}\r\n0\r\n\r\n${EVIL}` });
const withLine =
  (...lines: string[]): Maker =>
  () => ({ kind: 'bad', bytes: `${head(OK, FRESH, ...lines, 'Content-Length: 5')}${BODY}${EVIL}` });
const started =
  (line: string): Maker =>
  () => ({ kind: 'bad', bytes: `${head(line, FRESH, 'Content-Length: 5')}${BODY}${EVIL}` });
const bodyOf =
  (text: string): Maker =>
  () => ({ kind: 'bad', bytes: `${head(OK, FRESH, 'Transfer-Encoding: chunked')}${text}${EVIL}` });

const BAD: Readonly<Record<string, Maker>> = {
  'one more response behind it': () => ({ kind: 'either', bytes: `${plain}${EVIL}` }),
  'one more behind chunks': () => ({
    kind: 'either',
    bytes: `${head(OK, FRESH, 'Transfer-Encoding: chunked')}${chunked(BODY)}${EVIL}`,
  }),
  'content behind a head alone': () => ({
    kind: 'either',
    bytes: `${head(OK, FRESH, `Content-Length: ${EVIL.length}`)}${EVIL}`,
    method: 'HEAD',
  }),
  'content behind 204': () => ({
    kind: 'either',
    bytes: `${head('HTTP/1.1 204 No Content', `Content-Length: ${EVIL.length}`)}${EVIL}`,
  }),
  'content behind 304': () => ({
    kind: 'either',
    bytes: `${head('HTTP/1.1 304 Not Modified', `Content-Length: ${EVIL.length}`)}${EVIL}`,
  }),
  'two lengths': framed('Content-Length: 5', 'Content-Length: 50'),
  'lengths in a list': framed('Content-Length: 5, 50'),
  'a signed length': framed('Content-Length: +5'),
  'a length in hexadecimal': framed('Content-Length: 0x5'),
  'a length beyond 64 bits': framed('Content-Length: 18446744073709551621'),
  'length and coding': framed('Content-Length: 5', 'Transfer-Encoding: chunked'),
  'coding and length': framed('Transfer-Encoding: chunked', 'Content-Length: 5'),
  'an unknown coding': framed('Transfer-Encoding: xchunked'),
  'chunked, but not last': framed('Transfer-Encoding: chunked, identity'),
  'chunked twice': framed('Transfer-Encoding: chunked, chunked'),
  'gzip and chunked': framed('Transfer-Encoding: gzip, chunked'),
  'a space before the colon': framed('Transfer-Encoding : chunked'),
  'a folded line': framed('Transfer-Encoding:\r\n chunked'),
  'NUL in a value': withLine('X: a\0b'),
  'NUL in a name': withLine('X\0: a'),
  'CR in a value': withLine('X: a\rSet-Cookie: evil=1'),
  'LF alone at the end of a line': withLine('X: a\nSet-Cookie: evil=1'),
  'LF alone, twice, in a value': withLine('X: a\n\nEVIL'),
  'a line without a colon': withLine('X'),
  'a line without a name': withLine(': a'),
  'a name with a space': withLine('X Y: a'),
  'a status of two digits': started('HTTP/1.1 99 Odd'),
  'a status of four digits': started('HTTP/1.1 2000 Odd'),
  'a status of letters': started('HTTP/1.1 OK'),
  'a version of its own': started('HTTP/3.1 200 OK'),
  'no version': started('200 OK'),
  'NUL in the reason': () => ({
    kind: 'either',
    bytes: `${head('HTTP/1.1 200 O\0K', FRESH, 'Content-Length: 5')}${BODY}${EVIL}`,
  }),
  'CR in the reason': started('HTTP/1.1 200 O\rK'),
  'a switch nobody asked for': () => ({
    kind: 'bad',
    bytes: `${head('HTTP/1.1 101 Switching Protocols', 'Upgrade: x', 'Connection: upgrade')}${EVIL}`,
  }),
  'a flood of what is said before': (random) => ({
    kind: 'bad',
    bytes: `${head(`HTTP/1.1 ${random.pick([100, 102, 103])} Hold on`).repeat(1000)}${EVIL}`,
  }),
  'a head that is too long': () => ({
    kind: 'bad',
    bytes: `${head(OK, FRESH, `X: ${'a'.repeat(300_000)}`, 'Content-Length: 5')}${BODY}`,
  }),
  'a length that is not reached': () => ({
    kind: 'bad',
    bytes: `${head(OK, FRESH, 'Content-Length: 50')}${BODY}`,
    close: true,
  }),
  'chunks without an end': () => ({
    kind: 'bad',
    bytes: `${head(OK, FRESH, 'Transfer-Encoding: chunked')}5\r\n${BODY}\r\n`,
    close: true,
  }),
  'a head without an end': () => ({ kind: 'bad', bytes: `${OK}\r\n${FRESH}\r\n`, close: true }),
  // A kept connection that ends before the first byte: the request is sent again.
  'nothing but an end': () => ({ kind: 'either', bytes: '', close: true }),
  'no HTTP': () => ({ kind: 'bad', bytes: 'SSH-2.0-OpenSSH_9.2\r\n', close: true }),
  'a chunk size that is none': bodyOf('5x\r\nhello\r\n0\r\n\r\n'),
  'a negative chunk size': bodyOf('-5\r\nhello\r\n0\r\n\r\n'),
  'a chunk size beyond 64 bits': bodyOf('10000000000000005\r\nhello\r\n0\r\n\r\n'),
  'LF alone behind a chunk size': bodyOf('5\nhello\r\n0\r\n\r\n'),
  'LF alone behind a chunk': bodyOf('5\r\nhello\n0\r\n\r\n'),
  'more in a chunk than its size': bodyOf('5\r\nhello!\r\n0\r\n\r\n'),
  'a trailer that is none': bodyOf('5\r\nhello\r\n0\r\nX Y: z\r\n\r\n'),
};

const all = [...Object.entries(GOOD), ...Object.entries(BAD)];

/** How many kinds there are. */
export const RESPONSE_KINDS = all.length;

/** Each kind in its turn. */
export function responseOf(number: number, random: Random): ResponseCase {
  const [what, maker] = all[number % all.length] ?? random.pick(all);
  return { what, method: 'GET', body: BODY, close: false, ...maker(random) };
}
