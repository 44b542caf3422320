import { once } from 'node:events';
import { connect, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { accepted, portOf, readSome, Sockets } from '../test/loopback.js';
import type { Classify } from './first-bytes.js';
import { sniff, type SniffOutcome } from './sniff.js';

const sockets = new Sockets();
afterEach(() => sockets.close());

/** `GET ` begins HTTP, anything with another first byte is something else. */
const classify: Classify = (bytes) => {
  const text = bytes.toString('latin1');
  if (text.startsWith('GET ')) return 'http';
  return 'GET '.startsWith(text) || text.startsWith('?') ? 'need-more' : 'other';
};

interface Sniffed {
  readonly client: Socket;
  readonly back: Server;
  readonly outcome: Promise<SniffOutcome>;
}

/** A client whose connection is being sniffed; legs go to `back`. */
async function begin(legPort?: number): Promise<Sniffed> {
  const front = await sockets.listen();
  const back = await sockets.listen();
  const client = sockets.dial(portOf(front));
  const taken = (await accepted(front)).pause();
  const openLeg = (): Socket => sockets.dial(legPort ?? portOf(back));
  return { client, back, outcome: sniff(taken, openLeg, classify) };
}

describe('sniff', () => {
  it('recognizes HTTP and hands on what it read, with no leg opened', async () => {
    const { client, outcome } = await begin();
    client.write('GET / HTTP/1.1\r\n');
    expect(await outcome).toMatchObject({ verdict: 'serve', reason: 'http', leg: undefined });
    expect((await outcome).first.toString()).toBe('GET / HTTP/1.1\r\n');
  });

  it('waits for the rest of a first line that comes in pieces', async () => {
    const { client, back, outcome } = await begin();
    client.setNoDelay(true);
    client.write('GE');
    const arrived = accepted(back); // the leg shows that the sniffer has seen silence after `GE`
    await arrived;
    client.write('T /');
    const { reason, first, leg } = await outcome;
    expect(reason).toBe('http');
    expect(first.toString()).toBe('GET /');
    expect(leg).toBeDefined();
  });

  it('relays what is not HTTP', async () => {
    const { client, outcome } = await begin();
    client.write('SSH-2.0-x\r\n');
    expect(await outcome).toMatchObject({ verdict: 'relay', reason: 'not-http' });
  });

  it('opens the leg when the client is silent, and relays when the server speaks first', async () => {
    const { back, outcome } = await begin();
    (await accepted(back)).write('220 ready\r\n');
    const { verdict, reason, early, first, leg } = await outcome;
    expect({ verdict, reason }).toEqual({ verdict: 'relay', reason: 'server-first' });
    expect(early?.toString()).toBe('220 ready\r\n');
    expect(first.length).toBe(0);
    expect(leg?.isPaused()).toBe(true);
  });

  it('hands the open leg on when the client speaks late', async () => {
    const { client, back, outcome } = await begin();
    const server = await accepted(back);
    client.write('GET / HTTP/1.1\r\n');
    const { reason, leg } = await outcome;
    expect(reason).toBe('http');
    leg!.write('x');
    expect((await readSome(server, 1)).toString()).toBe('x');
  });

  it('keeps bytes that come after it has decided', async () => {
    const front = await sockets.listen();
    const client = sockets.dial(portOf(front));
    const taken = (await accepted(front)).pause();
    client.write('GET / HTTP/1.1\r\n');
    await sniff(taken, () => sockets.dial(portOf(front)), classify);
    client.end('rest');
    await once(client, 'finish');
    expect((await readSome(taken.resume(), 4)).toString()).toBe('rest');
  });

  it('reads a ClientHello that comes a byte at a time, to its last byte', async () => {
    const { client, outcome } = await begin();
    const name = Buffer.from('a.example', 'latin1');
    const names = Buffer.concat([Buffer.of(0, 0, 0, 14, 0, 12, 0, 0, 9), name]);
    const body = Buffer.concat([
      Buffer.of(3, 3),
      Buffer.alloc(33),
      Buffer.of(0, 2, 19, 1, 1, 0, 0, 18),
      names,
    ]);
    const hello = Buffer.concat([Buffer.of(22, 3, 1, 0, 4 + body.length, 1, 0, 0, body.length), body]);
    for (const byte of hello) {
      client.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    const { verdict, reason, hello: said, first } = await outcome;
    expect({ verdict, reason, said }).toEqual({
      verdict: 'relay',
      reason: 'tls',
      said: { serverName: 'a.example', alpn: [] },
    });
    expect(first.equals(hello)).toBe(true);
  });

  it('gives up at 16 KiB', async () => {
    const { client, outcome } = await begin();
    client.write('?'.repeat(16_384));
    const { reason, first } = await outcome;
    expect(reason).toBe('sniff-undecided');
    expect(first.length).toBe(16_384);
  });

  it('gives up after two seconds', async () => {
    const { client, outcome } = await begin();
    const began = performance.now();
    client.write('?');
    expect((await outcome).reason).toBe('sniff-undecided');
    expect(performance.now() - began).toBeGreaterThan(1900);
  });

  it('reports a FIN without a byte', async () => {
    const { client, outcome } = await begin();
    client.end();
    expect(await outcome).toMatchObject({ verdict: 'relay', reason: 'client-closed-first' });
  });

  it('ends when the client is lost', async () => {
    const { client, outcome } = await begin();
    client.resetAndDestroy();
    expect(await outcome).toMatchObject({ verdict: 'end', reason: 'client-gone' });
  });

  it('ends when the client is silent and the leg is refused', async () => {
    const { outcome } = await begin(await sockets.refusingPort());
    expect(await outcome).toMatchObject({ verdict: 'end', reason: 'leg-failed' });
  });

  it('decides for the client while the leg is still connecting', async () => {
    const front = await sockets.listen();
    const client = sockets.dial(portOf(front));
    const taken = (await accepted(front)).pause();
    let leg: Socket | undefined;
    const openLeg = (): Socket => {
      // A name that is never resolved keeps the leg connecting.
      leg = sockets.keep(connect({ port: 9, host: 'never.invalid', lookup: () => undefined }));
      client.write('GET / HTTP/1.1\r\n');
      return leg;
    };
    const sniffed = sniff(taken, openLeg, classify);
    expect((await sniffed).reason).toBe('http');
    expect((await sniffed).leg).toBe(leg);
    expect(leg?.connecting).toBe(true);
  });
});
