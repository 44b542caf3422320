import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Delays, StepTable } from './stats.js';
import { Variants } from './variants.js';

describe('delays', () => {
  it('have quantiles that are at most 40 % above the true ones', () => {
    const delay = fc.double({ min: 0.1, max: 60_000, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(delay, { minLength: 1, maxLength: 50 }),
        fc.constantFrom(0.5, 0.99),
        (all, share) => {
          const delays = new Delays();
          for (const one of all) delays.add(one);
          const right = [...all].sort((a, b) => a - b)[Math.ceil(all.length * share) - 1] ?? 0;
          expect(delays.quantile(share)).toBeGreaterThanOrEqual(right - 0.05); // it is rounded
          expect(delays.quantile(share)).toBeLessThanOrEqual(right * 1.4 + 0.05);
        },
      ),
    );
    expect(new Delays().quantile(0.5)).toBe(0);
  });
});

it('steps are counted by name, and a bounded number of them', () => {
  const table = new StepTable();
  const report = { bytesIn: 10, bytesOut: 5, milliseconds: 1, cpuMilliseconds: 500 };
  for (let at = 0; at < 200; at++) table.add({ name: `step${at % 150}`, ...report });
  table.add({ name: 'step0', ...report, bytesOut: 10, failed: 'why' });
  const rows = table.rows();
  expect(rows).toHaveLength(129);
  expect(rows[0]).toMatchObject({
    name: 'step0',
    responses: 3,
    smaller: 2,
    failed: 1,
    bytesOut: 20,
    cpuSeconds: 1.5,
  });
  expect(rows.at(-1)).toMatchObject({ name: 'others', responses: 22 });
});

it('variants are bounded by bytes, the least recently used go first', () => {
  const variants = new Variants(10_000);
  const content = Buffer.alloc(1000);
  for (const key of ['a', 'b', 'c', 'd', 'e', 'f'])
    variants.put(key, { content, mediaType: undefined, coding: undefined, tag: '' });
  variants.get('a');
  variants.put('g', { content, mediaType: undefined, coding: undefined, tag: '' });
  expect([variants.get('b'), variants.get('a')?.valueOf()]).toMatchObject([undefined, { content }]);
  expect(variants.stats().bytes).toBeLessThanOrEqual(10_000);
  variants.put('large', { content: Buffer.alloc(5000), mediaType: undefined, coding: undefined, tag: '' });
  expect(variants.get('large')).toBeUndefined();
});
