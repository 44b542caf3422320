/** What a leg keeps, waits for and answers, whatever the node at its other end does. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { DEDUP_BIT } from './capabilities.js';
import { chunkId } from './chunk-store.js';
import { controlFrame, FrameReader, KIND, word } from './frame.js';
import { BITS, byHand, collect, destroyAll, pair, reference, send, shared } from './leg-ends.props.js';

afterEach(destroyAll);

describe('a node that does not do its part', () => {
  it('is told that it ends too early when it leaves with a question unanswered', async () => {
    const { leg, socket } = await byHand({ shared: shared() });
    const broken = once(leg, 'error') as Promise<[Error]>;
    const chunk = randomBytes(5000);
    const end = Buffer.alloc(8);
    end.writeBigUInt64BE(BigInt(chunk.length));
    socket.end(Buffer.concat([reference(chunk), controlFrame(KIND.end, end)]));
    leg.resume();
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
  });

  it('gets the last of the answers that it has not read, and no more are kept for it', async () => {
    const side = { shared: shared() };
    const { leg, raw, socket } = await byHand(side);
    const chunk = randomBytes(5000);
    side.shared.store.put(chunkId(chunk), chunk);
    leg.resume();
    await once(socket, 'data'); // our hello
    raw.cork();
    const [frames, rounds] = [1000, 20];
    const many = Buffer.concat(Array.from({ length: frames }, () => reference(chunk)));
    for (let round = 1; round <= rounds; round++) {
      socket.write(many);
      while (leg.stats.plainReceived < round * frames * chunk.length) await once(leg, 'data');
    }
    expect(raw.writableLength).toBeLessThan(160 * 1024);
    const reader = new FrameReader();
    let told = 0;
    socket.on('data', (bytes: Buffer) => {
      reader.push(bytes);
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        if (frame.kind === KIND.resolved) told = Buffer.concat(frame.payload).readUInt32BE(0);
      }
    });
    raw.uncork();
    while (told < frames * rounds) await once(socket, 'data');
  });

  it('gets no answers among bytes that are not transformed', async () => {
    const { leg, socket } = await byHand({ shared: shared(), certain: false }, 'banner');
    const broken = once(leg, 'error') as Promise<[Error]>;
    const got: Buffer[] = [];
    socket.on('data', (bytes: Buffer) => void got.push(bytes));
    leg.resume();
    socket.write(reference(randomBytes(5000)));
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
    expect('banner'.startsWith(Buffer.concat(got).toString())).toBe(true);
  });

  it('gets what a reference stood for once', async () => {
    const { leg, socket } = await byHand({ shared: shared() });
    const chunk = randomBytes(60_000);
    await once(socket, 'data');
    leg.write(chunk); // cuts it and believes that it is known from now on
    await once(socket, 'data');
    leg.write(chunk);
    await once(socket, 'data');
    const broken = once(leg, 'error') as Promise<[Error]>;
    socket.write(Buffer.concat([controlFrame(KIND.missing, word(0)), controlFrame(KIND.missing, word(0))]));
    expect((await broken)[0]).toMatchObject({ code: 'transform-broken' });
  });
});

it('answers what the other node has lost although nobody reads what stands before the question', async () => {
  const [a, b] = [shared(), shared(200_000)];
  const file = randomBytes(3_000_000);
  const bits = 1 | DEDUP_BIT;
  const [first, second] = await pair(bits, { shared: a }, { shared: b });
  second.write('ready'); // our hello comes with it
  await once(first, 'data');
  await Promise.all([collect(second), send(first, file)]);
  second.end();
  const [near, far] = await pair(bits, { shared: a }, { shared: b });
  // Nobody reads at the near end, until the far end cannot write any more.
  const noise = randomBytes(256 * 1024);
  let [written, stopped] = [0, false];
  const writing = async (): Promise<void> => {
    while (!stopped) {
      written++;
      if (!far.write(noise)) await once(far, 'drain');
    }
  };
  writing().catch(() => undefined); // it ends with the leg
  for (let before = -1; before !== written;) {
    before = written;
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => void setImmediate(resolve));
  }
  stopped = true;
  const [got] = await Promise.all([collect(far), send(near, file)]);
  expect(got.equals(file)).toBe(true);
  expect(near.stats.missed).toBeGreaterThan(0);
  near.destroy();
});

it('reads no more than there is a place for, however small that is on the wire', async () => {
  const [near, far] = await pair(1, { shared: shared() }, { shared: shared() });
  const block = Buffer.alloc(1024 * 1024);
  const total = 64;
  const produce = (async () => {
    for (let sent = 0; sent < total; sent++) if (!near.write(block)) await once(near, 'drain');
    near.end();
  })();
  await produce; // it is a few KiB on the wire: all of it is under way
  let most = 0;
  for (let turn = 0; turn < 500; turn++) {
    await new Promise((resolve) => void setImmediate(resolve));
    most = Math.max(most, far.readableLength);
  }
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(1024 * 1024);
  const got = await collect(far);
  expect(got.length).toBe(total * block.length);
});

describe.each(BITS)('memory of a leg with %s', (_name, bits) => {
  it('is bounded when nobody reads at the far end, and nothing is lost', async () => {
    const [a, b] = [shared(8 * 1024 * 1024), shared(8 * 1024 * 1024)];
    const [near, far] = await pair(bits, { shared: a }, { shared: b });
    const block = randomBytes(256 * 1024);
    // Half of it has been seen: references are held until they are resolved.
    const total = 512;
    let [sent, wanted] = [0, true];
    const produce = (async () => {
      for (; sent < total; sent++) {
        block.writeUInt32BE(sent >> 1, 100_000);
        wanted = near.write(Buffer.from(block));
        if (!wanted) await once(near, 'drain');
      }
      near.end();
    })();
    for (let before = -1; before !== sent;) {
      before = sent;
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => void setImmediate(resolve));
    }
    // What the kernel holds for both sockets is not ours, but under way all the same.
    expect(sent * block.length).toBeLessThan(48 * 1024 * 1024);
    expect(near.writableLength).toBeLessThan(1024 * 1024);
    expect(far.readableLength).toBeLessThan(18 * 1024 * 1024);
    expect(a.store.bytes).toBeLessThanOrEqual(8 * 1024 * 1024);
    expect(b.store.bytes).toBeLessThanOrEqual(8 * 1024 * 1024);
    far.resume();
    await produce;
    await once(far, 'end');
    expect(far.stats.plainReceived).toBe(total * block.length);
  });
});
