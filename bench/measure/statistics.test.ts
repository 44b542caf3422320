import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ascending, distributionOf, median, quantile, ratioSpread, spreadOf, thin } from './statistics.js';

const samples = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

describe('quantiles', () => {
  it('interpolate between neighbours', () => {
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(quantile([1, 2, 3], 0.25)).toBe(1.5);
    expect(quantile([7], 0.99)).toBe(7);
    expect(quantile([], 0.5)).toBeNaN();
  });

  it('lie between the extremes, in order, whatever the samples', () => {
    fc.assert(
      fc.property(samples, fc.double({ min: 0, max: 1, noNaN: true }), (values, fraction) => {
        const sorted = ascending(values);
        const value = quantile(sorted, fraction);
        expect(value).toBeGreaterThanOrEqual(Math.min(...values));
        expect(value).toBeLessThanOrEqual(Math.max(...values));
        expect(value).toBeLessThanOrEqual(quantile(sorted, Math.min(1, fraction + 0.1)));
      }),
    );
  });

  it('do not depend on the order', () => {
    fc.assert(
      fc.property(samples, (values) => {
        expect(median([...values].reverse())).toBe(median(values));
      }),
    );
  });
});

describe('spreads', () => {
  it('have median, extremes and count', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, count: 3 });
  });

  it('of ratios compare within a round, and leave out rounds without a baseline', () => {
    expect(ratioSpread([2, 30, 5], [1, 10, 0])).toEqual({ median: 2.5, min: 2, max: 3, count: 2 });
    expect(ratioSpread([2], [])).toMatchObject({ count: 0, median: NaN });
  });
});

it('distributions have what table 1 has', () => {
  const { count, mean, standardDeviation, p50, max } = distributionOf([2, 4, 4, 4, 5, 5, 7, 9]);
  expect({ count, mean, standardDeviation, p50, max }).toEqual({
    count: 8,
    mean: 5,
    standardDeviation: 2,
    p50: 4.5,
    max: 9,
  });
});

it('thinning keeps the ends and the order', () => {
  expect(thin([1, 2, 3], 5)).toEqual([1, 2, 3]);
  const few = thin(
    Array.from({ length: 1000 }, (_, index) => index),
    11,
  );
  expect(few).toHaveLength(11);
  expect([few[0], few.at(-1)]).toEqual([0, 999]);
  expect(few).toEqual([...few].sort((a, b) => a - b));
});
