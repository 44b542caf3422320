/** Requests as clients write them, and as nobody should: each either means one thing to everybody, or is to be refused. */
import type { Random } from './random.js';

export interface RequestCase {
  readonly what: string;
  readonly bytes: string;
  readonly method: string;
  /**
   * `good`: reaches the origin as it is. `bad`: never reaches it. `spoilt`: its body breaks off in nonsense, so that it never
   * reaches the origin whole. After the last two nothing of the connection does.
   */
  readonly kind: 'good' | 'bad' | 'spoilt';
  /** What the origin gets of a good one. */
  readonly body: string;
  /** The target, which is also the content of the answer. */
  readonly target: string;
}

type Made = Pick<RequestCase, 'bytes' | 'kind'> & Partial<RequestCase>;
type Maker = (target: string, random: Random) => Made;

/** What is stored after it has been asked for once. */
export const STORED = '/stored';

const HOST = 'Host: example.test';
const head = (...lines: string[]): string => `${lines.join('\r\n')}\r\n\r\n`;

/** A request that would be found by who ends the message before it in the wrong place. */
const inside = (target: string): string => head(`GET ${target.replace('/m', '/smuggled')} HTTP/1.1`, HOST);

function chunks(random: Random, body: string): string {
  let text = '';
  for (let at = 0; at < body.length;) {
    const length = 1 + random.below(body.length - at);
    const size = length.toString(16);
    const extension = random.pick(['', '', ';a', ';a=b', ';a="xy"']);
    text += `${random.pick(['', '0', '000'])}${random.once(2) ? size.toUpperCase() : size}${extension}\r\n`;
    text += `${body.slice(at, at + length)}\r\n`;
    at += length;
  }
  return text;
}

const GOOD: Readonly<Record<string, Maker>> = {
  plain: (target) => ({ kind: 'good', bytes: head(`GET ${target} HTTP/1.1`, HOST) }),
  'white space and letter case': (target, random) => ({
    kind: 'good',
    bytes: head(
      `GET ${target} HTTP/1.1`,
      `hOST:${random.pick(['', ' ', '\t', ' \t '])}example.test \t`,
      'X:\xe4',
    ),
  }),
  'empty lines before': (target) => ({ kind: 'good', bytes: `\r\n${head(`GET ${target} HTTP/1.1`, HOST)}` }),
  'absolute form': (target) => ({
    kind: 'good',
    bytes: head(`GET http://example.test${target} HTTP/1.1`, HOST),
  }),
  // RFC 9112, section 3, lets a recipient read a start line so; what is sent on has one.
  'more than one space': (target, random) => ({
    kind: 'good',
    bytes: head(`GET${' '.repeat(1 + random.below(3))}${target}${' '.repeat(2)}HTTP/1.1`, HOST),
  }),
  [STORED]: () => ({ kind: 'good', bytes: head(`GET ${STORED} HTTP/1.1`, HOST), target: STORED }),
  'no content, said so': (target) => ({
    kind: 'good',
    bytes: head(`GET ${target} HTTP/1.1`, HOST, 'Content-Length: 0'),
  }),
  'a length': (target) => {
    const body = inside(target);
    const bytes = `${head(`POST ${target} HTTP/1.1`, HOST, `content-Length: ${body.length}`)}${body}`;
    return { kind: 'good', bytes, body, method: 'POST' };
  },
  'content where there usually is none': (target, random) => {
    const body = inside(target);
    const method = random.pick(['GET', 'DELETE', 'OPTIONS']);
    const bytes = `${head(`${method} ${target} HTTP/1.1`, HOST, `Content-Length: ${body.length}`)}${body}`;
    return { kind: 'good', bytes, body, method };
  },
  'a framing that Connection names': (target, random) => {
    const body = inside(target);
    const method = random.pick(['GET', 'POST']);
    const named = random.pick(['Connection: content-length', 'Connection: close-not, Host, Content-Length']);
    const bytes = `${head(`${method} ${target} HTTP/1.1`, named, HOST, `Content-Length: ${body.length}`)}${body}`;
    return { kind: 'good', bytes, body, method };
  },
  'chunks that Connection names': (target, random) => {
    const body = inside(target);
    const method = random.pick(['GET', 'POST']);
    const named = 'Connection: keep-alive, transfer-encoding, host';
    const start = head(`${method} ${target} HTTP/1.1`, named, HOST, 'Transfer-Encoding: chunked');
    return { kind: 'good', bytes: `${start}${chunks(random, body)}0\r\n\r\n`, body, method };
  },
  'a length behind zeros': (target) => {
    const body = inside(target);
    const bytes = `${head(`PUT ${target} HTTP/1.1`, HOST, `Content-Length: 000${body.length}`)}${body}`;
    return { kind: 'good', bytes, body, method: 'PUT' };
  },
  chunked: (target, random) => {
    const body = inside(target);
    const coding = random.pick(['chunked', 'Chunked', ' CHUNKED ']);
    const start = head(`POST ${target} HTTP/1.1`, HOST, `Transfer-encoding:${coding}`);
    const trailers = random.pick(['', '', 'X-Sum: 1\r\n', 'Authorization: x\r\nHost: other.test\r\n']);
    return {
      kind: 'good',
      bytes: `${start}${chunks(random, body)}0\r\n${trailers}\r\n`,
      body,
      method: 'POST',
    };
  },
};

/** A request with content that is framed in two ways, or in none that is certain. */
const framed =
  (...lines: string[]): Maker =>
  (target) => ({
    kind: 'bad',
    bytes: `${head(`POST ${target} HTTP/1.1`, HOST, ...lines)}0\r\n\r\n${inside(target)}`,
    method: 'POST',
  });
const withLine =
  (...lines: string[]): Maker =>
  (target) => ({ kind: 'bad', bytes: `${head(`GET ${target} HTTP/1.1`, HOST, ...lines)}${inside(target)}` });
const hosts =
  (...lines: string[]): Maker =>
  (target) => ({ kind: 'bad', bytes: head(`GET ${target} HTTP/1.1`, ...lines) });
const startLine =
  (line: (target: string) => string): Maker =>
  (target) => ({ kind: 'bad', bytes: head(line(target), HOST) });
const bodyOf =
  (...parts: string[]): Maker =>
  (target) => ({
    kind: 'spoilt',
    bytes: `${head(`POST ${target} HTTP/1.1`, HOST, 'Transfer-Encoding: chunked')}${parts.join('')}${inside(target)}`,
    method: 'POST',
  });

/** Short enough for any limit of the header section's size. */
const many = Array.from({ length: 1001 }, () => 'X:');

const BAD: Readonly<Record<string, Maker>> = {
  'two lengths': framed('Content-Length: 5', 'Content-Length: 6'),
  'lengths in a list': framed('Content-Length: 5, 6'),
  'a signed length': framed('Content-Length: +5'),
  'a negative length': framed('Content-Length: -5'),
  'a length in hexadecimal': framed('Content-Length: 0x5'),
  'a length with a point': framed('Content-Length: 5.0'),
  'a length with a space inside': framed('Content-Length: 5 5'),
  'an empty length': framed('Content-Length:'),
  'a length beyond 64 bits': framed('Content-Length: 18446744073709551621'),
  'length and coding': framed('Content-Length: 5', 'Transfer-Encoding: chunked'),
  'coding and length': framed('Transfer-Encoding: chunked', 'Content-Length: 5'),
  'length and half a coding': framed('Content-Length: 5', 'Transfer-Encoding: xchunked'),
  'an unknown coding': framed('Transfer-Encoding: xchunked'),
  'identity as a coding': framed('Transfer-Encoding: identity'),
  'chunked, but not last': framed('Transfer-Encoding: chunked, identity'),
  'chunked twice': framed('Transfer-Encoding: chunked, chunked'),
  'chunked on two lines': framed('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'),
  'a coding on each of two lines': framed('Transfer-Encoding: chunked', 'Transfer-Encoding: identity'),
  'gzip and chunked': framed('Transfer-Encoding: gzip, chunked'),
  'a coding in quotes': framed('Transfer-Encoding: "chunked"'),
  'a coding with a parameter': framed('Transfer-Encoding: chunked;q=1'),
  'an empty coding': framed('Transfer-Encoding:'),
  'a coding before a tab': framed('Transfer-Encoding: chunked\t'),
  'a coding behind a vertical tab': framed('Transfer-Encoding: \x0bchunked'),
  'a coding before NUL': framed('Transfer-Encoding: chunked\0'),
  'a coding before CR': framed('Transfer-Encoding: chunked\rX: y'),
  'a space before the colon': framed('Transfer-Encoding : chunked'),
  'a tab before the colon': framed('Content-Length\t: 5'),
  'a folded line': framed('Transfer-Encoding:\r\n chunked'),
  'a first line that is folded': (target) => ({
    kind: 'bad',
    bytes: head(`GET ${target} HTTP/1.1`, ' Transfer-Encoding: chunked', HOST),
  }),
  'a folded line behind another field': withLine('X: a', '\tContent-Length: 44'),
  'NUL in a value': withLine('X: a\0b'),
  'NUL in a name': withLine('X\0: a'),
  'DEL in a value': withLine('X: a\x7fb'),
  'CR in a value': withLine('X: a\rb'),
  'LF alone at the end of a line': withLine('X: a\nY: b'),
  'LF alone before a length': withLine('X: a\nContent-Length: 44'),
  'LF alone at the end of the head': (target) => ({
    kind: 'bad',
    bytes: `GET ${target} HTTP/1.1\r\n${HOST}\n\n${inside(target)}`,
  }),
  'LF alone behind the request line': (target) => ({
    kind: 'bad',
    bytes: `GET ${target} HTTP/1.1\n${HOST}\r\n\r\n`,
  }),
  'a line without a colon': withLine('X'),
  'a line without a name': withLine(': a'),
  'a name with a space': withLine('X Y: a'),
  'a name that is no token': withLine('X(Y): a'),
  'two hosts': hosts(HOST, HOST),
  'two hosts that differ': hosts(HOST, 'Host: other.test'),
  'no host': hosts('X: a'),
  'a host with a space': hosts('Host: example.test other.test'),
  'hosts in a list': hosts('Host: example.test, other.test'),
  'a host with a path': hosts('Host: example.test/a'),
  'a host with a user': hosts('Host: user@example.test'),
  'a host with a port that is none': hosts('Host: example.test:80x'),
  'another authority in the target': startLine((target) => `GET http://other.test${target} HTTP/1.1`),
  'a user in the target': startLine((target) => `GET http://example.test@other.test${target} HTTP/1.1`),
  'a fragment': startLine((target) => `GET ${target}#x HTTP/1.1`),
  'a target that is a star': startLine(() => 'GET * HTTP/1.1'),
  'tabs for spaces': startLine((target) => `GET\t${target}\tHTTP/1.1`),
  'a space in the target': startLine((target) => `GET ${target} /x HTTP/1.1`),
  'NUL in the target': startLine((target) => `GET ${target}\0 HTTP/1.1`),
  'CR in the target': startLine((target) => `GET ${target}\r HTTP/1.1`),
  'another version': startLine((target) => `GET ${target} HTTP/1.2`),
  'version 2': startLine((target) => `GET ${target} HTTP/2.0`),
  'a version in small letters': startLine((target) => `GET ${target} http/1.1`),
  'a version with more digits': startLine((target) => `GET ${target} HTTP/1.10`),
  'no version': startLine((target) => `GET ${target}`),
  'an unknown method': startLine((target) => `G=T ${target} HTTP/1.1`),
  'a coding in HTTP/1.0': (target) => ({
    kind: 'bad',
    bytes: `${head(`POST ${target} HTTP/1.0`, HOST, 'Transfer-Encoding: chunked')}0\r\n\r\n${inside(target)}`,
    method: 'POST',
  }),
  'a head that is too long': (target) => ({
    kind: 'bad',
    bytes: head(`GET ${target} HTTP/1.1`, HOST, `X: ${'a'.repeat(20_000)}`),
  }),
  'more fields than are looked at': (target) => ({
    kind: 'bad',
    bytes: `${head(`POST ${target} HTTP/1.1`, HOST, ...many, 'Content-Length: 5')}hello`,
    method: 'POST',
  }),
  'a chunk size that is none': bodyOf('5x\r\nhello\r\n0\r\n\r\n'),
  'a chunk size with a prefix': bodyOf('0x5\r\nhello\r\n0\r\n\r\n'),
  'a negative chunk size': bodyOf('-5\r\nhello\r\n0\r\n\r\n'),
  'a chunk size beyond 64 bits': bodyOf('10000000000000005\r\nhello\r\n0\r\n\r\n'),
  'an empty chunk size': bodyOf('\r\nhello\r\n0\r\n\r\n'),
  'a chunk size behind a space': bodyOf(' 5\r\nhello\r\n0\r\n\r\n'),
  'LF alone behind a chunk size': bodyOf('5\nhello\r\n0\r\n\r\n'),
  'LF alone behind a chunk': bodyOf('5\r\nhello\n0\r\n\r\n'),
  'more in a chunk than its size': bodyOf('5\r\nhello!\r\n0\r\n\r\n'),
  'CR in a chunk extension': bodyOf('5;a\rb\r\nhello\r\n0\r\n\r\n'),
  'LF in a chunk extension': bodyOf('5;a\nb\r\nhello\r\n0\r\n\r\n'),
  'a trailer that is none': bodyOf('5\r\nhello\r\n0\r\nX Y: z\r\n\r\n'),
  'a folded trailer': bodyOf('5\r\nhello\r\n0\r\nX: z\r\n a\r\n\r\n'),
  'a length behind the last chunk': bodyOf('5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n'),
  'LF alone behind the last chunk': bodyOf('5\r\nhello\r\n0\n\n'),
};

const all = [...Object.entries(GOOD), ...Object.entries(BAD)];

function make([what, maker]: readonly [string, Maker], target: string, random: Random): RequestCase {
  return { what, method: 'GET', body: '', target, ...maker(target, random) };
}

/** One of each that is to be refused. */
export function refusedRequests(random: Random): RequestCase[] {
  return Object.entries(BAD).map((one, index) => make(one, `/m${index}-0`, random));
}

/** How many kinds there are. */
export const REQUEST_KINDS = all.length;

/** What a client sends on one connection, as `/mN-1`, `/mN-2` …: good ones, and maybe one that is not, with more behind it. */
export function requestsOf(number: number, random: Random): RequestCase[] {
  const good = random.once(3)
    ? Object.entries(GOOD).filter(([what]) => what === STORED)
    : Object.entries(GOOD);
  const count = 1 + random.below(3);
  const at = random.below(count + 1);
  // Each kind in its turn, so that a few hundred cases have met them all.
  const chosen = all[number % all.length];
  return Array.from({ length: count + 1 }, (_, index) => {
    const kind = index === at && chosen !== undefined ? chosen : random.pick(good);
    return make(kind, `/m${number}-${index}`, random);
  });
}
