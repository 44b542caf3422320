/** What clients see of the cache, over real connections. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until, type AskOptions } from './harness.props.js';

const LONG_AGO = 'Sat, 01 Jan 2000 00:00:00 GMT';

let h: Harness;
beforeEach(() => {
  h = new Harness();
});
afterEach(() => h.close());

/** An origin that numbers its responses, with the given fields. */
async function numbered(
  fields: Record<string, string | string[]>,
  body: (count: number, request: IncomingMessage) => string = (count) => `#${count}`,
): Promise<{ front: number; asked: () => number }> {
  let count = 0;
  const origin = await h.origin((request, response) => {
    count++;
    request.resume();
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
    response.end(body(count, request));
  });
  return { front: await h.front(origin), asked: () => count };
}

describe('storing', () => {
  it('answers the second request, with Age, Via and ttl', async () => {
    const { front, asked } = await numbered({ 'Cache-Control': 'max-age=100' });
    const miss = await h.ask(front, '/');
    expect(miss.headers['cache-status']).toBe('p1; fwd=uri-miss; fwd-status=200; stored');
    h.clock.advance(40_000);
    const hit = await h.ask(front, '/');
    expect(hit.body.toString()).toBe('#1');
    expect(Number(hit.headers.age)).toBeGreaterThanOrEqual(40);
    expect(hit.headers.via).toBe('1.1 p1');
    expect(hit.headers['cache-status']).toMatch(/^p1; hit; ttl=(59|60)$/);
    expect(hit.headers['content-length']).toBe('2');
    expect(asked()).toBe(1);
    h.clock.advance(70_000);
    expect((await h.ask(front, '/')).body.toString()).toBe('#2');
  });

  it('appends to Via and Cache-Status of the nodes below', async () => {
    const below = new Harness();
    try {
      const origin = await h.origin((_request, response) =>
        response.setHeader('Cache-Control', 'max-age=9').end('x'),
      );
      const front = await h.front(await below.front(origin));
      const answer = await h.ask(front, '/');
      expect(answer.headers.via).toBe('1.1 p1, 1.1 p1');
      expect(answer.headers['cache-status']).toBe(
        'p1; fwd=uri-miss; fwd-status=200; stored, p1; fwd=uri-miss; fwd-status=200; stored',
      );
      expect((await h.ask(front, '/')).headers['cache-status']).toMatch(/, p1; hit; ttl=\d+$/);
    } finally {
      await below.close();
    }
  });

  it.each<[string, Record<string, string | string[]>, AskOptions]>([
    ['no freshness', {}, {}],
    ['No-Store in capitals', { 'Cache-Control': 'No-Store, max-age=60' }, {}],
    ['Private', { 'Cache-Control': 'Private, max-age=60' }, {}],
    ['NO-CACHE', { 'Cache-Control': 'max-age=60, NO-CACHE' }, {}],
    ['a directive in quotes', { 'Cache-Control': 'private="a, max-age=60"' }, {}],
    ['a malformed age', { 'Cache-Control': 'max-age=60s' }, {}],
    ['two ages', { 'Cache-Control': ['max-age=60', 'max-age=10'] }, {}],
    ['Set-Cookie and a guess', { 'Last-Modified': LONG_AGO, 'Set-Cookie': 'a=b' }, {}],
    ['Vary: *', { 'Cache-Control': 'max-age=60', Vary: 'Accept, *' }, {}],
    ['a malformed Expires', { Expires: 'Thu, 01 Jan 2099 00:00' }, {}],
    ['Authorization', { 'Cache-Control': 'max-age=60' }, { headers: { authorization: 'Basic eA==' } }],
    ['a cookie and a guess', { 'Last-Modified': LONG_AGO, ETag: 'none' }, { headers: { cookie: 'a=b' } }],
    [
      'no-store of the client',
      { 'Cache-Control': 'max-age=60' },
      { headers: { 'cache-control': 'No-Store' } },
    ],
    ['a body', { 'Cache-Control': 'max-age=60' }, { body: 'x', headers: { 'content-length': 1 } }],
    ['POST', { 'Cache-Control': 'max-age=60' }, { method: 'POST' }],
    ['another routing field', { 'Cache-Control': 'max-age=60' }, { headers: { 'x-forwarded-host': 'evil' } }],
    ['too large', { 'Cache-Control': 'max-age=60', 'X-Filler': 'x' }, { headers: { 'x-large': '1' } }],
  ])('never with %s', async (name, fields, options) => {
    const large = name === 'too large';
    const { front, asked } = await numbered(fields, (count) =>
      large ? 'x'.repeat(9 * 2 ** 20) : `#${count}`,
    );
    for (let round = 1; round <= 2; round++) {
      await h.ask(front, '/', options);
      expect(asked()).toBe(round);
    }
    expect(h.stat('entries')).toBe(0);
  });

  it('keeps destinations apart, whatever Host says', async () => {
    const { front } = await numbered({ 'Cache-Control': 'max-age=60' }, () => 'real');
    const evil = await h.origin((_request, response) =>
      response.setHeader('Cache-Control', 'max-age=60').end('evil'),
    );
    const evilFront = await h.front(evil, '192.0.2.66');
    expect((await h.ask(evilFront, '/')).body.toString()).toBe('evil');
    expect((await h.ask(front, '/')).body.toString()).toBe('real');
    expect((await h.ask(evilFront, '/')).body.toString()).toBe('evil');
  });

  it('keeps hosts, queries and variants apart', async () => {
    const { front, asked } = await numbered({ 'Cache-Control': 'max-age=60', Vary: 'Accept-Language' });
    const ask = (path: string, host: string, language: string): Promise<unknown> =>
      h.ask(front, path, { headers: { host, 'accept-language': language } });
    for (let round = 0; round < 2; round++) {
      await ask('/', 'a', 'de');
      await ask('/', 'b', 'de');
      await ask('/?', 'a', 'de');
      await ask('/', 'A', 'en');
      expect(asked()).toBe(4);
    }
  });

  it('forgets what an unsafe request may have changed', async () => {
    const { front } = await numbered({ 'Cache-Control': 'max-age=60' });
    await h.ask(front, '/');
    expect((await h.ask(front, '/')).body.toString()).toBe('#1');
    await h.ask(front, '/', { method: 'POST', body: 'x' });
    expect((await h.ask(front, '/')).body.toString()).toBe('#3');
  });

  it('does not store what was fetched while an unsafe request passed', async () => {
    let held: ServerResponse | undefined;
    const origin = await h.origin((request, response) => {
      request.resume();
      if (request.method === 'POST') response.end();
      else if (held === undefined)
        (held = response).writeHead(200, { 'Cache-Control': 'max-age=60' }).write('old');
      else response.end('new');
    });
    const front = await h.front(origin);
    const first = h.ask(front, '/');
    await until(() => held !== undefined && h.stat('inFlight') === 1);
    await h.ask(front, '/', { method: 'POST' });
    held?.end();
    expect((await first).body.toString()).toBe('old');
    expect((await h.ask(front, '/')).body.toString()).toBe('new');
  });

  it('chunked responses too, but not those with trailers', async () => {
    let count = 0;
    const origin = await h.origin((request, response) => {
      response.writeHead(200, { 'Cache-Control': 'max-age=60' });
      response.write('a');
      if (request.url === '/t') response.addTrailers({ 'X-T': String(++count) });
      setImmediate(() => response.end('b'));
    });
    const front = await h.front(origin);
    expect((await h.ask(front, '/')).body.toString()).toBe('ab');
    const hit = await h.ask(front, '/');
    expect(hit.body.toString()).toBe('ab');
    expect(hit.headers['content-length']).toBe('2');
    await h.ask(front, '/t');
    expect((await h.ask(front, '/t')).trailers).toEqual({ 'x-t': '2' });
  });

  it('answers HEAD and conditions from a stored GET', async () => {
    const { front, asked } = await numbered({ 'Cache-Control': 'max-age=60', ETag: '"v1"' });
    await h.ask(front, '/', { method: 'HEAD' });
    expect(h.stat('entries')).toBe(0);
    await h.ask(front, '/');
    const head = await h.ask(front, '/', { method: 'HEAD' });
    expect(head.headers['content-length']).toBe('2');
    expect(head.body.length).toBe(0);
    const same = await h.ask(front, '/', { headers: { 'if-none-match': '"v0", W/"v1"' } });
    expect(same.status).toBe(304);
    expect(same.headers.etag).toBe('"v1"');
    expect((await h.ask(front, '/', { headers: { 'if-none-match': '"v2"' } })).status).toBe(200);
    expect(asked()).toBe(2);
  });

  it('honours the client: no-cache, max-age, min-fresh, only-if-cached', async () => {
    const { front } = await numbered({ 'Cache-Control': 'max-age=60' });
    const ask = async (directive: string): Promise<string> => {
      const answer = await h.ask(front, '/', { headers: { 'cache-control': directive } });
      return answer.status === 504 ? '504' : answer.body.toString();
    };
    expect(await ask('only-if-cached')).toBe('504');
    expect(await ask('max-age=60')).toBe('#1');
    expect(await ask('only-if-cached')).toBe('#1');
    expect(await ask('No-Cache')).toBe('#2');
    h.clock.advance(10_000);
    expect(await ask('max-age=30')).toBe('#2');
    expect(await ask('max-age=5')).toBe('#3');
    expect(await ask('min-fresh=70')).toBe('#4');
    expect((await h.ask(front, '/', { headers: { pragma: 'no-cache' } })).body.toString()).toBe('#5');
  });
});

describe('validating', () => {
  /** Answers 304 to the current tag. */
  async function tagged(state: {
    tag: string;
    extra?: Record<string, string>;
  }): Promise<{ front: number; log: string[] }> {
    const log: string[] = [];
    const origin = await h.origin((request, response) => {
      const condition = request.headers['if-none-match'];
      log.push(condition ?? '-');
      response.setHeader('Cache-Control', 'max-age=10').setHeader('ETag', state.tag);
      for (const [name, value] of Object.entries(state.extra ?? {})) response.setHeader(name, value);
      if (condition === state.tag) response.writeHead(304).end();
      else response.end(`body of ${state.tag}`);
    });
    return { front: await h.front(origin), log };
  }

  it('a 304 makes a stale response fresh again, with its new fields', async () => {
    const state: { tag: string; extra?: Record<string, string> } = { tag: '"a"' };
    const { front, log } = await tagged(state);
    await h.ask(front, '/');
    h.clock.advance(20_000);
    state.extra = { 'X-New': 'yes' };
    const validated = await h.ask(front, '/');
    expect(validated.status).toBe(200);
    expect(validated.body.toString()).toBe('body of "a"');
    expect(validated.headers['x-new']).toBe('yes');
    expect(validated.headers['cache-status']).toBe('p1; fwd=stale; fwd-status=304; stored');
    expect(Number(validated.headers.age)).toBeLessThanOrEqual(20);
    expect(log).toEqual(['-', '"a"']);
    expect(h.stat('revalidations')).toBe(1);
  });

  it('a 200 replaces it', async () => {
    const state = { tag: '"a"' };
    const { front, log } = await tagged(state);
    await h.ask(front, '/');
    h.clock.advance(20_000);
    state.tag = '"b"';
    expect((await h.ask(front, '/')).body.toString()).toBe('body of "b"');
    expect(log).toEqual(['-', '"a"']);
  });

  it('a 304 that brings no-store is passed on once and ends the storing', async () => {
    const state: { tag: string; extra?: Record<string, string> } = { tag: '"a"' };
    const { front } = await tagged(state);
    await h.ask(front, '/');
    h.clock.advance(20_000);
    state.extra = { 'Cache-Control': 'no-store', 'X-New': 'y' };
    expect((await h.ask(front, '/')).headers['x-new']).toBe('y');
    expect(h.stat('entries')).toBe(0);
  });

  it('a client’s own condition goes to the origin when there is nothing fresh', async () => {
    const { front, log } = await tagged({ tag: '"a"' });
    expect((await h.ask(front, '/', { headers: { 'if-none-match': '"a"' } })).status).toBe(304);
    expect(log).toEqual(['"a"']);
    expect(h.stat('entries')).toBe(0);
  });

  it('a 304 about another representation is not believed: the origin is asked in full', async () => {
    let count = 0;
    const origin = await h.origin((request, response) => {
      count++;
      response.setHeader('Cache-Control', 'max-age=10').setHeader('ETag', `"${count}"`);
      if (request.headers['if-none-match'] !== undefined) response.writeHead(304).end();
      else response.end(`full ${count}`);
    });
    const front = await h.front(origin);
    await h.ask(front, '/');
    h.clock.advance(60_000);
    expect((await h.ask(front, '/')).body.toString()).toBe('full 3');
  });
});
