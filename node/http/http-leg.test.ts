/** What a next hop may say, whoever reads it: Node's client, a leg for an exchange, or a leg for the front. */
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until } from './harness.props.js';
import { LegPool } from './leg-pool.js';
import { responseParser } from './response-parser.js';
import { Upstream, type UpstreamFailure } from './upstream.js';

const FRESH = 'Cache-Control: max-age=60\r\n';
const plain = (content: string): string =>
  `HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: ${content.length}\r\n\r\n${content}`;

let h: Harness;
beforeEach(() => {
  h = new Harness({ responseTimeout: 1000 });
});
afterEach(() => h.close());

/** An origin whose answers to `/odd` are given, and to everything else the target. `legs`: how many there have been. */
class Origin {
  legs = 0;
  odd = 0;
  front = 0;

  async open(odd: (socket: Socket, count: number) => void): Promise<this> {
    const port = await h.rawOrigin((socket) => {
      this.legs++;
      let text = '';
      socket.on('end', () => socket.end());
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1');
        for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
          const [, target = ''] = text.split(' ', 2);
          text = text.slice(end + 4);
          if (target === '/odd') odd(socket, ++this.odd);
          else socket.write(plain(target));
        }
      });
    });
    this.front = await h.front(port);
    return this;
  }
}

const WAYS = ['client', 'leg', 'front'] as const;
type Way = (typeof WAYS)[number];

class Client {
  readonly socket: Socket;
  readonly #way: Way;
  #text = '';
  over = false;

  constructor(front: number, way: Way) {
    this.#way = way;
    this.socket = h.connect(front, '');
    this.socket.on('data', (chunk: Buffer) => (this.#text += chunk.toString('latin1')));
    this.socket.on('end', () => this.socket.end());
    this.socket.on('close', () => (this.over = true));
  }

  /** The front takes no connection's first request, and none whose fields it does not know. */
  static async open(front: number, way: Way): Promise<Client> {
    const client = new Client(front, way);
    if (way === 'front') await client.ask('/first');
    return client;
  }

  send(target: string): void {
    const post = this.#way === 'client';
    const start = `${post ? 'POST' : 'GET'} ${target} HTTP/1.1\r\nHost: a\r\n`;
    this.socket.write(`${start}${post ? 'Content-Length: 0\r\n' : ''}\r\n`);
  }

  /** The answer, or what there is of it when the connection is over. */
  async ask(
    target: string,
    enough = /\r\n\r\n(?:ok|\/\w+)$|\r\n0\r\n(?:.+\r\n)*\r\n$|[^\r]\n$/,
  ): Promise<string> {
    this.#text = '';
    this.send(target);
    await until(() => enough.test(this.#text) || this.over);
    return this.#text;
  }
}

const fields = (count: number): string => 'X:\r\n'.repeat(count);
const REFUSED: readonly (readonly [string, string])[] = [
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
  [
    'length and coding',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nok'],
  ['1,001 fields', `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${fields(999)}${FRESH}\r\nok`],
  ['65 responses 1xx', `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(65)}${plain('ok')}`],
  [
    'a switch of protocols',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok',
  ],
  ['a status below 100', `HTTP/1.1 099 OK\r\n${FRESH}Content-Length: 2\r\n\r\nok`],
  ['a head of 256 KiB', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(256 * 1024)}\r\nContent-Length: 2\r\n\r\nok`],
  ['LF alone in its head', `HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok`],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
];

describe.each(WAYS)('read by way of: %s,', (way) => {
  it.each(REFUSED)('%s: refused, not stored, and the leg closed', async (_, reply) => {
    const origin = await new Origin().open((socket) => socket.write(reply));
    const client = await Client.open(origin.front, way);
    expect(await client.ask('/odd')).toMatch(/^HTTP\/1\.1 (?:103 [^]*)?502 /);
    expect(h.stat('entries')).toBe(0);
    const { legs } = origin;
    const next = await Client.open(origin.front, way);
    expect(await next.ask('/next')).toMatch(/\r\n\r\n\/next$/);
    expect(origin.legs).toBeGreaterThan(legs);
  });

  it('1,000 fields pass', async () => {
    const reply = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${fields(998)}${FRESH}\r\nok`;
    const origin = await new Origin().open((socket) => socket.write(reply));
    const client = await Client.open(origin.front, way);
    expect(await client.ask('/odd')).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('trailers that mean something else so late are not passed on, and not thousands of others', async () => {
    const reply = 'HTTP/1.1 200 OK\r\nTrailer: Y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n';
    const more = `Set-Cookie: a\r\nCookie: b\r\nY: z\r\n${fields(5000)}`;
    const origin = await new Origin().open((socket) => socket.write(`${reply}${more}\r\n`));
    const client = await Client.open(origin.front, way);
    const [, , trailers = ''] = /(\r\n0\r\n)([^]*)$/.exec(await client.ask('/odd')) ?? [];
    expect(trailers).toMatch(/^Y: z\r\n/);
    expect(trailers.split('\r\n').length).toBeLessThan(1100);
  });

  it.each([
    ['a second response', `${plain('ok')}${plain('evil')}`],
    [
      'a second response behind chunks',
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${plain('evil')}`,
    ],
    ['content behind 204', `HTTP/1.1 204 No\r\nX: ok\r\nContent-Length: 4\r\n\r\nevil`],
    ['a length of zero and content', `HTTP/1.1 200 OK\r\nX: ok\r\nContent-Length: 0\r\n\r\nevil`],
  ])('%s behind a response: the leg is not used again', async (_, reply) => {
    const origin = await new Origin().open((socket) => socket.write(reply));
    const client = await Client.open(origin.front, way);
    await client.ask('/odd', /ok/);
    const { legs } = origin;
    const next = client.over ? await Client.open(origin.front, way) : client;
    expect(await next.ask('/next')).toMatch(/\r\n\r\n\/next$/);
    expect(origin.legs).toBe(legs + 1);
  });

  it.each([
    ['ends before its content does', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'],
    ['ends between chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n'],
  ])('a response that %s is cut short for the client, too', async (_, reply) => {
    const origin = await new Origin().open((socket) => socket.end(reply.replace('\r\n', `\r\n${FRESH}`)));
    const client = await Client.open(origin.front, way);
    await client.ask('/odd', /never/);
    expect(client.over).toBe(true);
    expect(h.stat('entries')).toBe(0);
  });

  it('a head that comes byte by byte is read', async () => {
    const origin = await new Origin().open((socket) => {
      void (async () => {
        for (const byte of `HTTP/1.1 103 Early Hints\r\n\r\n${plain('ok')}`) {
          socket.write(byte);
          await new Promise(setImmediate);
        }
      })();
    });
    const client = await Client.open(origin.front, way);
    expect(await client.ask('/odd')).toMatch(/200 OK\r\n[^]*\r\n\r\nok$/);
  });
});

describe.each(['leg', 'front'] as const)('a request by way of: %s,', (way) => {
  it('gets its own answer when the one before it came with the beginning of another', async () => {
    const origin = await new Origin().open((socket) =>
      socket.write(`${plain('ok')}HTTP/1.1 200 OK\r\nContent-Le`),
    );
    const client = await Client.open(origin.front, way);
    await client.ask('/odd');
    expect(await client.ask('/next')).toMatch(/\r\n\r\n\/next$/);
    expect(origin.legs).toBe(2);
  });

  it('is sent a second time, and no third, when a kept leg closes before it has said anything', async () => {
    const origin = await new Origin().open((socket) => socket.destroy());
    const client = await Client.open(origin.front, way);
    await client.ask('/before');
    expect(await client.ask('/odd')).toMatch(/^HTTP\/1\.1 502 /);
    expect([origin.odd, origin.legs]).toEqual([2, 2]);
  });

  it('is not when it has said something', async () => {
    const origin = await new Origin().open((socket) => socket.end('H'));
    const client = await Client.open(origin.front, way);
    await client.ask('/before');
    expect(await client.ask('/odd')).toMatch(/^HTTP\/1\.1 502 /);
    expect(origin.odd).toBe(1);
  });

  it('is not when there was no answer in time', async () => {
    const origin = await new Origin().open(() => undefined);
    const client = await Client.open(origin.front, way);
    await client.ask('/before');
    expect(await client.ask('/odd')).toMatch(/^HTTP\/1\.1 504 /);
    expect(origin.odd).toBe(1);
  });
});

it('a leg is free again when its client has left with a complete response half read', async () => {
  const large = plain('x'.repeat(4 * 2 ** 20)).replace('\r\n', '\r\nCache-Control: no-store\r\n');
  const sockets: Socket[] = [];
  const origin = await new Origin().open((socket) => {
    sockets.push(socket);
    socket.write(large);
  });
  const client = new Client(origin.front, 'leg');
  client.socket.pause();
  client.send('/odd');
  // All of it is on this side, and cannot go on.
  await until(() => sockets[0]?.writableLength === 0);
  client.socket.resetAndDestroy();
  await until(() => h.stat('connections') === 0);
  const legs = (): number => (h.service.status()['legs'] as { idle: number }).idle;
  await until(() => legs() === 1 || sockets[0]?.closed === true);
});

it('legs in use are closed with the service', async () => {
  let leg: Socket | undefined;
  const origin = await new Origin().open((socket) => (leg = socket));
  const client = new Client(origin.front, 'leg');
  client.send('/odd');
  await until(() => leg !== undefined);
  h.service.close();
  await until(() => leg?.closed === true);
});

describe.each([
  ['with the parser', responseParser],
  ['with Node’s client alone', null],
] as const)('%s', (_, Parser) => {
  it('a request that can be repeated gets its answer, also when a kept leg has closed', async () => {
    const { port } = await h.scripted((socket) => {
      if (++answered === 2) socket.destroy();
      else socket.write(plain('ok'));
    });
    let answered = 0;
    const pool = new LegPool({ idlePerName: 1, idle: 1, idleTimeout: 10_000 }, Parser);
    const ask = (): Promise<string> =>
      new Promise((resolve, reject) => {
        new Upstream(
          pool,
          {
            method: 'GET',
            target: '/',
            headers: ['Host', 'a'],
            content: undefined,
            source: { name: 'a', open: () => h.connect(port, '') },
            repeatable: true,
            responseTimeout: 5000,
            raw: false,
          },
          {
            information: () => undefined,
            response: ({ message }) => {
              let text = '';
              message.on('data', (chunk: Buffer) => (text += chunk.toString()));
              message.once('end', () => setImmediate(() => resolve(text)));
            },
            failed: (failure: UpstreamFailure) => reject(new Error(failure.code)),
          },
        );
      });
    expect([await ask(), await ask(), await ask()]).toEqual(['ok', 'ok', 'ok']);
    expect(pool.counts).toEqual({ opened: 2, reused: 2 });
    pool.destroy();
  });
});

it('this Node.js has the parser', () => {
  expect(responseParser).not.toBeNull();
});
