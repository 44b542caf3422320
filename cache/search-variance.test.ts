import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexFields } from './fields.js';
import { SearchIndex } from './search-index.js';
import { readSearchVariance, significantQuery } from './search-variance.js';

const fields = (value: string): ReturnType<typeof indexFields> => indexFields(['No-Vary-Search', value]);
const variance = (value: string): NonNullable<ReturnType<typeof readSearchVariance>> => {
  const read = readSearchVariance(fields(value));
  if (read === undefined) throw new Error(`${value} says nothing`);
  return read;
};

describe('the field', () => {
  // The draft's own examples.
  it.each([
    'unknown-key',
    'key-order="not a boolean"',
    'params="not a boolean or inner list"',
    'params=(not-a-string)',
    'params=("a"), except=("x")',
    'params=(), except=()',
    'params=?0, except=("x")',
    'params, except=(not-a-string)',
    'params, except="not an inner list"',
    'params, except=?1',
    'except=("x")',
    'except=()',
    'params=?0',
    'params=()',
    'key-order=?0',
    'params, &',
    '',
  ])('%j says nothing', (value) => expect(readSearchVariance(fields(value))).toBeUndefined());

  it('says nothing when it is not there', () => expect(readSearchVariance(indexFields([]))).toBeUndefined());

  it.each([
    ['params=?1', 'params'],
    ['key-order=?1', 'key-order'],
    ['params, key-order, except=("x")', 'key-order, params, except=("x")'],
    ['params=("b" "a")', 'params=("a" "b" "a")'],
    ['params=("%61"), future', 'params=("a")'],
    ['params=("a+b")', 'params=("a%20b")'],
  ])('%j is the same as %j', (one, other) => expect(variance(one).id).toBe(variance(other).id));

  it('is ignored beyond what is worth reading', () => {
    const many = Array.from({ length: 65 }, (_, index) => `"p${index}"`).join(' ');
    expect(readSearchVariance(fields(`params=(${many})`))).toBeUndefined();
    expect(readSearchVariance(fields(`params=("${'x'.repeat(257)}")`))).toBeUndefined();
  });
});

describe('queries', () => {
  it.each([
    ['key-order', 'a=1&b=2', 'b=2&a=1'],
    ['key-order', '', '&&'],
    ['key-order', 'a=x', '%61=%78'],
    ['key-order', 'a=', 'a'],
    ['key-order', 'a=%20', 'a=+'],
    ['key-order', 'a=\xc3\xa9', 'a=%C3%A9'],
    ['params=("utm" "%C3%A9+%E6%B0%97")', 'a=1&utm=2&%C3%A9+%E6%B0%97=4', 'utm=3&a=1'],
    ['params', 'a=1', ''],
    ['params, except=("id")', 'id=7&t=1', 't=2&id=7&u'],
  ])('with %s, %j is %j', (value, one, other) => {
    expect(significantQuery(variance(value), one)).toBe(significantQuery(variance(value), other));
  });

  it.each([
    ['key-order', 'a=1&a=2', 'a=2&a=1'],
    ['key-order', '?a=1', 'a=1'],
    ['params=("utm")', 'a=1&b=2', 'b=2&a=1'],
    ['params=("utm")', 'a=1&UTM=1', 'a=1&UTM=2'],
    ['params, except=("id")', 'id=7', 'id=8'],
  ])('with %s, %j is not %j', (value, one, other) => {
    expect(significantQuery(variance(value), one)).not.toBe(significantQuery(variance(value), other));
  });

  it('are their own where the draft would take different bytes for one character', () => {
    expect(significantQuery(variance('key-order'), 'a=%f6')).toBeUndefined();
    expect(significantQuery(variance('params=("a")'), 'a=%f6')).toBe('[]');
    expect(significantQuery(variance('params'), 'x'.repeat(4097))).toBeUndefined();
  });

  const name = fc.constantFrom<string[]>('a', 'b', 'c', '&', '=', '%', '+', ' ', 'ü', '?');
  const pairs = fc.array(fc.tuple(name, fc.string({ maxLength: 3, unit: 'grapheme' })), { maxLength: 6 });
  const written = (list: readonly (readonly [string, string])[]): string =>
    list.map((pair) => pair.map(encodeURIComponent).join('=')).join('&');

  it('are the same exactly when what matters of them is, in its order', () => {
    fc.assert(
      fc.property(
        pairs,
        pairs,
        fc.uniqueArray(name, { maxLength: 4 }),
        fc.boolean(),
        fc.boolean(),
        (...args) => {
          const [one, other, names, all, noOrder] = args;
          const list = names.map((text) => `"${encodeURIComponent(text)}"`).join(' ');
          const value = `${all ? `params, except=(${list})` : `params=(${list})`}${noOrder ? ', key-order' : ''}`;
          const read = readSearchVariance(fields(value));
          const what = (raw: readonly (readonly [string, string])[]): string => {
            const kept = raw.filter(([key]) => names.includes(key) === all);
            const groups = [...new Set(kept.map(([key]) => key))].sort();
            const order = noOrder ? groups.flatMap((key) => kept.filter(([own]) => own === key)) : kept;
            return JSON.stringify(order);
          };
          if (read === undefined) {
            expect([all, noOrder, names.length]).toEqual([false, false, 0]);
            return;
          }
          const same = significantQuery(read, written(one)) === significantQuery(read, written(other));
          expect(same).toBe(what(one) === what(other));
        },
      ),
    );
  });
});

describe('the index', () => {
  const path = '192.0.2.80 80 example.test /a';

  it('finds what was stored last, of the same path only', () => {
    const index = new SearchIndex();
    index.note(`${path}?x=1&utm=1`, fields('params=("utm")'));
    expect(index.find(`${path}?x=1&utm=2`)?.key).toBe(`${path}?x=1&utm=1`);
    expect(index.find(`${path}?x=1`)?.key).toBe(`${path}?x=1&utm=1`);
    expect(index.find(`${path}?x=1&utm=1`)).toBeUndefined(); // itself
    expect(index.find(`${path}?x=2&utm=1`)).toBeUndefined();
    expect(index.find('192.0.2.81 80 example.test /a?x=1')).toBeUndefined();
    index.note(`${path}?utm=3&x=1`, fields('params=("utm")'));
    expect(index.find(`${path}?x=1`)?.key).toBe(`${path}?utm=3&x=1`);
  });

  it('holds only for a response that still says so', () => {
    const index = new SearchIndex();
    index.note(`${path}?utm=1`, fields('params=("utm")'));
    const found = index.find(path);
    expect(found?.holds(fields('params=("utm")'))).toBe(true);
    expect(found?.holds(fields('params=("utm" "x")'))).toBe(false);
    expect(found?.holds(indexFields([]))).toBe(false);
  });
});
