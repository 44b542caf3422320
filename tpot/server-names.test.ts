import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isNamed, parseServerName } from './server-names.js';

describe('patterns for server names', () => {
  it.each([
    ['WWW.example.net.', 'www.example.net'],
    ['*.Example.net', '*.example.net'],
    ['*.net', '*.net'],
  ])('%s reads as %s', (written, pattern) => expect(parseServerName(written)).toBe(pattern));

  it.each([
    '',
    '*',
    '*.',
    '*.*.net',
    'www.*.net',
    'w*.example.net',
    '192.0.2.1',
    '*.192.0.2.1',
    'bücher.example',
  ])('%j is none', (written) => expect(parseServerName(written)).toBeUndefined());

  it.each([
    ['www.example.net', 'www.example.net', true],
    ['www.example.net', 'a.www.example.net', false],
    ['*.example.net', 'www.example.net', true],
    ['*.example.net', 'a.b.example.net', true],
    ['*.example.net', 'example.net', false],
    ['*.example.net', 'badexample.net', false],
    ['*.net', 'example.net', true],
  ])('%s is for %s: %s', (pattern, name, is) => expect(isNamed(new Set([pattern]), name)).toBe(is));

  it('are looked up as they would be compared one by one', () => {
    const name = fc
      .array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 4 })
      .map((labels) => labels.join('.'));
    const pattern = fc.tuple(fc.constantFrom('', '*.'), name).map((parts) => parts.join(''));
    const matches = (one: string, asked: string): boolean =>
      one.startsWith('*.') ? asked.endsWith(one.slice(1)) : one === asked;
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 3 }), name, (patterns, asked) => {
        expect(isNamed(new Set(patterns), asked)).toBe(patterns.some((one) => matches(one, asked)));
      }),
      { numRuns: 2000 },
    );
  });
});
