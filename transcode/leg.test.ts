import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { agreementOf, DEDUP_BIT } from './capabilities.js';
import { encodeHello } from './frame.js';
import { TransformedLeg } from './leg.js';
import { BITS, collect, connection, destroyAll, pair, send, shared } from './leg-ends.props.js';
import type { Shared } from './outbound.js';

afterEach(destroyAll);

const text = Buffer.from(
  Array.from(
    { length: 60_000 },
    (_, line) => `line ${line * 7919} of the log, level info, all is well\n`,
  ).join(''),
);

describe.each(BITS)('a leg with %s', (_name, bits) => {
  it('carries text and noise both ways at once, with half-close', async () => {
    const [near, far] = await pair(bits, { shared: shared() }, { shared: shared() });
    const up = Buffer.concat([text, randomBytes(3_000_000), text]);
    const down = Buffer.concat([randomBytes(100), text, text]);
    const [gotUp, gotDown] = await Promise.all([
      collect(far),
      collect(near),
      send(near, up),
      send(far, down, 777),
    ]);
    expect(gotUp.equals(up)).toBe(true);
    expect(gotDown.equals(down)).toBe(true);
    expect(near.stats.plainSent).toBe(up.length);
    expect(far.stats.plainReceived).toBe(up.length);
    expect(near.stats.wireSent).toBe(far.stats.wireReceived);
    for (const leg of [near, far]) if (!leg.closed) await once(leg, 'close');
  });

  it('delivers a direction to its end before the other begins', async () => {
    const [near, far] = await pair(bits, { shared: shared() }, { shared: shared() });
    near.end('question');
    expect((await collect(far)).toString()).toBe('question');
    far.end('answer');
    expect((await collect(near)).toString()).toBe('answer');
  });

  it('passes a byte on without waiting for more', async () => {
    const [near, far] = await pair(bits, { shared: shared() }, { shared: shared() });
    for (const key of 'echo') {
      near.write(key);
      const [got] = (await once(far, 'data')) as [Buffer];
      expect(got.toString()).toBe(key);
    }
  });

  it('resets when the stream is cut', async () => {
    const [near, far] = await pair(bits, { shared: shared() }, { shared: shared() });
    far.resume();
    near.write('half of it');
    await once(far, 'data');
    const broken = once(far, 'error') as Promise<[Error]>;
    near.destroy();
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
    expect(far.readableEnded).toBe(false);
  });
});

it('gives what has arrived to a reader that comes after the connection has closed', async () => {
  const [near, far] = await pair(1, { shared: shared() }, { shared: shared() });
  near.end('question');
  expect((await collect(far)).toString()).toBe('question');
  far.end(text.subarray(0, 100_000));
  await once(far, 'close');
  expect((await collect(near)).equals(text.subarray(0, 100_000))).toBe(true);
});

it('puts the idle timeout off whenever bytes come or go', async () => {
  const [near, far] = await pair(1, { shared: shared() }, { shared: shared() });
  const active = new Map([near, far].map((leg) => [leg, 0]));
  for (const [leg] of active) {
    Object.assign(leg, { _unrefTimer: () => active.set(leg, (active.get(leg) ?? 0) + 1) });
  }
  near.write('question');
  await once(far, 'data');
  for (const times of active.values()) expect(times).toBeGreaterThan(0);
});

describe('compression', () => {
  it('makes text small and leaves noise alone', async () => {
    const [near, far] = await pair(1, { shared: shared() }, { shared: shared() });
    const [got] = await Promise.all([collect(far), send(near, text)]);
    far.end();
    expect(got.equals(text)).toBe(true);
    expect(near.stats.wireSent).toBeLessThan(text.length / 4);
    const [near2, far2] = await pair(1, { shared: shared() }, { shared: shared() });
    const noise = randomBytes(8_000_000);
    await Promise.all([collect(far2), send(near2, noise)]);
    far2.end();
    expect(near2.stats.wireSent).toBeLessThan(noise.length * 1.001);
  });

  it('begins a second short stream with what the first one taught', async () => {
    const near = shared();
    const far = shared();
    const response = Buffer.from(
      Array.from({ length: 60 }, (_, line) => `X-Field-${line}: ${(line * 7919) ** 3}\r\n`).join(''),
    );
    const wire: number[] = [];
    for (let round = 0; round < 2; round++) {
      const [client, server] = await pair(1, { shared: near }, { shared: far });
      const got = collect(client);
      client.end('GET');
      await collect(server);
      await send(server, response);
      expect((await got).equals(response)).toBe(true);
      wire.push(server.stats.wireSent);
    }
    expect(wire[1]).toBeLessThan((wire[0] ?? 0) / 3);
  });
});

describe('deduplication', () => {
  const file = randomBytes(6_000_000);

  async function transfer(near: Shared, far: Shared, bytes: Buffer): Promise<TransformedLeg> {
    const [client, server] = await pair(1 | DEDUP_BIT, { shared: near }, { shared: far });
    const got = collect(client);
    client.end('again');
    await collect(server);
    await send(server, bytes);
    expect((await got).equals(bytes)).toBe(true);
    return server;
  }

  it('sends a file that was changed in places for a small part of its size', async () => {
    const [near, far] = [shared(), shared()];
    await transfer(near, far, file);
    const changed = Buffer.concat([randomBytes(10), file.subarray(0, 3_000_000), file.subarray(3_000_100)]);
    randomBytes(50).copy(changed, 1_000_000);
    const second = await transfer(near, far, changed);
    expect(second.stats.wireSent).toBeLessThan(file.length / 20);
    expect(second.stats.referenced).toBeGreaterThan(file.length * 0.95);
  });

  it('stays right when either store loses its chunks or is much too small', async () => {
    const [near, far] = [shared(), shared()];
    await transfer(near, far, file);
    await transfer(shared(), far, file); // the receiver was started anew: another store
    await transfer(near, shared(), file); // the sender was
    const small = shared(200_000);
    await transfer(small, far, file);
    const again = await transfer(small, far, file); // believed to be there, and is not
    expect(again.stats.missed).toBeGreaterThan(0);
  });
});

describe('what the other side turns out to be', () => {
  it('a direction without a hello is plain, and so is ours', async () => {
    const [socket, far] = await connection();
    const agreement = agreementOf(1);
    if (agreement === undefined) throw new Error('nothing agreed');
    const leg = new TransformedLeg(far, () => ({
      agreement,
      shared: shared(),
      certain: false,
      subject: 'D',
    }));
    socket.end('plain request');
    expect((await collect(leg)).toString()).toBe('plain request');
    leg.end('plain answer');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toBe('plain answer');
  });

  it('one that is not certain answers in kind', async () => {
    const [near, far] = await pair(1, { shared: shared() }, { shared: shared(), certain: false });
    near.end(text);
    expect((await collect(far)).equals(text)).toBe(true);
    far.end(text);
    expect((await collect(near)).equals(text)).toBe(true);
    expect(far.stats.wireSent).toBeLessThan(text.length / 4);
  });

  it.each([
    ['an unknown kind', Buffer.from('f000000000000000', 'hex')],
    ['a length beyond all frames', Buffer.from('10ffffff00000000', 'hex')],
    ['a wrong checksum', Buffer.from('100000030000000061626300', 'hex')],
    ['an end that lies', Buffer.from('600000080000000000000000000000ff', 'hex')],
    ['a block that is not compressed', Buffer.from('12000004000000006162636465', 'hex')],
    ['chunks that were not agreed', Buffer.from('200000040000000040000000', 'hex')],
    ['a fill nobody asked for', Buffer.from('40000004000000000000000000', 'hex')],
  ])('resets for %s', async (_what, frame) => {
    const [socket, far] = await connection();
    const agreement = agreementOf(1);
    if (agreement === undefined) throw new Error('nothing agreed');
    const leg = new TransformedLeg(far, () => ({ agreement, shared: shared(), certain: true, subject: 'D' }));
    const broken = once(leg, 'error') as Promise<[Error]>;
    leg.resume();
    const id = Buffer.alloc(8);
    socket.write(Buffer.concat([encodeHello({ storeId: id, dictionaryId: id, abilities: 0 }), frame]));
    const [error] = await broken;
    expect(error).toMatchObject({ code: 'transform-broken' });
  });
});

describe('where nothing was agreed', () => {
  it('passes bytes as they are, and gives the raw socket back with what was read', async () => {
    const [socket, far] = await connection();
    const leg = new TransformedLeg(far, () => undefined);
    socket.write('banner');
    const [banner] = (await once(leg, 'data')) as [Buffer];
    expect(banner.toString()).toBe('banner');
    leg.pause();
    socket.write('more');
    while (leg.readableLength === 0) await once(far, 'data');
    const raw = leg.unwrap();
    expect(raw?.socket).toBe(far);
    expect(raw?.read?.toString()).toBe('more');
    far.end('answer');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toBe('answer');
  });

  it('waits for a connection, and fails with it', async () => {
    const refused = new TransformedLeg(connect({ port: 1, host: '127.0.0.1' }), () => undefined);
    expect(refused.connecting).toBe(true);
    const [error] = (await once(refused, 'error')) as [Error];
    expect(error).toMatchObject({ code: 'ECONNREFUSED' });
    const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const raw = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
    const leg = new TransformedLeg(raw, () => undefined);
    leg.end('early');
    expect((await collect(leg)).toString()).toBe('early');
    server.close();
  });
});
