import { randomBytes } from 'node:crypto';
import { afterEach, expect, it, vi } from 'vitest';
import { Budget } from './budget.js';
import { agreementOf, DEDUP_BIT } from './capabilities.js';
import { ChunkStore } from './chunk-store.js';
import { Dictionaries, NO_DICTIONARY } from './dictionaries.js';
import { LevelCeiling } from './level.js';
import { Outbound } from './outbound.js';
import { emptyStats } from './stats.js';

afterEach(() => {
  vi.useRealTimers();
});

it('looks ever more seldom at a leg that stays busy, and sends what waits when it is not', () => {
  vi.useFakeTimers();
  const agreement = agreementOf(DEDUP_BIT);
  if (agreement === undefined) throw new Error('nothing agreed');
  const store = new ChunkStore({ bytes: 2 ** 20, peers: 1 });
  const shared = {
    store,
    dictionaries: new Dictionaries(1024),
    ceiling: new LevelCeiling(),
    held: new Budget(Infinity),
    waiting: new Budget(Infinity),
    xxh3: undefined,
  };
  let [busy, looks, sent] = [true, 0, 0];
  const ports = {
    send: (...parts: readonly Buffer[]) => {
      for (const { length } of parts) sent += length;
    },
    backedUp: () => {
      looks++;
      return busy;
    },
    silent: () => false,
    peerIsLast: () => false,
    peerIsPlain: () => false,
    plain: () => undefined,
  };
  const outbound = new Outbound(agreement, shared, ports, emptyStats());
  outbound.peerSaid({ storeId: store.id, dictionaryId: NO_DICTIONARY, abilities: 0 });
  const bytes = randomBytes(100_000);
  outbound.write(bytes);
  looks = 0;
  vi.advanceTimersByTime(1000);
  expect(looks).toBeLessThan(40);
  expect(sent).toBeLessThan(bytes.length);
  busy = false;
  vi.advanceTimersByTime(50);
  expect(sent).toBeGreaterThan(bytes.length);
  outbound.close();
  expect(vi.getTimerCount()).toBe(0);
});
