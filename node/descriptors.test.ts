import { expect, test } from 'vitest';
import { roomUnder } from './descriptors.js';

test.each([
  [Infinity, 100_000, 100_000],
  [202_048, 100_000, 100_000],
  [20_000, 100_000, 8976],
  [1024, 100_000, 256], // half of a small limit is kept for everything else
  [1024, 10, 10],
  [2, 10, 1],
])('a limit of %d open files has, of %d connections, room for %d', (limit, connections, room) => {
  expect(roomUnder(limit, connections)).toBe(room);
});
