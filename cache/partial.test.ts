import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexFields } from './fields.js';
import {
  combine,
  cut,
  extract,
  formatContentRange,
  onlyGap,
  readContentRange,
  readRange,
  resolveRanges,
  type Piece,
} from './partial.js';

const WHOLE = Buffer.from(Array.from({ length: 100 }, (_, index) => index));

/** The bytes of a range of {@link WHOLE}, in two blocks. */
function piece(first: number, last: number): Piece {
  const middle = Math.ceil((first + last) / 2);
  return { first, last, blocks: [WHOLE.subarray(first, middle), WHOLE.subarray(middle, last + 1)] };
}

const range = fc
  .tuple(fc.integer({ min: 0, max: 99 }), fc.integer({ min: 0, max: 99 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

describe('pieces', () => {
  it('put together in any order are what they cover, in order, apart, and byte for byte right', () => {
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 12 }), range, (ranges, wanted) => {
        let pieces: Piece[] = [];
        const covered = new Set<number>();
        for (const { first, last } of ranges) {
          pieces = combine(pieces, piece(first, last));
          for (let at = first; at <= last; at++) covered.add(at);
        }
        for (const [index, { first, last, blocks }] of pieces.entries()) {
          expect(Buffer.concat(blocks).equals(WHOLE.subarray(first, last + 1))).toBe(true);
          if (index > 0) expect(first).toBeGreaterThan((pieces[index - 1]?.last ?? 0) + 1);
        }
        expect(pieces.reduce((sum, { first, last }) => sum + last - first + 1, 0)).toBe(covered.size);

        let there = true;
        for (let at = wanted.first; at <= wanted.last; at++) there &&= covered.has(at);
        const bytes = extract({ pieces }, wanted);
        expect(bytes !== undefined).toBe(there);
        if (bytes)
          expect(Buffer.concat(bytes).equals(WHOLE.subarray(wanted.first, wanted.last + 1))).toBe(true);
      }),
    );
  });

  it('that overlap take the newer bytes', () => {
    const old: Piece = { first: 0, last: 9, blocks: [Buffer.from('aaaaaaaaaa')] };
    const [joined] = combine([old], { first: 3, last: 5, blocks: [Buffer.from('bbb')] });
    expect(Buffer.concat(joined?.blocks ?? []).toString()).toBe('aaabbbaaaa');
  });

  it('know the one stretch that is missing', () => {
    const gap = (...ranges: [number, number][]): unknown =>
      onlyGap({ pieces: ranges.map(([first, last]) => piece(first, last)), total: 100 });
    expect(gap([0, 49])).toEqual({ first: 50, last: 99 });
    expect(gap([50, 99])).toEqual({ first: 0, last: 49 });
    expect(gap([0, 9], [20, 99])).toEqual({ first: 10, last: 19 });
    expect(gap([10, 19])).toBeUndefined();
    expect(gap([0, 99])).toBeUndefined();
  });

  it('are cut out of blocks without copying', () => {
    fc.assert(
      fc.property(range, fc.array(fc.integer({ min: 1, max: 30 })), ({ first, last }, sizes) => {
        const blocks: Buffer[] = [];
        for (let at = 0, size = sizes.pop() ?? 100; at < 100; at += size, size = sizes.pop() ?? 100) {
          blocks.push(WHOLE.subarray(at, at + size));
        }
        const part = cut(blocks, first, last - first + 1);
        expect(Buffer.concat(part).equals(WHOLE.subarray(first, last + 1))).toBe(true);
        expect(part.every((block) => block.buffer === WHOLE.buffer)).toBe(true);
      }),
    );
  });
});

describe('Range', () => {
  const read = (text: string): unknown => {
    const specs = readRange(indexFields(['Range', text]));
    return specs && resolveRanges(specs, 100).map(({ first, last }) => `${first}-${last}`);
  };
  it.each<[string, unknown]>([
    ['bytes=0-9', ['0-9']],
    ['BYTES=90-', ['90-99']],
    ['bytes=-5', ['95-99']],
    ['bytes=-500', ['0-99']],
    ['bytes=50-500', ['50-99']],
    ['bytes=0-0, 5-6 ,-1', ['0-0', '5-6', '99-99']],
    ['bytes=100-', []],
    ['bytes=-0', []],
    ['bytes=5-4', undefined],
    ['bytes=-', undefined],
    ['bytes=a-b', undefined],
    ['items=0-9', undefined],
    [`bytes=${'0-0,'.repeat(20)}`, undefined],
    [`bytes=${'9'.repeat(40)}-`, undefined],
  ])('%s', (text, expected) => expect(read(text)).toEqual(expected));

  it('survives any text', () => {
    fc.assert(fc.property(fc.string(), (text) => void read(`bytes=${text}`)));
  });
});

it('Content-Range is read back, and refused when it contradicts itself', () => {
  const read = (text: string): unknown => readContentRange(indexFields(['Content-Range', text]));
  fc.assert(
    fc.property(range, (one) => {
      expect(read(formatContentRange(one, 100))).toEqual({ ...one, total: 100 });
    }),
  );
  for (const bad of [
    'bytes 5-4/10',
    'bytes 0-10/10',
    'bytes 0-4/*',
    'bytes */10',
    'items 0-4/10',
    '0-4/10',
  ]) {
    expect(read(bad)).toBeUndefined();
  }
});
