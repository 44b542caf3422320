/**
 * A reader of HTTP/1.1 that takes nothing but what RFC 9112 lets a sender write. It shares no code with the node: what it
 * makes of the same bytes is what the node must have meant.
 */

export interface WireMessage {
  /** The request line or the status line. */
  readonly start: string;
  /** Values by lower-case name. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
  readonly body: string;
  readonly trailers: number;
  /** Whether its end has come. */
  readonly complete: boolean;
}

/** Bytes that no sender may write. */
export class NotHttp extends Error {
  override readonly name = 'NotHttp';
}

const REQUEST_LINE = /^[A-Z-]+ (?:\/[\x21-\x7e\x80-\xff]*|\*|https?:\/\/[\x21-\x7e]+) HTTP\/1\.1$/;
const STATUS_LINE = /^HTTP\/1\.1 [1-5]\d\d [\t\x20-\x7e\x80-\xff]*$/;
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
const CHUNK_LINE = /^([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e]*)?$/;

function readFields(lines: readonly string[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  for (const line of lines) {
    const [, name, value = ''] = FIELD_LINE.exec(line) ?? [];
    if (name === undefined) throw new NotHttp(`field line ${JSON.stringify(line)}`);
    const values = fields.get(name.toLowerCase());
    if (values === undefined) fields.set(name.toLowerCase(), [value]);
    else values.push(value);
  }
  return fields;
}

/** Text that is read from its start. */
class Wire {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get ended(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Up to `end`, which is skipped; `undefined` while that has not come. */
  until(end: string): string | undefined {
    const at = this.#text.indexOf(end, this.#at);
    if (at < 0) return undefined;
    const text = this.#text.slice(this.#at, at);
    this.#at = at + end.length;
    return text;
  }

  take(length: number): string {
    const text = this.#text.slice(this.#at, this.#at + length);
    this.#at += length;
    return text;
  }
}

interface Body {
  readonly body: string;
  readonly trailers: number;
  readonly complete: boolean;
}

/** RFC 9110, 6.5.1. */
const HEAD_ONLY = ['content-length', 'transfer-encoding', 'host', 'connection', 'authorization'];

function readTrailers(wire: Wire, body: string): Body {
  for (let trailers = 0; ; trailers++) {
    const line = wire.until('\r\n');
    if (line === undefined) return { body, trailers, complete: false };
    if (line === '') return { body, trailers, complete: true };
    const [name = ''] = readFields([line]).keys();
    if (HEAD_ONLY.includes(name)) throw new NotHttp(`trailer ${name}`);
  }
}

function readChunks(wire: Wire): Body {
  let body = '';
  for (;;) {
    const line = wire.until('\r\n');
    if (line === undefined) return { body, trailers: 0, complete: false };
    const [, digits] = CHUNK_LINE.exec(line) ?? [];
    if (digits === undefined) throw new NotHttp(`chunk ${JSON.stringify(line)}`);
    const size = Number.parseInt(digits, 16);
    if (size === 0) return readTrailers(wire, body);
    const content = wire.take(size);
    body += content;
    if (content.length < size) return { body, trailers: 0, complete: false };
    const end = wire.take(2);
    if (end.length < 2 && '\r\n'.startsWith(end)) return { body, trailers: 0, complete: false };
    if (end !== '\r\n') throw new NotHttp(`behind a chunk ${JSON.stringify(end)}`);
  }
}

/** RFC 9112 section 6.3; `close`: without a length, the content goes to the end of the connection. */
function readBody(wire: Wire, fields: WireMessage['fields'], close: boolean): Body {
  const codings = fields.get('transfer-encoding');
  const lengths = fields.get('content-length');
  if (codings !== undefined && lengths !== undefined) throw new NotHttp('two framings');
  if (codings !== undefined) {
    if (codings.length !== 1 || codings[0]?.toLowerCase() !== 'chunked')
      throw new NotHttp(`coding ${codings.join()}`);
    return readChunks(wire);
  }
  if (lengths === undefined) {
    return close
      ? { body: wire.take(Infinity), trailers: 0, complete: true }
      : { body: '', trailers: 0, complete: true };
  }
  if (lengths.length !== 1 || !/^\d{1,15}$/.test(lengths[0] ?? ''))
    throw new NotHttp(`length ${lengths.join()}`);
  const length = Number(lengths[0]);
  const body = wire.take(length);
  return { body, trailers: 0, complete: body.length === length };
}

function readHead(wire: Wire, line: RegExp): Pick<WireMessage, 'start' | 'fields'> | undefined {
  const head = wire.until('\r\n\r\n');
  if (head === undefined) return undefined;
  const [start = '', ...lines] = head.split('\r\n');
  if (!line.test(start)) throw new NotHttp(`start line ${JSON.stringify(start)}`);
  return { start, fields: readFields(lines) };
}

/** The requests in what an origin has received. */
export function readRequests(text: string): WireMessage[] {
  const wire = new Wire(text);
  const found: WireMessage[] = [];
  while (!wire.ended) {
    const head = readHead(wire, REQUEST_LINE);
    if (head === undefined) break;
    if (head.fields.get('host')?.length !== 1) throw new NotHttp('not one Host');
    found.push({ ...head, ...readBody(wire, head.fields, false) });
    if (found.at(-1)?.complete !== true) break;
  }
  return found;
}

export const statusOf = ({ start }: WireMessage): number => Number(start.split(' ')[1]);

/** The final responses in what a client has received; `methods` are those of its requests, in order. */
export function readResponses(text: string, methods: readonly string[]): WireMessage[] {
  const wire = new Wire(text);
  const found: WireMessage[] = [];
  while (!wire.ended) {
    const head = readHead(wire, STATUS_LINE);
    if (head === undefined) break;
    const status = Number(head.start.split(' ')[1]);
    if (status < 200) continue;
    const none = status === 204 || status === 304 || methods[found.length] === 'HEAD';
    const body = none ? { body: '', trailers: 0, complete: true } : readBody(wire, head.fields, true);
    found.push({ ...head, ...body });
    if (!body.complete) break;
  }
  return found;
}
