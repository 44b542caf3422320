import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sequence, u32 } from './arbitraries.props.js';
import { add, diff, inWindow, leq, lt, max, min, seq } from './seq.js';

/** Less than half the space, where serial arithmetic is defined (RFC 1982 section 3). */
const step = fc.integer({ min: 1, max: 0x7fffffff });

describe('Seq', () => {
  it('wraps at 2^32 in both directions', () => {
    expect(add(seq(0xffffffff), 1)).toBe(0);
    expect(add(seq(0), -1)).toBe(0xffffffff);
    expect(lt(seq(0xfffffff0), seq(0x10))).toBe(true);
    expect(diff(seq(0x10), seq(0xfffffff0))).toBe(0x20);
  });

  it('diff undoes add, across the wrap too', () => {
    fc.assert(fc.property(sequence, step, (a, n) => diff(add(a, n), a) === n && diff(a, add(a, n)) === -n));
    fc.assert(fc.property(sequence, sequence, (a, b) => add(b, diff(a, b)) === a));
  });

  it('add is associative and stays in range', () => {
    fc.assert(
      fc.property(sequence, fc.integer(), fc.integer(), (a, m, n) => {
        expect(add(add(a, m), n)).toBe(add(a, m + n));
        expect(add(a, m)).toBeGreaterThanOrEqual(0);
        expect(add(a, m)).toBeLessThan(2 ** 32);
      }),
    );
  });

  it('orders any two numbers less than half the space apart, exactly one way', () => {
    fc.assert(
      fc.property(sequence, step, (a, n) => {
        const b = add(a, n);
        expect([lt(a, b), lt(b, a), leq(a, b), leq(b, a)]).toEqual([true, false, true, false]);
        expect([max(a, b), max(b, a), min(a, b), min(b, a)]).toEqual([b, b, a, a]);
      }),
    );
  });

  it('is reflexive where it should be', () => {
    fc.assert(fc.property(sequence, (a) => !lt(a, a) && leq(a, a) && diff(a, a) === 0));
  });

  it('knows a window that wraps', () => {
    fc.assert(
      fc.property(sequence, u32, u32, (start, size, offset) => {
        expect(inWindow(add(start, offset), start, size)).toBe(offset < size);
      }),
    );
  });
});
