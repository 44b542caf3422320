/** Concurrent requests for one thing: one fetch, whoever leaves and whatever becomes of it. */
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until, type AskOptions } from './harness.props.js';

let h: Harness;
beforeEach(() => {
  h = new Harness();
});
afterEach(() => h.close());

describe('collapsing', () => {
  const crowd = (front: number, size: number, options: AskOptions = {}): Promise<string[]> =>
    Promise.all(
      Array.from({ length: size }, async () => (await h.ask(front, '/', options)).body.toString('latin1')),
    );

  it('fetches once for fifty, who all get the whole body', async () => {
    const body = randomBytes(1_000_000);
    let count = 0;
    const origin = await h.origin((_request, response) => {
      count++;
      response.writeHead(200, { 'Cache-Control': 'max-age=60' });
      setTimeout(() => response.write(body.subarray(0, 500_000)), 50);
      setTimeout(() => response.end(body.subarray(500_000)), 100);
    });
    const answers = await crowd(await h.front(origin), 50);
    expect(count).toBe(1);
    expect(answers.every((answer) => answer === body.toString('latin1'))).toBe(true);
    expect(h.stat('collapsed')).toBe(49);
  });

  it('validates once for fifty', async () => {
    let count = 0;
    const origin = await h.origin((request, response) => {
      count++;
      response.setHeader('Cache-Control', 'max-age=10').setHeader('ETag', '"a"');
      if (request.headers['if-none-match'] === '"a"') setTimeout(() => response.writeHead(304).end(), 50);
      else response.end('body');
    });
    const front = await h.front(origin);
    await h.ask(front, '/');
    h.clock.advance(20_000);
    expect(new Set(await crowd(front, 50))).toEqual(new Set(['body']));
    expect(count).toBe(2);
  });

  it('lets everybody fetch alone when the response is not to be stored, and later ones at once', async () => {
    let count = 0;
    const origin = await h.origin((_request, response) => {
      const mine = ++count;
      setTimeout(() => response.setHeader('Cache-Control', 'no-store').end(`#${mine}`), 20);
    });
    const front = await h.front(origin);
    expect(new Set(await crowd(front, 10)).size).toBe(10);
    expect(new Set(await crowd(front, 10)).size).toBe(10);
    expect(count).toBe(20);
    expect(h.stat('collapsed')).toBe(0);
  });

  it('lets other variants fetch alone', async () => {
    const origin = await h.origin((request, response) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('Vary', 'Accept');
      setTimeout(() => response.end(request.headers.accept), 30);
    });
    const front = await h.front(origin);
    const answers = await Promise.all(
      ['a', 'b', 'a', 'c'].map(async (accept) =>
        (await h.ask(front, '/', { headers: { accept } })).body.toString(),
      ),
    );
    expect(answers).toEqual(['a', 'b', 'a', 'c']);
  });

  it('does not wait for a slow head longer than it must', async () => {
    const hasty = new Harness({ collapseWait: 30 });
    try {
      let count = 0;
      const origin = await hasty.origin((_request, response) => {
        if (++count > 1) response.setHeader('Cache-Control', 'max-age=60').end('second');
      });
      const front = await hasty.front(origin);
      hasty.connect(front, 'GET / HTTP/1.1\r\nHost: example.test\r\n\r\n');
      await until(() => count === 1);
      expect((await hasty.ask(front, '/')).body.toString()).toBe('second');
    } finally {
      await hasty.close();
    }
  });

  it('goes on when the client that began it leaves, and stops when all have left', async () => {
    let aborted = 0;
    let response: ServerResponse | undefined;
    const origin = await h.origin((_request, answer) => {
      response = answer;
      answer.on('close', () => (answer.writableFinished ? undefined : aborted++));
      answer.writeHead(200, { 'Cache-Control': 'max-age=60' }).write('first,');
    });
    const front = await h.front(origin);
    const text = 'GET / HTTP/1.1\r\nHost: example.test\r\n\r\n';
    const leader = h.connect(front, text);
    await new Promise((resolve) => leader.once('data', resolve));
    const follower = h.ask(front, '/');
    await until(() => h.stat('collapsed') === 1);
    leader.resetAndDestroy();
    await until(() => h.stat('connections') === 1);
    response?.end('second');
    expect((await follower).body.toString()).toBe('first,second');
    expect(aborted).toBe(0);
    expect(h.stat('entries')).toBe(1);

    h.clock.advance(100_000);
    const alone = h.connect(front, text);
    await new Promise((resolve) => alone.once('data', resolve));
    alone.resetAndDestroy();
    await until(() => aborted === 1);
    expect(h.stat('inFlight')).toBe(0);
  });

  it('cuts everybody off when the origin breaks off', async () => {
    const { port } = await h.scripted((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\nCache-Control: max-age=60\r\n\r\npart');
      setTimeout(() => socket.destroy(), 100);
    });
    const front = await h.front(port);
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => h.ask(front, '/')));
    expect(results.map((result) => result.status)).toEqual(new Array(5).fill('rejected'));
    expect(h.stat('entries')).toBe(0);
  });

  it('serves a body larger than may be stored to a slow and a fast client, at bounded memory', async () => {
    const small = new Harness({}, 2 ** 20);
    try {
      const body = randomBytes(8 * 2 ** 20);
      let count = 0;
      const origin = await small.origin((_request, response) => {
        count++;
        response.writeHead(200, { 'Cache-Control': 'max-age=60' });
        setTimeout(() => response.end(body), 50); // chunked: nobody knows its length before
      });
      const front = await small.front(origin);
      const slow = small.connect(front, 'GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n');
      await until(() => count === 1);
      const fast = small.ask(front, '/');
      slow.pause();
      setTimeout(() => slow.resume(), 200);
      let received = 0;
      slow.on('data', (chunk: Buffer) => (received += chunk.length));
      expect((await fast).body.equals(body)).toBe(true);
      await new Promise((resolve) => slow.once('end', resolve));
      expect(received).toBeGreaterThan(body.length);
      expect(small.stat('entries')).toBe(0);
      expect(count).toBe(1);
    } finally {
      await small.close();
    }
  });
});

it('gives over 1,000 random requests exactly what the origin would have given', async () => {
  const versions = new Map<string, number>();
  const contentOf = (path: string, accept: string): string =>
    `${path} ${accept} v${versions.get(path) ?? 0} `.repeat(1 + (path.length % 7) * 300);
  const origin = await h.origin((request, response) => {
    const path = request.url ?? '';
    request.resume();
    if (request.method === 'POST') {
      versions.set(path, (versions.get(path) ?? 0) + 1);
      response.end();
      return;
    }
    const accept = request.headers.accept ?? '';
    const tag = `"${accept}${versions.get(path) ?? 0}"`;
    response.setHeader('Cache-Control', path.includes('n') ? 'no-store' : 'max-age=5');
    response.setHeader('Vary', 'Accept').setHeader('ETag', tag);
    if (request.headers['if-none-match'] === tag) response.writeHead(304).end();
    else if (path.includes('l'))
      response.setHeader('Content-Length', contentOf(path, accept).length).end(contentOf(path, accept));
    else response.write(contentOf(path, accept), () => response.end());
  });
  const front = await h.front(origin);
  const paths = ['/a', '/al', '/an', '/bbl', '/cccc?x', '/cccc?l'];
  const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)]!;
  for (let round = 0; round < 100; round++) {
    // Within a round nothing changes at the origin, so each of its concurrent requests has one right answer.
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const [path, accept] = [pick(paths), pick(['x', 'y', ''])];
        const answer = await h.ask(front, path, accept === '' ? {} : { headers: { accept } });
        expect(answer.body.toString()).toBe(contentOf(path, accept));
      }),
    );
    if (round % 3 === 0) await h.ask(front, pick(paths), { method: 'POST', body: 'x' });
    h.clock.advance(1500);
  }
  expect(h.stat('hits')).toBeGreaterThan(100);
  expect(h.stat('revalidations')).toBeGreaterThan(10);
}, 60_000);
