/**
 * The HTTP parser of Node's own client, for responses.
 *
 * `node:_http_common` exports it without documenting it, and from Node 22.19 and 24.6 on its documentation says not to rely on the
 * module (DEP0199, no warning at run time). So nothing here does: what is not there, or does not read a response as Node 20 does,
 * is not used, and every request goes out with Node's documented client (upstream.ts).
 */
import { createRequire } from 'node:module';

/** The head of a response. */
export interface ResponseStart {
  readonly status: number;
  readonly statusMessage: string;
  readonly httpVersion: string;
  /** Names and values alternating, as they came. */
  readonly rawHeaders: string[];
}

/** One parser; the numbers are those of {@link ResponseParserClass}. */
export interface ResponseParser {
  /** Some fields of a header section with very many of them, or of trailers: names and values alternating. */
  1: (fields: string[]) => void;
  /** `fields` is undefined where all have been given before; returns 1 where no body follows, 2 after an upgrade. */
  2: (
    versionMajor: number,
    versionMinor: number,
    fields: string[] | undefined,
    method: undefined,
    url: undefined,
    status: number,
    statusMessage: string,
    upgrade: boolean,
    shouldKeepAlive: boolean,
  ) => 0 | 1 | 2;
  3: (content: Buffer) => void;
  4: () => void;
  /** Prepares for a new message; of all header sections `maxHeaderSize` bytes at most. */
  initialize(type: 2, resource: object, maxHeaderSize: number): void;
  /** Bytes that were parsed, or what is wrong with them. */
  execute(bytes: Buffer): number | Error;
  /** No byte follows: what is wrong with that. */
  finish(): Error | undefined;
  /** Frees it; not while it parses. */
  close(): void;
}

export interface ResponseParserClass {
  readonly RESPONSE: 2;
  readonly kOnHeaders: 1;
  readonly kOnHeadersComplete: 2;
  readonly kOnBody: 3;
  readonly kOnMessageComplete: 4;
  new (): ResponseParser;
}

const HEADER_BYTES = 1024;
const GOOD = 'HTTP/1.1 200 Yes\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nC: d\r\n\r\n';
const BAD = 'HTTP/1.1 200 Yes\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n';
const PART = 'HTTP/1.1 200 Y';
/** What is read of {@link GOOD}. */
const READ = [
  ['head', 1, 1, ['A', 'b', 'Transfer-Encoding', 'chunked'], 200, 'Yes', true],
  ['content', 'ok'],
  ['fields', ['C', 'd']],
  ['end'],
];

/** Whether the parser calls what it is expected to call, and is strict. */
function reads(Parser: ResponseParserClass): boolean {
  const parser = new Parser();
  const read: unknown[] = [];
  parser[Parser.kOnHeaders] = (fields) => void read.push(['fields', fields]);
  parser[Parser.kOnHeadersComplete] = (
    major,
    minor,
    fields,
    _method,
    _url,
    status,
    reason,
    _up,
    persists,
  ) => {
    read.push(['head', major, minor, fields, status, reason, persists]);
    return 0;
  };
  parser[Parser.kOnBody] = (content) => void read.push(['content', content.toString()]);
  parser[Parser.kOnMessageComplete] = () => void read.push(['end']);
  const parse = (text: string): unknown => {
    parser.initialize(Parser.RESPONSE, {}, HEADER_BYTES);
    return parser.execute(Buffer.from(text));
  };
  const whole = parse(GOOD) === GOOD.length && parser.finish() === undefined;
  const good = whole && JSON.stringify(read) === JSON.stringify(READ);
  const strict = parse(BAD) instanceof Error && parse(PART) === PART.length;
  const firm = strict && parser.finish() instanceof Error;
  parser.close();
  return good && firm;
}

function find(): ResponseParserClass | null {
  try {
    const common = createRequire(import.meta.url)('node:_http_common') as { HTTPParser: ResponseParserClass };
    return reads(common.HTTPParser) ? common.HTTPParser : null;
  } catch {
    return null;
  }
}

/** `null` where this Node.js has none that can be used. */
export const responseParser: ResponseParserClass | null = find();
