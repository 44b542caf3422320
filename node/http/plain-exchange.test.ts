/** Requests that are like one before them, fetched without Node's objects: what comes is what came with them. */
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until } from './harness.props.js';

const DATE = 'Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n';
const FRESH = `${DATE}Cache-Control: max-age=1000000000\r\n`;
const LARGE = 'x'.repeat(100_000);

/** What the origin says to a path, in pieces that come one after the other. */
const SAYS: Record<string, readonly string[]> = {
  '/plain': [`HTTP/1.1 200 OK\r\n${FRESH}Content-Length: 2\r\nVia: 1.0 x\r\nCache-Status: x; hit\r\n\r\nok`],
  '/name': [
    `HTTP/1.1 200 \xc4\r\n${FRESH}Content-Length: 2\r\nContent-Disposition: attachment; filename="\xe4"\r\n\r\nok`,
  ],
  '/empty': [`HTTP/1.1 200 OK\r\n${FRESH}Content-Length: 0\r\n\r\n`],
  '/gone': [`HTTP/1.1 404 Not Found\r\n${FRESH}Content-Length: 2\r\n\r\nno`],
  '/large': [`HTTP/1.1 200 OK\r\n${FRESH}Content-Length: ${LARGE.length}\r\n\r\n${LARGE}`],
  '/pieces': ['HTTP/1.1 20', `0 OK\r\n${FRESH}Content-Length: 4\r\n\r\na`, 'bc', 'd'],
  '/undated': ['HTTP/1.1 200 OK\r\nCache-Control: max-age=1000000000\r\nContent-Length: 2\r\n\r\nok'],
  '/chunks': [`HTTP/1.1 200 OK\r\n${FRESH}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`, '0\r\n\r\n'],
  '/trailers': [
    `HTTP/1.1 200 OK\r\n${FRESH}Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n`,
  ],
  '/private': [`HTTP/1.1 200 OK\r\n${DATE}Cache-Control: private\r\nContent-Length: 2\r\n\r\nok`],
  '/hints': [
    `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n`,
    `HTTP/1.1 200 OK\r\n${FRESH}Content-Length: 2\r\n\r\nok`,
  ],
  '/nothing': [`HTTP/1.1 204 No Content\r\n${FRESH}\r\n`],
  '/closes': [`HTTP/1.1 200 OK\r\n${FRESH}Connection: close\r\nContent-Length: 2\r\n\r\nok`],
  '/old': [`HTTP/1.0 200 OK\r\n${FRESH}Content-Length: 2\r\n\r\nok`],
  '/more': [
    `HTTP/1.1 200 OK\r\n${FRESH}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`,
  ],
  '/nonsense': ['HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok'],
  '/odd': [`HTTP/1.1 200 OK\r\n${FRESH}Content-Length: 2\r\nTransfer-Encoding: x\r\n\r\nok`],
  '/switches': ['HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'],
};

let h: Harness;
let front: number;
let asked: string[];

beforeEach(async () => {
  h = new Harness();
  asked = [];
  const origin = await h.rawOrigin((socket) => {
    let text = '';
    socket.on('end', () => socket.end());
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const [, target = ''] = text.split(' ', 2);
        asked.push(text.slice(0, end));
        text = text.slice(end + 4);
        if (target !== '/never') void say(socket, SAYS[target.replace(/\?.*/, '')] ?? SAYS['/plain'] ?? []);
      }
    });
  });
  front = await h.front(origin);
});
afterEach(() => h.close());

async function say(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await new Promise((resolve) => setTimeout(resolve, 15));
    socket.write(piece, 'latin1');
  }
}

const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n\r\n`;
const answered = (): number => (h.service.status()['front'] as { answered: number }).answered;

class Client {
  readonly socket: Socket;
  #text = '';
  over = false;

  constructor(text: string) {
    this.socket = h.connect(front, text);
    this.socket.on('data', (chunk: Buffer) => (this.#text += chunk.toString('latin1')));
    this.socket.on('end', () => this.socket.end());
    this.socket.on('close', () => (this.over = true));
  }

  /** What has come since the last time when `enough` holds of it, or the connection is over. */
  async take(enough: (text: string) => boolean): Promise<string> {
    await until(() => enough(this.#text) || this.over);
    const taken = this.#text;
    this.#text = '';
    return taken;
  }
}

/** A connection on which a request like all others here has been answered. */
async function primed(): Promise<Client> {
  const client = new Client(get('/plain'));
  await client.take((text) => text.endsWith('ok'));
  return client;
}

/** Ends of what the origin says, as clients get it. */
const ended = (text: string): boolean =>
  /\r\n\r\n[^]*(ok|no|abcd|x{9})$|\r\n0\r\n(X: y\r\n)?\r\n$|Length: 0\r\n[^]*\r\n\r\n$|^HTTP\/1.1 204[^]*\r\n\r\n$|\)\n$/.test(
    text,
  );
/** Without the date of what the node says itself. */
const undated = (text: string): string => text.replace(/\r\nDate: (?!Thu, 01 Jan 2026)[^\r]*/, '');

describe.each(Object.keys(SAYS))('%s', (path) => {
  it('is the same whoever reads the request', async () => {
    const parsed = await new Client(get(`${path}?1`)).take(ended);
    const client = await primed();
    client.socket.write(get(`${path}?2`));
    expect(undated(await client.take(ended))).toBe(undated(parsed));
    expect(parsed).toMatch(/\r\n\r\n/);
    if (path !== '/closes') {
      client.socket.write(get('/plain'));
      if (!client.over) expect(await client.take(ended)).toContain('; hit');
    }
    expect(
      asked.map((text) => text.replace(/\?\d/, '')).filter((text) => text.includes(`${path} `)).length,
    ).toBeGreaterThan(0);
    const [one, other] = asked.filter((text) => text.includes(`${path}?`));
    expect(other?.replace('?2', '?1')).toBe(one);
  });
});

it('small responses of a known length are answered by the front, from the next hop and from the store', async () => {
  const client = await primed();
  const before = answered();
  for (const path of ['/plain?a', '/gone', '/empty', '/plain?a', '/gone', '/empty']) {
    client.socket.write(get(path));
    await client.take(ended);
  }
  expect(answered()).toBe(before + 6);
  expect(h.stat('hits')).toBe(3);
  expect(asked).toHaveLength(4);
  expect(h.service.status()['legs']).toMatchObject({ opened: 1, reused: 3, idle: 1 });
});

it('fields that differ in a byte are the parser’s', async () => {
  const client = await primed();
  client.socket.write(get('/gone').replace('Accept:', 'accept:'));
  await client.take(ended);
  expect(answered()).toBe(0);
});

it.each(['/a#b', '/a\x80', 'http://example.test/', '*'])('a target %j is the parser’s', async (target) => {
  const client = await primed();
  client.socket.write(get(target), 'latin1');
  await client.take((text) => text.includes('\r\n\r\n'));
  expect(answered()).toBe(0);
});

it('what is pipelined behind one that is fetched is answered behind it', async () => {
  const client = await primed();
  client.socket.write(get('/pieces') + get('/gone') + get('/plain'));
  const text = await client.take((all) => all.split('HTTP/1.1 ').length === 4 && all.endsWith('ok'));
  expect(text.match(/abcd|no$|noHTTP|ok$/g)).toEqual(['abcd', 'noHTTP', 'ok']);
});

it('what comes while one is fetched is answered behind it', async () => {
  const client = await primed();
  client.socket.write(get('/pieces'));
  await until(() => asked.length === 2);
  client.socket.write(get('/gone'));
  const text = await client.take((all) => all.endsWith('no'));
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 404']);
});

it('a client that has ended its direction behind a request gets the answer', async () => {
  const client = await primed();
  client.socket.end(get('/pieces'));
  expect(await client.take(ended)).toContain('abcd');
  await until(() => client.over);
});

it('a client that leaves ends the fetch', async () => {
  const client = await primed();
  client.socket.write(get('/never'));
  await until(() => asked.length === 2);
  client.socket.resetAndDestroy();
  await until(() => h.stat('inFlight') === 0 && h.stat('connections') === 0);
  expect(h.service.status()['legs']).toMatchObject({ idle: 0 });
});

it('who asks for the same waits for it', async () => {
  const [one, other] = [await primed(), await primed()];
  one.socket.write(get('/pieces'));
  await until(() => asked.length === 2);
  other.socket.write(get('/pieces'));
  expect(await other.take(ended)).toContain('; collapsed');
  expect(await one.take(ended)).toContain('abcd');
  expect(asked).toHaveLength(2);
});

it('a connection ends behind what is fetched when the service drains', async () => {
  const client = await primed();
  client.socket.write(get('/pieces'));
  await until(() => asked.length === 2);
  h.service.drain();
  expect(await client.take(ended)).toContain('abcd');
  await until(() => client.over);
});
