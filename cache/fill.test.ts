import { expect, it } from 'vitest';
import { Fill, FillBudget } from './fill.js';

const SLAB = 256 * 1024;
const slab = (value: number): Buffer => Buffer.allocUnsafeSlow(SLAB).fill(value);

/** What is stored of these, when they are all. */
function stored(chunks: readonly Buffer[]): Buffer[] {
  let blocks: Buffer[] = [];
  const nothing = (): void => undefined;
  const completed = (): void => {
    blocks = fill.blocks();
  };
  const fill = new Fill(2 ** 24, new FillBudget(2 ** 24), {
    overflowed: nothing,
    abandoned: nothing,
    completed,
  });
  for (const chunk of chunks) fill.push(chunk, nothing);
  fill.finish();
  return blocks;
}

it('a buffer that came in pieces is stored as it is, whatever stands around it', () => {
  const [one, two] = [slab(1), slab(2)];
  const before = Buffer.alloc(1000, 0);
  const pieces = [one.subarray(0, 70_000), one.subarray(70_000), two, slab(3).subarray(0, 5000)];
  const blocks = stored([before, ...pieces]);
  expect(Buffer.concat(blocks).equals(Buffer.concat([before, ...pieces]))).toBe(true);
  expect([blocks[1]?.buffer, blocks[2]?.buffer]).toEqual([one.buffer, two.buffer]);
  expect(blocks.map(({ length }) => length)).toEqual([1000, SLAB, SLAB, 5000]);
});

it('what is a part of its buffer, or not in order, is copied', () => {
  const one = slab(1);
  const halves = [one.subarray(SLAB / 2), one.subarray(0, SLAB / 2)];
  for (const chunks of [halves, [one.subarray(1)], [one.subarray(0, SLAB - 1)]]) {
    const blocks = stored(chunks);
    expect(Buffer.concat(blocks).equals(Buffer.concat(chunks))).toBe(true);
    for (const block of blocks)
      expect([block.buffer === one.buffer, block.buffer.byteLength]).toEqual([false, block.length]);
  }
});
