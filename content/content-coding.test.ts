import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexFields } from '../cache/fields.js';
import { acceptedCodings, codingOf, isAnyCoding } from './content-coding.js';

const accepted = (...values: string[]): string =>
  acceptedCodings(indexFields(values.flatMap((value) => ['Accept-Encoding', value])), 'gzip').join(' ');

describe('what a client takes (RFC 9110 section 12.5.3)', () => {
  it.each([
    [['gzip, deflate, br, zstd'], 'br zstd gzip deflate identity'],
    [['gzip'], 'gzip identity'],
    [['GZIP;Q=0.5, br;q=0.1'], 'gzip br identity'],
    [['br;q=0.5', 'gzip'], 'gzip br identity'],
    [['gzip;q=0.5, identity'], 'identity gzip'],
    [['gzip, identity;q=0'], 'gzip'],
    [['gzip, *;q=0'], 'gzip'],
    [['*'], 'br zstd gzip deflate identity'],
    [['*;q=0.5, br;q=0'], 'zstd gzip deflate identity'],
    [['br;q=0, gzip;q=0'], 'identity'],
    [['x-gzip'], 'gzip identity'],
    [[''], 'identity'],
    [['identity;q=0'], ''],
    // What cannot be read counts as not there.
    [['br;q=2, gzip;q=x, deflate;level=9, zstd;q=1;q=1'], 'identity'],
    [['gzip;q=0.1234'], 'identity'],
    [['"gzip'], 'identity'],
  ])('%j', (values, codings) => {
    expect(accepted(...values)).toBe(codings);
  });

  it('is, where it says nothing, what it would have got', () => {
    expect(acceptedCodings(indexFields([]), 'deflate')).toEqual(['deflate', 'identity']);
  });

  it('is never what it has weighed with 0, and the best is what it has weighed highest', () => {
    const name = fc.constantFrom('br', 'zstd', 'gzip', 'deflate', 'identity', '*', 'other');
    const weight = fc.integer({ min: 0, max: 1000 });
    fc.assert(
      fc.property(fc.dictionary(name, weight, { noNullPrototype: true }), (asked) => {
        const members = Object.entries(asked).map(([one, q]) => `${one};q=${(q / 1000).toFixed(3)}`);
        const got = acceptedCodings(indexFields(['Accept-Encoding', members.join(', ')]), 'gzip');
        for (const coding of got) expect(asked[coding] ?? asked['*'] ?? 1).toBeGreaterThan(0);
        const known = Object.entries(asked).filter(([one, q]) => isAnyCoding(one) && q > 0);
        for (const [one, q] of known) {
          expect(got).toContain(one);
          expect(asked[got[0] ?? ''] ?? asked['*']).toBeGreaterThanOrEqual(q);
        }
      }),
    );
  });
});

it.each([
  [[], 'identity'],
  [['identity'], 'identity'],
  [['X-GZip'], 'gzip'],
  [['identity', 'br'], 'br'],
  [['gzip, br'], undefined],
  [['gzip', 'gzip'], undefined],
  [['compress'], undefined],
  [['"gzip'], undefined],
])('the coding of a response that says %j is %s', (values, coding) => {
  expect(codingOf(indexFields(values.flatMap((value) => ['Content-Encoding', value])))).toBe(coding);
});
