/**
 * What users and strangers write, in user space: configuration files, first bytes, HTTP requests, the administration
 * socket. FUZZ_CASES and FUZZ_SEED say how many cases, and which.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AdminServer, socketPath, type AdminTarget } from '../node/admin.js';
import { askNode } from '../node/admin-client.js';
import { ConfigError, loadConfig } from '../node/config.js';
import { readFirstBytes } from '../node/first-bytes.js';
import { classify } from '../node/http/classify.js';
import { Harness } from '../node/http/harness.props.js';
import { readTlsStart } from '../wire/tls-hello.js';
import { countIn, fuzzRun, type Random } from './fuzz/random.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tpot-fuzz-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Cuts, doubles, swaps and replaces pieces of a text; `words` are put in. */
function spoiltText(random: Random, text: string, words: readonly string[]): string {
  let result = text;
  for (let edits = random.below(4); edits > 0; edits--) {
    const at = random.below(result.length + 1);
    const length = random.once(3) ? random.below(20) : random.below(3);
    const put = random.pick([
      '',
      random.pick(words),
      String.fromCharCode(random.below(256)),
      result.slice(at, at + 8),
    ]);
    result = result.slice(0, at) + put + result.slice(at + length);
  }
  return result;
}

const CONFIG = `name: p1
address: [198.18.1.1, "2001:db8::1"]
interfaces: [eth0, eth1]
rules:
  - { match: { dport: [80, 8080] }, action: cache }
  - { match: { src: 198.18.0.0/16, dst: [192.0.2.0/24], dport: 8000-8999 }, action: pass }
  - { match: { sni: ["*.example.net"], dport: 443 }, action: splice }
  - { action: relay }
hops: 3
trust: [198.18.0.0/15, "::/0"]
edge: true
udpEncapsulation: { port: 6080 }
cache: { memory: 64KiB }
limits: { connections: 1000, headersTimeout: 10s }
drainTimeout: 5m
`;
const CONFIG_WORDS = [
  '&a ',
  '*a',
  '!!binary ',
  '!!set ',
  '<<: ',
  '? ',
  '- ',
  '{',
  '}',
  '[',
  ']',
  ': ',
  '|',
  '>',
  '#',
  '\t',
  '\n',
  '\n  ',
  '---\n',
  '...\n',
  '%YAML 1.1\n',
  '~',
  'null',
  '.inf',
  '-1',
  '1e999',
  '0x',
  '"',
  "'",
  '__proto__: 1',
  'constructor',
  '9999999999999999999',
  '::',
  '/0',
  '/129',
  '5s',
  '1GiB',
];

it('configuration: refused with ConfigError or accepted, never another error', () => {
  const { random, cases, done } = fuzzRun('configuration', 20_000);
  const seen = new Map<string, number>();
  const file = join(folder, 'node.yaml');
  for (let at = 0; at < cases; at++) {
    const text = spoiltText(random, CONFIG, CONFIG_WORDS);
    writeFileSync(file, text);
    try {
      loadConfig(file);
      countIn(seen, 'accepted');
    } catch (error) {
      if (!(error instanceof ConfigError)) throw new Error(JSON.stringify(text), { cause: error });
      expect(error.problems.length).toBeGreaterThan(0);
      countIn(seen, 'refused');
    }
  }
  done(seen);
  expect(seen.size).toBe(2);
});

/** A ClientHello with server name and ALPN (RFC 8446 section 4.1.2). */
function clientHello(random: Random): Uint8Array {
  const vector = (size: 1 | 2, data: readonly number[]): number[] => [
    ...(size === 2 ? [data.length >> 8] : []),
    data.length & 0xff,
    ...data,
  ];
  const name = [...Buffer.from('www.example.net')];
  const extensions = [
    [0, 0, ...vector(2, vector(2, [0, ...vector(2, name)]))],
    [0, 16, ...vector(2, vector(2, vector(1, [0x68, 0x32])))],
    [0x0a, 0x0a, ...vector(2, [...random.bytes(random.below(9))])],
  ];
  const body = [3, 3, ...random.bytes(32), ...vector(1, []), ...vector(2, [0x13, 1]), ...vector(1, [0])];
  const message = [...body, ...vector(2, extensions.flat())];
  return Uint8Array.from([22, 3, 1, ...vector(2, [1, 0, ...vector(2, message)])]);
}

const REQUEST_LINES = [
  'GET / HTTP/1.1\r\n',
  'CONNECT a.example:443 HTTP/1.1\r\n',
  '\r\nPOST http://a/ HTTP/1.0\r\n',
];

it('first bytes: decided or waited for, and what was decided stays so', () => {
  const { random, cases, done } = fuzzRun('first bytes', 300_000);
  const seen = new Map<string, number>();
  for (let at = 0; at < cases; at++) {
    const bytes = random.once(2) ? Buffer.from(clientHello(random)) : Buffer.from(random.pick(REQUEST_LINES));
    for (let edits = random.below(4); edits > 0; edits--) {
      const where = random.below(bytes.length);
      bytes[where] = random.once(2) ? (bytes[where] ?? 0) + random.pick([-1, 1]) : random.below(256);
    }
    const whole = readFirstBytes(bytes, classify);
    const cut = readFirstBytes(bytes.subarray(0, random.below(bytes.length)), classify);
    countIn(seen, whole.is);
    if (cut.is !== 'need-more') expect(cut.is, bytes.toString('hex')).toBe(whole.is);
    if (whole.is === 'tls')
      expect(readTlsStart(Buffer.concat([bytes, random.bytes(5)]))).toMatchObject({ kind: 'hello' });
  }
  done(seen);
  expect([...seen.keys()]).toEqual(
    expect.arrayContaining(['http', 'not-http', 'tls', 'tls-malformed', 'need-more']),
  );
});

const HTTP_WORDS = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  '\0',
  ':',
  ',',
  ';',
  '"',
  'Content-Length: 3\r\n',
  'Content-Length: 0\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: identity\r\n',
  'transfer-encoding:\vchunked\r\n',
  'Connection: close\r\n',
  'Connection: content-length\r\n',
  'Host: b\r\n',
  'Expect: 100-continue\r\n',
  '+3',
  '0x3',
  '3;x="',
  '0\r\n\r\n',
  'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n',
  'HTTP/1.0',
  'HTTP/1.1',
];
const OPENINGS = [
  'POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc',
  'POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  'GET /first HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n',
  'PUT /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1;a=b\r\nz\r\n0\r\nX: y\r\n\r\n',
];
const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

/** The paths that were asked for, as a strict reader of what went upstream sees them; throws for what is not one request. */
function strictly(upstream: string): string[] {
  const paths: string[] = [];
  for (let rest = upstream; rest !== '';) {
    const head = /^[A-Z-]+ (\S+) HTTP\/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\r\n/.exec(
      rest,
    );
    if (head === null) throw new Error(`not a request: ${JSON.stringify(rest)}`);
    const fields = head[2] ?? '';
    const lengths = fields.match(/^content-length: *\d+ *$/gim) ?? [];
    const codings = fields.match(/^transfer-encoding: *chunked *$/gim) ?? [];
    const framing = fields.match(/^(content-length|transfer-encoding):/gim) ?? [];
    if (framing.length !== lengths.length + codings.length)
      throw new Error(`framing that is not plain: ${JSON.stringify(rest)}`);
    if (lengths.length + codings.length > 1) throw new Error(`framed twice: ${JSON.stringify(rest)}`);
    paths.push(head[1] ?? '');
    rest = rest.slice(head[0].length);
    if (codings.length > 0) rest = behindChunks(rest);
    else rest = rest.slice(Number(/\d+/.exec(lengths[0] ?? '0')?.[0] ?? 0));
  }
  return paths;
}

function behindChunks(text: string): string {
  for (let rest = text; rest !== '';) {
    const line = /^([0-9a-fA-F]+)[^\r\n]*\r\n/.exec(rest);
    if (line === null) throw new Error(`not a chunk: ${JSON.stringify(rest)}`);
    const size = parseInt(line[1] ?? '', 16);
    rest = rest.slice(line[0].length);
    if (size === 0) {
      const trailers = /^([^\r\n]+\r\n)*\r\n/.exec(rest);
      return trailers === null ? '' : rest.slice(trailers[0].length);
    }
    rest = rest.slice(size + 2);
  }
  return '';
}

/** As many at once: a request that has no end waits for its client to give up. */
const AT_ONCE = 32;
const GIVE_UP_MS = 200;

/** Sends a text to a front of its own, and checks what its origin was asked against what the client was answered. */
async function exchange(text: string): Promise<string> {
  const h = new Harness();
  const received: string[] = [];
  const asked: string[] = [];
  const origin = await h.origin((request, response) => {
    asked.push(request.url ?? '');
    request
      .resume()
      .on('end', () => response.setHeader('Cache-Control', 'no-store').end(`<${request.url ?? ''}>`));
  });
  const tapped = await h.rawOrigin((socket) => {
    const index = received.push('') - 1;
    const leg = connect(origin, '127.0.0.1');
    socket.on('data', (chunk: Buffer) => {
      received[index] = (received[index] ?? '') + chunk.toString('latin1');
    });
    for (const end of [leg, socket]) {
      end.on('error', () => {
        leg.destroy();
        socket.destroy();
      });
    }
    socket.pipe(leg).pipe(socket);
  });
  const socket = h.connect(await h.front(tapped), text);
  const timer = setTimeout(() => socket.end(), GIVE_UP_MS);
  let answers = '';
  socket.on('data', (chunk: Buffer) => (answers += chunk.toString('latin1'))).on('end', () => socket.end());
  await new Promise((resolve) => socket.once('close', resolve));
  clearTimeout(timer);
  const told = JSON.stringify({ text, answers, received });
  const statuses = answers.match(/HTTP\/1\.[01] [2-5]\d\d/g) ?? [];
  const bodies = [...answers.matchAll(/<([^<>]*)>/g)].map((one) => one[1]);
  expect(bodies, told).toEqual(asked.slice(0, bodies.length)); // in order, each once
  const upstream = received.flatMap((one) => strictly(one));
  expect(
    asked.every((path) => upstream.includes(path)),
    told,
  ).toBe(true);
  await h.close();
  return `${asked.length} asked, ${statuses.length} answered`;
}

it('HTTP requests: one request upstream for each that was accepted, and each answer is its own', async () => {
  const { random, cases, done } = fuzzRun('HTTP requests', 20_000);
  const seen = new Map<string, number>();
  for (let at = 0; at < cases; at += AT_ONCE) {
    const texts = Array.from(
      { length: Math.min(AT_ONCE, cases - at) },
      () => spoiltText(random, random.pick(OPENINGS), HTTP_WORDS) + LAST,
    );
    for (const outcome of await Promise.all(texts.map(exchange))) countIn(seen, outcome);
  }
  done(seen);
  expect(seen.size).toBeGreaterThan(2);
});

const ADMIN_WORDS = [
  'GET ',
  'POST ',
  'DELETE ',
  '/status',
  '/conns',
  '/stats',
  '/drain',
  '/reload',
  '/black-holes',
  '/black-holes/',
  '%',
  '%2',
  '%zz',
  '%ff',
  '192.0.2.1',
  '2001:db8::1',
  '/',
  '?',
  '#',
  ' HTTP/1.1',
  '\r\n',
  '\0',
  'Content-Length: 9\r\n',
  '..',
];

it('the administration socket: answers or refuses, and goes on', async () => {
  const { random, cases, done } = fuzzRun('administration socket', 3000);
  const seen = new Map<string, number>();
  const target: AdminTarget = {
    status: () => ({ state: 'running' }),
    conns: () => [],
    stats: () => Promise.resolve({}),
    drain: () => undefined,
    reload: () => ({ reloaded: true, changes: [], needsRestart: [] }),
    forgetBlackHoles: () => 0,
    cache: () => false,
    drainTimeoutMs: 1,
  };
  const server = await AdminServer.open('p1', target, folder);
  for (let at = 0; at < cases; at++) {
    const begin = `${random.pick(ADMIN_WORDS.slice(0, 3))}${random.pick(ADMIN_WORDS.slice(3, 10))}`;
    const text = spoiltText(
      random,
      `${begin}${random.once(2) ? '' : random.pick(ADMIN_WORDS.slice(10, 20))} HTTP/1.1\r\nHost: a\r\n\r\n`,
      ADMIN_WORDS,
    );
    const socket = connect(socketPath('p1', folder));
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1'))).on('error', () => undefined);
    socket.end(text, 'latin1');
    await new Promise((resolve) => socket.once('close', resolve));
    countIn(seen, /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 'none');
  }
  expect(await askNode('p1', '/status', folder)).toEqual({ state: 'running' });
  server.close();
  done(seen);
  expect([...seen.keys()]).toEqual(expect.arrayContaining(['200', '400', '404']));
});
