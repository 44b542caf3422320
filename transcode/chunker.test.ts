import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutPoint, MAX_CHUNK, MIN_CHUNK, NORMAL_CHUNK } from './chunker.js';

/** Lengths of all chunks but the last, unfinished one. */
function lengths(bytes: Uint8Array): number[] {
  const all: number[] = [];
  for (let at = 0; ;) {
    const length = cutPoint(bytes, at, bytes.length);
    if (length === 0) return all;
    all.push(length);
    at += length;
  }
}

function ends(bytes: Uint8Array, from: number): Set<number> {
  let at = 0;
  return new Set(lengths(bytes).map((length) => (at += length) - from));
}

describe('cutPoint', () => {
  it('keeps to its limits and to its average', () => {
    const all = lengths(randomBytes(8 * 1024 * 1024));
    expect(Math.min(...all)).toBeGreaterThanOrEqual(MIN_CHUNK);
    expect(Math.max(...all)).toBeLessThanOrEqual(MAX_CHUNK);
    const mean = all.reduce((sum, length) => sum + length, 0) / all.length;
    expect(mean).toBeGreaterThan(NORMAL_CHUNK * 0.7);
    expect(mean).toBeLessThan(NORMAL_CHUNK * 1.4);
  });

  it('cuts at the largest length what never matches', () => {
    expect(lengths(new Uint8Array(3 * MAX_CHUNK + 5))).toEqual([MAX_CHUNK, MAX_CHUNK, MAX_CHUNK]);
  });

  it('finds the same cut however much of the stream is there, once there is enough', () => {
    const bytes = randomBytes(200_000);
    fc.assert(
      fc.property(fc.nat(100_000), fc.integer({ min: MAX_CHUNK, max: 100_000 }), (from, length) => {
        expect(cutPoint(bytes, from, from + length)).toBe(cutPoint(bytes, from, bytes.length));
      }),
    );
  });

  it('falls into step again after an insertion', () => {
    const bytes = randomBytes(1024 * 1024);
    fc.assert(
      fc.property(fc.nat(300_000), fc.uint8Array({ minLength: 1, maxLength: 5000 }), (at, inserted) => {
        const changed = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
        const before = ends(bytes, 0);
        const after = [...ends(changed, inserted.length)].filter((end) => end > at + 8 * MAX_CHUNK);
        const same = after.filter((end) => before.has(end));
        expect(same.length).toBeGreaterThan(after.length * 0.9);
      }),
      { numRuns: 20 },
    );
  });
});
