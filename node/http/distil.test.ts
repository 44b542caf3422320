/** Responses that go to the client as a pipeline makes them, and those that must not. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ContentReport } from '../../content/service.js';
import { pipelineOf, REGISTERED, type CommandStep, type ModuleStep } from '../../content/steps.js';
import { decode, encode } from '../../content/recode.js';
import { packageRoot } from '../../host/paths.js';
import { Harness, until, type Answer, type AskOptions } from './harness.props.js';

const LIMITS = { kept: 2 ** 20, largest: 256 * 1024, timeout: 10_000, processes: 2, memory: 512 * 2 ** 20 };

const command = (...words: string[]): CommandStep => ({
  kind: 'command',
  name: words[0] ?? '',
  types: ['text/plain'],
  vary: [],
  command: words,
  mediaType: undefined,
});

const example: ModuleStep = {
  kind: 'module',
  name: 'first-words',
  types: ['text/plain'],
  vary: [],
  path: join(packageRoot, 'examples/content/first-words.mjs'),
  version: '1',
  options: { words: 2 },
};

const JSON_TEXT = JSON.stringify({ a: [1, 2, 3], text: 'x  y' }, null, 4);
const JSON_SMALL = '{"a":[1,2,3],"text":"x  y"}';

let harness: Harness;
let port: number;
let fetched: string[];
let answer: { headers: Record<string, string>; body: string | Buffer };

/** One more connection, whose responses go through these steps. */
async function through(
  steps: Parameters<typeof pipelineOf>[0],
  path = '/',
  options: AskOptions = {},
): Promise<Answer> {
  harness.pipeline = pipelineOf(steps);
  return harness.ask(port, path, options);
}

const report = (): ContentReport => harness.service.content()!;

async function begin(limits: Partial<typeof LIMITS> = {}): Promise<void> {
  harness = new Harness({}, undefined, undefined, { content: { ...LIMITS, ...limits } });
  const origin = await harness.origin((request, response) => {
    fetched.push(`${request.method ?? ''} ${request.url ?? ''}`);
    response.writeHead(200, answer.headers).end(answer.body);
  });
  port = await harness.front(origin);
}

beforeEach(() => {
  fetched = [];
  answer = {
    headers: { 'content-type': 'application/json', 'cache-control': 'max-age=60', etag: '"v1"' },
    body: JSON_TEXT,
  };
});

describe('a response that may be transformed', () => {
  beforeAll(() => begin());
  afterAll(() => harness.close());

  it('is, once, and then comes from memory', async () => {
    const first = await through([REGISTERED.minify], '/once');
    expect(first.body.toString()).toBe(JSON_SMALL);
    expect(first.headers).toMatchObject({
      etag: expect.stringMatching(/^W\/"v1-[\w-]{16}"$/) as string,
      'content-length': String(JSON_SMALL.length),
      'accept-ranges': 'none',
      'cache-status': 'p1; fwd=uri-miss; fwd-status=200; stored; detail=transformed',
      via: '1.1 p1',
    });
    const second = await through([REGISTERED.minify], '/once');
    expect(second.body.toString()).toBe(JSON_SMALL);
    expect(second.headers['cache-status']).toMatch(/^p1; hit; ttl=\d+; detail=transformed$/);
    expect(second.headers.etag).toBe(first.headers.etag);
    expect(fetched).toEqual(['GET /once']);
    expect(report().steps).toMatchObject([{ name: 'minify', responses: 1, bytesOut: JSON_SMALL.length }]);
  });

  it('is not there for connections without a pipeline, which get the original of the same cache', async () => {
    harness.pipeline = undefined;
    const plain = await harness.ask(port, '/once');
    expect(plain.body.toString()).toBe(JSON_TEXT);
    expect(plain.headers.etag).toBe('"v1"');
  });

  it('is not modified for who has it, nor for who has the original', async () => {
    const { headers } = await through([REGISTERED.minify], '/once');
    const has = { 'if-none-match': headers.etag };
    const again = await through([REGISTERED.minify], '/once', { headers: has });
    expect([again.status, again.headers.etag, again.body.length]).toEqual([304, headers.etag, 0]);
    const original = await through([REGISTERED.minify], '/once', { headers: { 'if-none-match': '"v1"' } });
    expect([original.status, original.headers.etag]).toEqual([304, '"v1"']);
    const other = await through([REGISTERED.minify], '/once', { headers: { 'if-none-match': '"v2"' } });
    expect([other.status, other.body.toString()]).toEqual([200, JSON_SMALL]);
    // Nothing stored: the origin does not know the tag, and what it sends is what the client has.
    const elsewhere = await through([REGISTERED.minify], '/elsewhere', { headers: has });
    expect([elsewhere.status, elsewhere.body.length]).toEqual([304, 0]);
  });

  it('is validated with the tag of the original, and then still comes from memory', async () => {
    const { headers } = await through([REGISTERED.minify], '/stale');
    harness.clock.advance(120_000);
    const before = report().steps[0]?.responses;
    const again = await through([REGISTERED.minify], '/stale');
    expect([again.body.toString(), again.headers.etag]).toEqual([JSON_SMALL, headers.etag]);
    expect(fetched).toEqual(['GET /stale', 'GET /stale']);
    expect(report().steps[0]?.responses).toBe(before);
  });

  it('answers HEAD as it would GET', async () => {
    const { headers } = await through([REGISTERED.minify], '/once');
    const head = await through([REGISTERED.minify], '/once', { method: 'HEAD' });
    expect(head.headers).toMatchObject({ etag: headers.etag, 'content-length': headers['content-length'] });
    // Nothing is stored: what the content would come to is not known.
    const unknown = await through([REGISTERED.minify], '/head', { method: 'HEAD' });
    expect(unknown.headers).not.toHaveProperty('etag');
    expect(unknown.headers).not.toHaveProperty('content-length');
  });

  it('is for one client alone when it is private', async () => {
    answer.headers['cache-control'] = 'private, max-age=60';
    answer.headers['set-cookie'] = 'a=b';
    const { entries } = report().variants;
    for (const count of [1, 2]) {
      const { body, headers } = await through([REGISTERED.minify], '/private');
      expect(body.toString()).toBe(JSON_SMALL);
      expect(headers['set-cookie']).toEqual(['a=b']);
      expect(fetched).toHaveLength(count);
    }
    expect(report().variants.entries).toBe(entries);
  });

  it('goes through each step in order, be it a command or a module', async () => {
    answer = { headers: { 'content-type': 'text/plain' }, body: 'one   two   three   four' };
    const { body } = await through([command('tr', '-s', ' '), example], '/steps');
    expect(body.toString()).toBe('one two ');
    const [tr, words] = report().steps.slice(-2);
    expect([tr?.bytesOut, words?.bytesIn, words?.bytesOut]).toEqual([18, 18, 8]);
  });

  it('is transformed once for all who wait for it', async () => {
    answer = {
      headers: { 'content-type': 'text/plain', 'cache-control': 'max-age=60' },
      body: 'a  b'.repeat(99),
    };
    const before = report().steps.find(({ name }) => name === 'tr')?.responses ?? 0;
    const all = await Promise.all([1, 2, 3, 4].map(() => through([command('tr', '-s', ' ')], '/many')));
    expect(new Set(all.map(({ body }) => body.toString()))).toEqual(new Set(['a b'.repeat(99)]));
    expect(report().steps.find(({ name }) => name === 'tr')?.responses).toBe(before + 1);
  });
});

describe('a response with a content coding', () => {
  beforeAll(() => begin());
  afterAll(() => harness.close());
  const name = (id: number): string => createHash('sha256').update(String(id)).digest('base64');
  const rows = Array.from({ length: 400 }, (_, id) => ({ id, name: name(id), tags: [id % 7, id % 11] }));
  const text = JSON.stringify(rows, null, 4);
  const small = JSON.stringify(rows);

  function coded(coding: 'br' | 'zstd' | 'gzip' | 'deflate', body: string | Buffer = text): void {
    answer.body = encode(coding, Buffer.from(body));
    answer.headers = { ...answer.headers, 'content-encoding': coding };
  }

  it.each(['br', 'zstd', 'gzip', 'deflate'] as const)(
    'of %s is transformed inside it, once',
    async (coding) => {
      coded(coding);
      const asks = { headers: { 'accept-encoding': coding } };
      const made = (): number => report().steps.find(({ name }) => name === 'minify')?.responses ?? 0;
      const before = made();
      const [first, again] = [
        await through([REGISTERED.minify], `/${coding}`, asks),
        await through([REGISTERED.minify], `/${coding}`, asks),
      ];
      expect(first.headers).toMatchObject({
        'content-encoding': coding,
        'content-length': String(first.body.length),
        etag: expect.stringMatching(/^W\/"v1-[\w-]{16}"$/) as string,
        vary: 'Accept-Encoding',
        'accept-ranges': 'none',
      });
      expect(decode(coding, first.body, 2 ** 20).toString()).toBe(small);
      expect(first.body.length).toBeLessThan(answer.body.length);
      expect([again.body.equals(first.body), again.headers.etag]).toEqual([true, first.headers.etag]);
      expect([fetched.length, made() - before]).toEqual([1, 1]);
      const head = await through([REGISTERED.minify], `/${coding}`, { ...asks, method: 'HEAD' });
      expect(head.headers).toMatchObject({ etag: first.headers.etag, 'content-encoding': coding });
      const known = { ...asks.headers, 'if-none-match': first.headers.etag };
      const has = await through([REGISTERED.minify], `/${coding}`, { headers: known });
      expect([has.status, has.headers.vary]).toEqual([304, 'Accept-Encoding']);
    },
  );

  it('goes out in the best coding that the client takes, each with its own tag', async () => {
    coded('gzip');
    const ask = (value?: string): Promise<Answer> =>
      through([REGISTERED.minify], '/each', {
        headers: value === undefined ? {} : { 'accept-encoding': value },
      });
    const best = await ask('gzip, deflate, br');
    expect(best.headers['content-encoding']).toBe('br');
    expect(decode('br', best.body, 2 ** 20).toString()).toBe(small);
    const unsaid = await ask();
    expect(unsaid.headers['content-encoding']).toBe('gzip');
    expect(unsaid.headers.etag).not.toBe(best.headers.etag);
    const other = await ask('deflate, gzip;q=0.5');
    expect(other.headers['content-encoding']).toBe('deflate');
    expect(decode('deflate', other.body, 2 ** 20).toString()).toBe(small);
  });

  it('stays as it is for a client that takes no coding, and would get more bytes', async () => {
    coded('gzip');
    const before = report().untouched['no-gain'] ?? 0;
    const got = await through([REGISTERED.minify], '/bare', { headers: { 'accept-encoding': 'identity' } });
    expect([got.headers['content-encoding'], got.headers.etag]).toEqual(['gzip', '"v1"']);
    expect(got.body.equals(answer.body as Buffer)).toBe(true);
    expect(report().untouched['no-gain']).toBe(before + 1);
    const none = await through([REGISTERED.minify], '/none', { headers: { 'accept-encoding': '*;q=0' } });
    expect(none.body.equals(answer.body as Buffer)).toBe(true);
    expect(report().untouched.encoded).toBe(1);
  });

  it.each<[string, () => void]>([
    ['decoded-too-large', () => coded('br', JSON.stringify([' '.repeat(8 * LIMITS.largest)]))],
    ['undecodable', () => ((answer.headers['content-encoding'] = 'gzip'), undefined)],
    ['encoded', () => ((answer.headers['content-encoding'] = 'gzip, br'), undefined)],
    ['no-gain', () => coded('gzip', small)],
  ])('passes as it came where it is %s', async (why, prepare) => {
    prepare();
    const before = report().untouched[why as keyof ContentReport['untouched']] ?? 0;
    for (const round of [1, 2]) {
      const asks = { headers: { 'accept-encoding': 'gzip, br' } };
      const got = await through([REGISTERED.minify], `/coded/${why}`, asks);
      expect(got.body.equals(Buffer.from(answer.body))).toBe(true);
      expect([got.headers['content-encoding'], got.headers.etag]).toEqual([
        answer.headers['content-encoding'],
        '"v1"',
      ]);
      expect(report().untouched[why as keyof ContentReport['untouched']]).toBe(before + round);
    }
  });
});

describe('bytes that stay as they are', () => {
  beforeAll(() => begin());
  afterAll(() => harness.close());
  const sha = (body: Buffer | string): string => createHash('sha256').update(body).digest('hex');

  it.each<[string, Record<string, string>, AskOptions['headers']]>([
    ['no-transform', { 'cache-control': 'max-age=9, no-transform' }, {}],
    ['no-transform', {}, { 'cache-control': 'no-transform' }],
    ['signed', { 'repr-digest': 'sha-256=:AAAA:' }, {}],
    ['signed', { 'content-digest': 'sha-256=:AAAA:' }, {}],
    ['signed', { signature: 'sig=:AAAA:' }, {}],
    ['signed', {}, { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'script' }],
    ['encoded', { 'content-encoding': 'x-own' }, {}],
    ['attachment', { 'content-disposition': 'attachment; filename=a.json' }, {}],
    ['type', { 'content-type': 'application/octet-stream' }, {}],
    ['transformed', { 'cache-status': 'p2; hit; ttl=9; detail=transformed' }, {}],
    ['no-gain', { 'x-body': JSON_SMALL }, {}],
    ['too-large', { 'x-body': 'large' }, {}],
  ])('%s, whoever says it', async (why, response, request) => {
    const { 'x-body': given = JSON_TEXT, ...headers } = response;
    const body = given === 'large' ? JSON.stringify([' '.repeat(LIMITS.largest)], null, 1) : given;
    answer = { headers: { ...answer.headers, ...headers }, body };
    const before = report().untouched[why as keyof ContentReport['untouched']] ?? 0;
    const path = `/same/${encodeURIComponent(JSON.stringify([why, headers, request])).slice(0, 500)}`;
    for (const round of [1, 2]) {
      const got = await through([REGISTERED.minify], path, { headers: request ?? {} });
      expect([got.status, sha(got.body), got.headers.etag]).toEqual([200, sha(body), '"v1"']);
      expect(report().untouched[why as keyof ContentReport['untouched']]).toBe(before + round);
    }
  });

  it('a part is one of the original, whatever has been transformed', async () => {
    const { headers } = await through([REGISTERED.minify], '/part');
    const part = await through([REGISTERED.minify], '/part', { headers: { range: 'bytes=0-9' } });
    expect([part.status, part.body.toString(), part.headers.etag]).toEqual([
      206,
      JSON_TEXT.slice(0, 10),
      '"v1"',
    ]);
    const own = { range: 'bytes=10-', 'if-range': headers.etag };
    const whole = await through([REGISTERED.minify], '/part', { headers: own });
    expect([whole.status, whole.body.toString()]).toEqual([200, JSON_TEXT]);
  });

  it.each([
    ['fails', command('false')],
    ['is killed', command('sh', '-c', 'kill -9 $$')],
    ['prints too much', command('yes')],
    ['cannot be loaded', { ...example, path: '/nonexistent.mjs' }],
  ])('what a step makes of them that %s', async (_how, step) => {
    answer = {
      headers: { 'content-type': 'text/plain', 'cache-control': 'max-age=60' },
      body: 'a  b'.repeat(99),
    };
    const before = report().untouched.failed ?? 0;
    const got = await through([{ ...step, name: _how }], `/failing/${_how.replaceAll(' ', '-')}`);
    expect(got.body.toString()).toBe(answer.body);
    expect(report().untouched.failed).toBe(before + 1);
  });

  it('an answer to POST, and what is no 200', async () => {
    const got = await through([REGISTERED.minify], '/post', { method: 'POST', body: 'x' });
    expect(got.body.toString()).toBe(JSON_TEXT);
  });
});

describe('with other limits', () => {
  afterEach(() => harness.close());

  it('a step that takes too long is killed, with what it has started', async () => {
    await begin({ timeout: 1000 });
    const folder = mkdtempSync(join(tmpdir(), 'tpot-content-'));
    const file = join(folder, 'pid');
    answer = { headers: { 'content-type': 'text/plain' }, body: 'a  b' };
    const got = await through([command('sh', '-c', `sleep 1000 & echo $! > ${file}; wait`)], '/slow');
    expect(got.body.toString()).toBe('a  b');
    expect(report().untouched).toEqual({ timeout: 1 });
    const pid = readFileSync(file, 'utf8').trim();
    await until(() => !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')));
    rmSync(folder, { recursive: true });
  });

  it('a long body of unknown length passes as it comes', async () => {
    await begin({ largest: 1000 });
    const long = JSON.stringify(
      Array.from({ length: 20_000 }, (_, at) => at),
      null,
      2,
    );
    for (const control of ['max-age=60', 'no-store']) {
      answer = {
        headers: { ...answer.headers, 'cache-control': control, 'transfer-encoding': 'chunked' },
        body: long,
      };
      const got = await through([REGISTERED.minify], `/long/${control}`);
      expect(got.body.toString()).toBe(long);
    }
    expect(report().untouched).toEqual({ 'too-large': 2 });
  });

  it('no more is kept than there is room for', async () => {
    await begin({ kept: 8 * 1024 });
    for (let at = 0; at < 20; at++) {
      answer.body = JSON.stringify({ at, text: 'x'.repeat(500) }, null, 3);
      await through([REGISTERED.minify], `/kept/${at}`);
    }
    expect(report().variants.bytes).toBeLessThanOrEqual(8 * 1024);
    expect(report().variants.evictions).toBeGreaterThan(0);
  });
});
