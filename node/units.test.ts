import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nearest } from './nearest.js';
import {
  formatDuration,
  formatPortRange,
  formatSize,
  parseDuration,
  parsePortRange,
  parseSize,
} from './units.js';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['64KiB', 65536],
    ['256MiB', 2 ** 28],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['2 TiB', 2 ** 41],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes));
  it.each(['', '-1', '1KB', '1kib', 'x', '1e3', '99999999TiB'])('refuses %j', (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );
  it('reads back what it writes', () =>
    fc.assert(
      fc.property(
        fc.nat({ max: 2 ** 40 }),
        (bytes) => parseSize(formatSize(bytes).replace(' bytes', '')) === bytes,
      ),
    ));
});

describe('durations', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1.5h', 5_400_000],
  ])('%s', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));
  it.each(['', '30', '1d', '-1s', '600h'])('refuses %j', (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );
  it('reads back what it writes', () =>
    fc.assert(fc.property(fc.nat({ max: 2 ** 31 - 1 }), (ms) => parseDuration(formatDuration(ms)) === ms)));
});

describe('ports', () => {
  it('reads back what it writes', () =>
    fc.assert(
      fc.property(fc.nat(65535), fc.nat(65535), (a, b) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) };
        expect(parsePortRange(formatPortRange(range))).toEqual(range);
      }),
    ));
  it.each(['', '65536', '1-65536', '9-8', 'http', '1-2-3'])('refuses %j', (text) =>
    expect(parsePortRange(text)).toBeUndefined(),
  );
});

describe('nearest', () => {
  const keys = ['name', 'address', 'cache', 'drainTimeout'];
  it.each([
    ['cahe', 'cache'],
    ['Name', 'name'],
    ['adress', 'address'],
    ['drain_timeout', 'drainTimeout'],
    ['zzz', undefined],
  ])('%s → %s', (word, expected) => expect(nearest(word, keys)).toBe(expected));
});
