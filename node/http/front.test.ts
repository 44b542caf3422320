import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pipelineOf, REGISTERED } from '../../content/steps.js';
import { Harness, ShiftedClock, until } from './harness.props.js';

/** Stands still but for what a test adds, so that ages are the same whoever computes them. */
class StillClock extends ShiftedClock {
  readonly #start = Date.UTC(2026, 0, 1);
  #passed = 0;
  override now(): number {
    return this.#start + this.#passed;
  }
  override monotonic(): number {
    return 1000 + this.#passed;
  }
  override advance(milliseconds: number): void {
    this.#passed += milliseconds;
  }
}

const LARGE = Buffer.alloc(700_000, 'abcdefg');

const RESOURCES: Record<string, { status?: number; headers: Record<string, string>; body: string | Buffer }> =
  {
    '/plain': { headers: { 'cache-control': 'max-age=1000' }, body: 'plain' },
    '/empty': { headers: { 'cache-control': 'max-age=1000' }, body: '' },
    '/block': { headers: { 'cache-control': 'max-age=1000', etag: '"b"' }, body: 'x'.repeat(20_000) },
    '/large': { headers: { 'cache-control': 'max-age=1000', etag: '"l"' }, body: LARGE },
    '/gone': { status: 404, headers: { 'cache-control': 'max-age=50' }, body: 'not here' },
    '/short': { headers: { 'cache-control': 'max-age=5', etag: '"s"' }, body: 'short' },
    '/behind': { headers: { 'cache-control': 'max-age=5, stale-while-revalidate=20' }, body: 'behind' },
    '/vary': { headers: { 'cache-control': 'max-age=1000', vary: 'accept-language' }, body: 'by language' },
    '/mine': { headers: { 'cache-control': 'private, max-age=1000' }, body: 'mine' },
    '/never': { headers: { 'cache-control': 'no-store' }, body: 'never' },
    '/public': { headers: { 'cache-control': 'public, max-age=1000' }, body: 'for all' },
    '/guess': { headers: { 'last-modified': 'Thu, 01 Jan 2015 00:00:00 GMT' }, body: 'guess' },
    '/file': {
      headers: { 'cache-control': 'max-age=9', 'content-disposition': 'attachment; filename="\xe4.txt"' },
      body: 'file',
    },
    '/chunks': {
      headers: { 'cache-control': 'max-age=1000', 'transfer-encoding': 'chunked' },
      body: 'chunks',
    },
    '/cookie': { headers: { 'cache-control': 'max-age=9', 'set-cookie': 'a=b' }, body: 'cookie' },
    '/json': {
      headers: { 'cache-control': 'max-age=9', 'content-type': 'application/json' },
      body: '{ "a":  1 }',
    },
    '/any?a': { headers: { 'cache-control': 'max-age=9', 'no-vary-search': 'params' }, body: 'any' },
    '/any?b': { headers: { 'cache-control': 'max-age=5', 'no-vary-search': 'params' }, body: 'any' },
    '/status': { headers: { 'cache-control': 'max-age=9', 'cache-status': 'x; hit' }, body: 'status' },
  };

let h: Harness;
let origin: number;
let asked: string[];
const open: Client[] = [];

/** A connection that is kept; takes one response after the other out of what comes. */
class Client {
  readonly #socket: Socket;
  #text = '';
  #wake: () => void = () => undefined;
  over = false;

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (text: string) => {
      this.#text += text;
      this.#wake();
    });
    this.#socket.on('close', () => {
      this.over = true;
      this.#wake();
    });
    open.push(this);
  }

  send(text: string): void {
    this.#socket.write(text, 'latin1');
  }

  /** The next response: as its framing says, or with `wanted` so many bytes; all of it when the connection ends. */
  async response(head = false): Promise<string> {
    for (;;) {
      const length = lengthOf(this.#text, head);
      if (length !== undefined && this.#text.length >= length) return this.#take(length);
      if (this.over) return this.#take(this.#text.length);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async ask(request: string): Promise<string> {
    this.send(request);
    return this.response(request.startsWith('HEAD'));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(length: number): string {
    const taken = this.#text.slice(0, length);
    this.#text = this.#text.slice(length);
    return taken;
  }
}

/** Bytes of the first response in `text`; undefined while that is not known. */
function lengthOf(text: string, toHead: boolean): number | undefined {
  const end = text.indexOf('\r\n\r\n') + 4;
  if (end < 4) return undefined;
  const head = text.slice(0, end);
  if (toHead || /^HTTP\/1\.1 (204|304)/.test(head)) return end;
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return end + Number(length);
  if (!/\r\ntransfer-encoding: chunked/i.test(head)) return Infinity;
  const last = text.indexOf('\r\n0\r\n\r\n', end - 2);
  return last < 0 ? undefined : last + 7;
}

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: example.test\r\n${more}\r\n`;
/** Without the date of what the node says itself, whose clock is not the test's. */
const undated = (text: string): string => text.replace(/\r\nDate: (?!Thu, 01 Jan 2026)[^\r]*/, '');
const answered = (): number => (h.service.status()['front'] as { answered: number }).answered;

/** A connection on which a request has been answered, so that the front may answer the next. */
async function primed(): Promise<Client> {
  const client = new Client(await h.front(origin));
  expect(await client.ask(get('/plain'))).toContain(' 200 ');
  return client;
}

const CONTENT = { kept: 2 ** 20, largest: 2 ** 18, timeout: 10_000, processes: 1, memory: 2 ** 29 };

async function setUp(cacheBytes?: number): Promise<void> {
  h = new Harness({}, cacheBytes, 0, { clock: new StillClock(), content: CONTENT });
  asked = [];
  origin = await h.origin((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
    const found = RESOURCES[request.url ?? ''] ?? { status: 404, headers: {}, body: 'no such thing' };
    for (const [name, value] of Object.entries(found.headers)) response.setHeader(name, value);
    if (
      request.headers['if-none-match'] !== undefined &&
      found.headers['etag'] === request.headers['if-none-match']
    ) {
      response.writeHead(304).end();
      return;
    }
    if (found.headers['transfer-encoding'] === undefined) {
      response.setHeader('Content-Length', Buffer.byteLength(found.body));
    }
    response.writeHead(found.status ?? 200).end(found.body);
  });
}
beforeEach(() => setUp());
afterEach(async () => {
  for (const client of open.splice(0)) client.close();
  await h.close();
});

describe('a repeated request', () => {
  it('is answered before the parser, as the parser would have it answered', async () => {
    const client = await primed();
    await client.ask(get('/plain'));
    const before = answered();
    const from = await client.ask(get('/plain'));
    expect(answered()).toBe(before + 1);
    expect(from).toBe(await new Client(await h.front(origin)).ask(get('/plain')));
    expect(asked).toEqual(['GET /plain']);
    expect(h.stat('requests')).toBe(4);
    expect(h.stat('hits')).toBe(3);
  });

  it('gets older', async () => {
    const client = await primed();
    await client.ask(get('/plain'));
    h.clock.advance(7000);
    expect(await client.ask(get('/plain'))).toMatch(/\r\nAge: 7\r\n[^]*Cache-Status: p1; hit; ttl=993\r\n/);
    h.clock.advance(992_000);
    expect(await client.ask(get('/plain'))).toContain('hit; ttl=1\r\n');
    h.clock.advance(1000);
    expect(await client.ask(get('/plain'))).toContain('fwd=stale');
    expect(answered()).toBe(3);
  });

  it('is not answered with what has been invalidated', async () => {
    const client = await primed();
    await client.ask(get('/plain'));
    await client.ask('POST /plain HTTP/1.1\r\nHost: example.test\r\nContent-Length: 2\r\n\r\nhi');
    expect(await client.ask(get('/plain'))).toContain('fwd=uri-miss');
  });

  it('is not answered with what has made room', async () => {
    await h.close();
    await setUp(80_000);
    const client = await primed();
    await client.ask(get('/plain'));
    for (let index = 0; index < 60; index++)
      await client.ask(get('/plain', `X: ${index}\r\n`).replace('test', `t${index}`));
    expect(await client.ask(get('/plain'))).toContain('fwd=uri-miss');
  });

  it('is not answered to who is asked for to end the connection, or at a drain', async () => {
    const client = await primed();
    const closing = get('/plain', 'Connection: close\r\n');
    expect(await client.ask(closing)).toContain('Connection: close');
    await until(() => client.over);
    const kept = await primed();
    h.service.drain();
    await until(() => kept.over);
    expect(answered()).toBe(0);
  });
});

it('a connection with a pipeline gets what that makes, whatever others were given', async () => {
  const client = await primed();
  for (let time = 0; time < 3; time++) expect(await client.ask(get('/json'))).toContain('{ "a":  1 }');
  const before = answered();
  expect(before).toBeGreaterThan(0);
  h.pipeline = pipelineOf([REGISTERED.minify]);
  const piped = await primed();
  for (let time = 0; time < 2; time++) expect(await piped.ask(get('/json'))).toContain('{"a":1}');
  expect(answered()).toBe(before);
});

describe('pipelined requests', () => {
  it('are answered in order, known and unknown', async () => {
    const client = await primed();
    for (const path of ['/plain', '/block', '/large'])
      for (let i = 0; i < 3; i++) await client.ask(get(path));
    const before = answered();
    const paths = ['/plain', '/block', '/plain', '/large', '/plain', '/never', '/block', '/plain'];
    client.send(paths.map((path) => get(path)).join(''));
    for (const path of paths) {
      const response = await client.response();
      expect(response.slice(response.indexOf('\r\n\r\n') + 4)).toBe(String(RESOURCES[path]?.body));
    }
    expect(answered()).toBeGreaterThan(before);
  });

  it('and cut anywhere, are answered as in one piece', async () => {
    const all = [
      get('/plain'),
      get('/gone'),
      'POST /x HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\nGET /',
      get('/plain'),
    ];
    for (const one of all) await (await primed()).ask(one);
    const text = all.join('').repeat(2);
    const run = async (cuts: readonly number[]): Promise<string[]> => {
      const client = await primed();
      let from = 0;
      for (const cut of [...cuts.map((part) => part % text.length).sort((a, b) => a - b), text.length]) {
        client.send(text.slice(from, cut));
        from = cut;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const found: string[] = [];
      for (let index = 0; index < 2 * all.length; index++) found.push(await client.response());
      return found;
    };
    const whole = await run([]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { maxLength: 6 }), async (cuts) => {
        expect(await run(cuts)).toEqual(whole);
      }),
      { numRuns: 15 },
    );
  });
});

describe('nothing is learned from', () => {
  it('the end of another header section', async () => {
    const client = await primed();
    const bait = get('/plain');
    client.send('GET /gone HTTP/1.1\r\nX: ');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await client.ask(bait)).toContain(' 404 ');
    expect(await client.ask(bait)).toContain(' 200 ');
    expect(await client.ask(bait)).toContain(' 200 ');
  });

  it('content that looks like a request', async () => {
    const client = await primed();
    const inner = get('/gone');
    const before = h.stat('requests');
    client.send(`POST /plain HTTP/1.1\r\nHost: example.test\r\nContent-Length: ${inner.length}\r\n\r\n`);
    await until(() => h.stat('requests') > before);
    expect(await client.ask(inner)).toContain('fwd=method');
    expect(h.service.status()['front']).toMatchObject({ answered: 0, remembered: 0 });
  });

  it('lines that end with LF alone', async () => {
    const client = await primed();
    const odd = `GET /plain HTTP/1.1\nHost: example.test\n\n${get('/plain')}`;
    client.send(odd);
    await client.response();
    await until(() => client.over || h.stat('requests') > 1);
    expect(h.service.status()['front']).toMatchObject({ answered: 0, remembered: 0 });
  });
});

it('a client that takes its time gets all of a large response', async () => {
  const client = await primed();
  await client.ask(get('/large'));
  await client.ask(get('/large'));
  const slow = h.connect(await h.front(origin), get('/plain') + get('/large').repeat(20));
  slow.pause();
  await new Promise((resolve) => setTimeout(resolve, 50));
  slow.write(get('/large'));
  let bytes = 0;
  slow.on('data', (chunk: Buffer) => (bytes += chunk.length));
  slow.resume();
  await until(() => bytes > 21 * LARGE.length);
  expect(asked).toEqual(['GET /plain', 'GET /large']);
});

describe('over random requests', () => {
  const oneOf = (...choices: string[]): fc.Arbitrary<string> => fc.constantFrom(...choices);
  const field = oneOf(
    'Accept-Language: de\r\n',
    'Accept-Language: en, de;q=0.5\r\n',
    'accept: */*\r\n',
    'Cookie: a=b\r\n',
    'Authorization: Basic eDp5\r\n',
    'Authorization: Negotiate abc\r\n',
    'Range: bytes=1-3\r\n',
    'If-None-Match: "b"\r\n',
    'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT\r\n',
    'Cache-Control: no-cache\r\n',
    'Cache-Control: max-age=3\r\n',
    'Cache-Control: max-stale\r\n',
    'Cache-Control: only-if-cached\r\n',
    'Pragma: no-cache\r\n',
    'Connection: close\r\n',
    'Connection: keep-alive\r\n',
    'Connection: X-Y\r\n',
    'Content-Length: 0\r\n',
    'X-Forwarded-Host: x\r\n',
    'Host: twice\r\n',
    'Bad Name: x\r\n',
    'Via: 1.1 before\r\n',
    'TE: trailers\r\n',
  );
  const request = fc
    .record({
      method: oneOf('GET', 'GET', 'GET', 'GET', 'HEAD'),
      path: fc.constantFrom(...Object.keys(RESOURCES)),
      host: oneOf('Host: example.test\r\n', 'host:EXAMPLE.test\r\n', 'Host: other.test\r\n', ''),
      version: oneOf('1.1', '1.1', '1.1', '1.0'),
      fields: fc.array(field, { maxLength: 2 }),
    })
    .map(
      ({ method, path, host, version, fields }) =>
        `${method} ${path} HTTP/${version}\r\n${host}${fields.join('')}\r\n`,
    );
  const step = fc.record({ request, seconds: fc.constantFrom(0, 0, 1, 4, 30) });

  it('the front and the parser give the same bytes', async () => {
    let fronted = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 10 }), async (steps) => {
        const port = await h.front(origin);
        let kept = await primed();
        for (const { request: text, seconds } of steps) {
          h.clock.advance(seconds * 1000);
          // Whatever it stores or renews, it has before the others.
          for (let warm = 0; warm < 2; warm++) await new Client(port).ask(text);
          await until(() => h.stat('inFlight') === 0);
          // The first request of a connection is always the parser's.
          const strict = undated(await new Client(port).ask(text));
          for (let again = 0; again < 3; again++) {
            if (kept.over) kept = await primed();
            expect(undated(await kept.ask(text))).toBe(strict);
            if (/\r\nConnection: close\r\n/.test(strict)) await until(() => kept.over);
          }
          if (text.includes('Negotiate')) kept = await primed(); // it has authenticated the connection
        }
        fronted = answered();
      }),
      { numRuns: 20 },
    );
    expect(fronted).toBeGreaterThan(10);
  });
});
