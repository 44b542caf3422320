/** Directions that go on without frames, and checksums that only one of two nodes can check. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { libxxhash } from '../host/libxxhash.js';
import { agreementOf, DEDUP_BIT } from './capabilities.js';
import { NO_DICTIONARY } from './dictionaries.js';
import { ABILITY, controlFrame, FORM, frameHeader, FrameError, FrameReader, KIND, word } from './frame.js';
import { Inbound } from './inbound.js';
import { BITS, byHand, collect, destroyAll, pair, reference, send, shared } from './leg-ends.props.js';
import type { TransformedLeg } from './leg.js';
import { Outbound, type Shared } from './outbound.js';
import { emptyStats } from './stats.js';

afterEach(destroyAll);

const ALL = ABILITY.plain | ABILITY.xxh3;
const WITHOUT = { ...shared(), xxh3: undefined };
const CLIENT_HELLO = Buffer.concat([Buffer.from('160301020001000001', 'hex'), randomBytes(500)]);
const SERVER_HELLO = Buffer.concat([Buffer.from('160303007a020000', 'hex'), randomBytes(5000)]);
const total = (bytes: number): Buffer => {
  const all = Buffer.alloc(8);
  all.writeBigUInt64BE(BigInt(bytes));
  return all;
};

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it is missing');
  return value;
}

/** What a direction with these writes puts on the wire, for a node that can do so much. */
function framesOf(bits: number, side: Shared, abilities: number, writes: readonly Buffer[]): Buffer {
  const wire: Buffer[] = [];
  const ended: number[] = [];
  const ports = {
    send: (...parts: readonly Buffer[]) => void wire.push(...parts),
    backedUp: () => false,
    silent: () => true,
    peerIsLast: () => false,
    peerIsPlain: () => false,
    plain: () => void ended.push(wire.length),
  };
  const outbound = new Outbound(must(agreementOf(bits)), side, ports, emptyStats());
  outbound.begin({ storeId: side.store.id, dictionaryId: NO_DICTIONARY, abilities: ALL });
  outbound.peerSaid({ storeId: side.store.id, dictionaryId: NO_DICTIONARY, abilities });
  for (const bytes of writes) {
    if (ended.length > 0) wire.push(bytes);
    else outbound.write(bytes);
    outbound.giveUp();
  }
  if (ended.length === 0) outbound.end();
  outbound.close();
  return Buffer.concat(wire);
}

/** What a node makes of it, up to where it finds that it is wrong. */
function readBack(bits: number, side: Shared, wire: Buffer): { got: Buffer; error: unknown } {
  const got: Buffer[] = [];
  const nothing = (): void => undefined;
  const ports = {
    deliver: (plain: Buffer) => void got.push(plain),
    full: () => false,
    ended: nothing,
    begun: nothing,
    plain: nothing,
    ask: nothing,
    tellResolved: nothing,
    missing: nothing,
    resolved: nothing,
  };
  const inbound = new Inbound(must(agreementOf(bits)), side, undefined, ports, emptyStats());
  let error: unknown;
  try {
    for (let at = 0; at < wire.length; at += 700) inbound.receive(wire.subarray(at, at + 700));
    inbound.receiveEnd();
  } catch (thrown) {
    error = thrown;
  }
  inbound.close();
  return { got: Buffer.concat(got), error };
}

function kindsIn(wire: Buffer): { kind: number; xxh3: boolean }[] {
  const reader = new FrameReader();
  reader.push(wire.subarray(28));
  const kinds = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    kinds.push({ kind: frame.kind, xxh3: frame.xxh3 });
    if (frame.kind === KIND.plain) break;
  }
  return kinds;
}

describe.each(BITS)('frames of a direction with %s', (_name, bits) => {
  const writes = [Buffer.from('all is well, '.repeat(20)), randomBytes(200), Buffer.from('the end')];

  it('arrive whichever checksums and endings the other node knows, and no others are used', () => {
    const records = [CLIENT_HELLO, randomBytes(3000), randomBytes(10)];
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 }),
        fc.boolean(),
        fc.boolean(),
        (abilities, sender, encrypted) => {
          const side = sender ? shared() : WITHOUT;
          const stream = encrypted ? records : writes;
          const wire = framesOf(bits, side, abilities, stream);
          const receiver = (abilities & ABILITY.xxh3) === 0 ? WITHOUT : shared();
          const { got, error } = readBack(bits, receiver, wire);
          expect(error).toBeUndefined();
          expect(got.equals(Buffer.concat(stream))).toBe(true);
          const kinds = kindsIn(wire);
          const fast = sender && (abilities & ABILITY.xxh3) !== 0;
          expect(kinds.some(({ xxh3 }) => xxh3)).toBe(fast);
          const ended = encrypted && (abilities & ABILITY.plain) !== 0;
          expect(kinds.some(({ kind }) => kind === KIND.plain)).toBe(ended);
        },
      ),
      { numRuns: 24 },
    );
  });

  it.each([
    ['CRC-32', ABILITY.plain],
    ['XXH3', ALL],
  ])('deliver no wrong byte, whichever byte of them is damaged, with %s', (_sum, abilities) => {
    const side = shared();
    for (const stream of [writes, [CLIENT_HELLO.subarray(0, 100), randomBytes(20)]]) {
      const wire = framesOf(bits, side, abilities, stream);
      const right = Buffer.concat(stream);
      const tail = kindsIn(wire).some(({ kind }) => kind === KIND.plain) ? 20 : 0; // as plain TCP, which nobody checks
      for (let at = 28; at < wire.length - tail; at++) {
        const damaged = Buffer.from(wire);
        damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at % 8)), at);
        const { got, error } = readBack(bits, side, damaged);
        expect(error).toBeInstanceOf(FrameError);
        expect(right.subarray(0, got.length).equals(got)).toBe(true);
      }
    }
  });
});

it('a direction ends its frames once nothing has become smaller for long', () => {
  const noise = randomBytes(64 * 1024);
  const stream = Array.from({ length: 1026 }, () => noise);
  const wire = framesOf(2, shared(), ALL, stream);
  expect(kindsIn(wire).at(-1)).toEqual({ kind: KIND.plain, xxh3: false });
  expect(wire.subarray(-noise.length).equals(noise)).toBe(true);
});

describe.each(BITS)('an encrypted connection over a leg with %s', (_name, bits) => {
  async function toBare(legs: readonly TransformedLeg[]): Promise<void> {
    await Promise.all(legs.filter((leg) => !leg.bare).map((leg) => once(leg, 'bare')));
  }

  it.each([true, false])(
    'goes on over the sockets of both nodes, every byte right (certain: %s)',
    async (certain) => {
      const closing: string[] = [];
      const note = (how: string): void => void closing.push(how);
      const sides = [
        { shared: shared(), closing: note },
        { shared: shared(), certain },
      ] as const;
      const [near, far] = await pair(bits, ...sides);
      const bared = toBare([near, far]);
      near.write(CLIENT_HELLO);
      await once(far, 'data');
      far.write(SERVER_HELLO);
      await once(near, 'data');
      await bared;
      expect(closing).toEqual(['reset']);
      near.pause();
      far.pause();
      const [a, b] = [must(near.unwrap()), must(far.unwrap())];
      const early = b.read ?? Buffer.alloc(0);
      const request = randomBytes(100_000);
      a.socket.end(request);
      const parts: Buffer[] = [early];
      for await (const part of b.socket) parts.push(part as Buffer);
      const got = Buffer.concat(parts);
      expect(got.subarray(-request.length).equals(request)).toBe(true);
    },
  );

  it('carries both directions to their ends where nobody takes the sockets', async () => {
    const closing: string[] = [];
    const [near, far] = await pair(
      bits,
      { shared: shared(), closing: (how) => void closing.push(how) },
      { shared: shared() },
    );
    const up = Buffer.concat([CLIENT_HELLO, randomBytes(400_000)]);
    const down = Buffer.concat([SERVER_HELLO, randomBytes(700_000)]);
    const got = [collect(far), collect(near)];
    const bare = once(near, 'bare');
    near.write(up.subarray(0, CLIENT_HELLO.length));
    far.write(down.subarray(0, SERVER_HELLO.length));
    await bare;
    const rest = [
      send(near, up.subarray(CLIENT_HELLO.length), 5000),
      send(far, down.subarray(SERVER_HELLO.length)),
    ];
    const [gotUp = Buffer.alloc(0), gotDown = Buffer.alloc(0)] = await Promise.all(got);
    await Promise.all(rest);
    expect(gotUp.equals(up)).toBe(true);
    expect(gotDown.equals(down)).toBe(true);
    expect(closing).toEqual(['reset', 'finish']);
    expect(near.stats.wireSent).toBeLessThan(up.length + 200);
    for (const leg of [near, far]) if (!leg.closed) await once(leg, 'close');
  });
});

describe('a node that lies about what it will do', () => {
  const noise = randomBytes(5000);
  const data = (kind: 1 | 2, bytes: Buffer, sum: number, xxh3: boolean): Buffer =>
    Buffer.concat([frameHeader(kind, FORM.plain, bytes.length, sum, xxh3), bytes]);

  it.each([
    ['ends its frames after other bytes than it says', controlFrame(KIND.plain, total(1))],
    ['ends them although this node may ask for a chunk', controlFrame(KIND.plain, total(0))],
    [
      'refers to something after it said that it will not',
      Buffer.concat([controlFrame(KIND.last, Buffer.alloc(0)), reference(noise)]),
    ],
    ['has a control frame checked by XXH3', frameHeader(KIND.last, FORM.plain, 0, 0, true)],
    ['says the wrong XXH3', data(KIND.data, noise, 1, true)],
  ])('is reset when it %s', async (_what, frames) => {
    const { leg, socket } = await byHand({ shared: shared() });
    const broken = once(leg, 'error') as Promise<[Error]>;
    const got: Buffer[] = [];
    leg.on('data', (bytes: Buffer) => void got.push(bytes));
    socket.write(Buffer.concat([frames, noise]));
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
    expect(got).toEqual([]);
  });

  it('is reset when it uses a checksum that this node did not offer', async () => {
    const { leg, socket } = await byHand({ shared: WITHOUT });
    const broken = once(leg, 'error') as Promise<[Error]>;
    leg.resume();
    const sum = libxxhash()?.([noise]) ?? 0;
    socket.write(data(KIND.data, noise, sum, true));
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
  });

  it('keeps no more in memory behind its last frame than behind others', async () => {
    const agreement = must(agreementOf(1));
    const { leg, socket } = await byHand({ shared: shared(), agreement });
    const frame = data(KIND.data, noise, libxxhash()?.([noise]) ?? 0, true);
    socket.write(Buffer.concat([frame, controlFrame(KIND.plain, total(noise.length))]));
    const block = randomBytes(256 * 1024);
    let [written, blocked] = [0, false];
    while (!blocked) {
      blocked = !socket.write(block);
      written += block.length;
      for (let turn = 0; blocked && turn < 100; turn++) {
        await new Promise((resolve) => void setImmediate(resolve));
        blocked = socket.writableLength > 0;
      }
    }
    expect(leg.readableLength).toBeLessThan(1024 * 1024);
    socket.end();
    expect((await collect(leg)).length).toBe(noise.length + written);
  });
});

it('words of XXH3 are those of its parts, however they are cut', () => {
  const xxh3 = must(libxxhash());
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat(3000), (bytes, at) => {
      const all = Buffer.from(bytes);
      expect(xxh3([all.subarray(0, at), all.subarray(at)])).toBe(xxh3([all]));
    }),
  );
  // XXH3-64 of no bytes, by its specification: 2d06800538d394c2.
  expect(word(xxh3([])).toString('hex')).toBe('38d394c2');
  expect(xxh3([Buffer.alloc(0)])).toBe(xxh3([]));
});

it('a direction whose other one is plain ends its frames, too, unless it has carried much', async () => {
  const [near, far] = await pair(1 | DEDUP_BIT, { shared: shared() }, { shared: shared() });
  const bared = once(near, 'bare');
  near.write(CLIENT_HELLO);
  await once(far, 'data');
  far.write('not TLS at all');
  await once(near, 'data');
  await bared;
  expect(far.bare).toBe(true);
});
