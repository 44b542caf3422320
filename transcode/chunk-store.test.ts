import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { chunkId, ChunkStore } from './chunk-store.js';
import { Dictionaries } from './dictionaries.js';

it('a store stays within its bytes; the least recently used chunk leaves, and is counted', () => {
  const store = new ChunkStore({ bytes: 100_000, peers: 2 });
  const chunks = Array.from({ length: 40 }, () => randomBytes(4000));
  for (const chunk of chunks) {
    store.put(chunkId(chunk), chunk);
    expect(store.bytes).toBeLessThanOrEqual(100_000);
  }
  expect(store.size + store.evictions).toBe(chunks.length);
  expect(store.evictions).toBeGreaterThan(0);
  const [oldest, newest] = [chunks[0], chunks.at(-1)].map((chunk) =>
    store.get(chunkId(chunk ?? Buffer.of())),
  );
  expect([oldest, newest?.length]).toEqual([undefined, 4000]);
});

it('of other stores the least recently used is forgotten, and so is the oldest of many chunks', () => {
  const store = new ChunkStore({ bytes: 1_000_000, peers: 2 });
  const [a, b, c] = [randomBytes(8), randomBytes(8), randomBytes(8)];
  for (const name of [a, b, c]) expect(store.known(name).meet('x')).toBe(false);
  expect(store.known(c).meet('x')).toBe(true);
  expect(store.known(a).meet('x')).toBe(false); // another object now: b has left
  const known = store.known(c);
  for (let id = 0; id < 10_000; id++) known.meet(String(id));
  expect(known.meet('9999')).toBe(true);
  expect(known.meet('x')).toBe(false);
});

it('dictionaries stay within their bytes', () => {
  const dictionaries = new Dictionaries(50_000);
  for (let subject = 0; subject < 20; subject++) dictionaries.learn(String(subject), randomBytes(5000));
  expect(dictionaries.bytes).toBeLessThanOrEqual(50_000);
  expect(dictionaries.latest('0')).toBeUndefined();
  expect(dictionaries.latest('19')?.content).toHaveLength(5000);
});
