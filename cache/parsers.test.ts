/** The readers of single fields: what they make of good, odd and hostile values. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCacheStatus, cacheStatusName, nextHopHit } from './cache-status.js';
import { parseRequestDirectives, parseResponseDirectives } from './cache-control.js';
import { indexFields } from './fields.js';
import { parseHttpDate } from './http-date.js';
import { cacheGroups, invalidatedGroups, namedKeys } from './invalidation.js';
import { parseDictionary, parseList } from './structured.js';
import { parseTargeted } from './targeted.js';
import { normalise, readVary, speaksPreferred, variantKey } from './vary.js';

const NOW = Date.UTC(2026, 0, 1);

describe('dates', () => {
  it('in the preferred form are read whatever the case', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date('2400-01-01'), noInvalidDate: true }), (date) => {
        const text = date.toUTCString();
        const seconds = Math.floor(date.getTime() / 1000) * 1000;
        expect([text, text.toUpperCase(), text.toLowerCase()].map((one) => parseHttpDate(one, NOW))).toEqual([
          seconds,
          seconds,
          seconds,
        ]);
      }),
    );
  });

  it.each<[string, string | undefined]>([
    ['Sunday, 06-Nov-94 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['Thursday, 18-Aug-50 02:01:18 GMT', '2050-08-18T02:01:18Z'],
    ['Thursday, 18-Aug-77 02:01:18 GMT', '1977-08-18T02:01:18Z'],
    ['Sun Nov  6 08:49:37 1994', '1994-11-06T08:49:37Z'],
    ['Thu, 18 Aug 2050 02:01:60 GMT', '2050-08-18T02:01:59Z'],
    ['Thu, 18 Aug 50 02:01:18 GMT', undefined],
    ['Thu, 18 Aug 2050 02:01:18 UTC', undefined],
    ['Thu, 18 Aug 2050 24:01:18 GMT', undefined],
    ['Thu, 31 Feb 2050 02:01:18 GMT', undefined],
    ['Thu, 18  Aug 2050 02:01:18 GMT', undefined],
    ['2024-05-15T12:00:00Z', undefined],
    ['0', undefined],
    ['', undefined],
  ])('%s', (text, expected) => {
    expect(parseHttpDate(text, NOW)).toBe(expected === undefined ? undefined : Date.parse(expected));
  });
});

describe('structured fields', () => {
  const values = (text: string): unknown =>
    parseList([text])?.map((member) => ('item' in member ? member.item.value : member.inner.length));
  it.each<[string, unknown]>([
    [
      '1, -2.5, "a\\"b", tok/en, ?1, :aGk=:, @1659578233, %"f%c3%bc"',
      [1, -2.5, 'a"b', 'tok/en', true, 'aGk=', 1659578233, 'f%c3%bc'],
    ],
    ['(1 2);a, ()', [2, 0]],
    ['', []],
    ['a,', undefined],
    ['a b', undefined],
    ['"a', undefined],
    ['"\u00e9"', undefined],
    ['1.', undefined],
    ['1.2345', undefined],
    ['1234567890123456', undefined],
    ['(a', undefined],
    ['(a b', undefined],
    ['(a"b")', undefined],
    ['&', undefined],
  ])('%s', (text, expected) => expect(values(text)).toEqual(expected));

  it('as dictionaries take the last of a key, and lines as one list', () => {
    const members = parseDictionary(['a=1, b', 'a=(x y);q=0.5']);
    expect([...(members?.keys() ?? [])]).toEqual(['a', 'b']);
    expect(members?.get('a')).toMatchObject({ inner: [{ item: { value: 'x' } }, { item: { value: 'y' } }] });
    expect(parseDictionary(['A=1'])).toBeUndefined();
  });

  it('survive any text', () => {
    const text = fc.string({ unit: fc.constantFrom(...Array.from('ab1.,;=()"\\?:@%- *')) });
    fc.assert(
      fc.property(text, (one) => {
        parseList([one]);
        parseDictionary([one]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('Cache-Control', () => {
  it('reads quoted strings as strings', () => {
    expect(parseResponseDirectives(['x="no-store, max-age=9", Max-Age=5']).noStore).toBe(false);
    expect(parseResponseDirectives(['x="no-store, max-age=9", Max-Age=5']).maxAge).toBe(5);
    const qualified = parseResponseDirectives(['no-cache="Set-Cookie, X-A", private="X-B"']);
    expect([qualified.noCache, qualified.isPrivate]).toEqual([false, false]);
    expect([qualified.noCacheFields, qualified.privateFields]).toEqual([['set-cookie', 'x-a'], ['x-b']]);
    expect(parseResponseDirectives(['private="a b"']).isPrivate).toBe(true);
  });

  it('of requests takes the stricter of two', () => {
    expect(parseRequestDirectives(['max-age=9, max-age=5', 'min-fresh=1', 'min-fresh=3'])).toMatchObject({
      maxAge: 5,
      minFresh: 3,
    });
    expect(parseRequestDirectives(['max-stale']).maxStale).toBe(Infinity);
    expect(parseRequestDirectives(['max-stale, max-stale=3']).maxStale).toBe(3);
    expect(parseRequestDirectives(['x="']).noStore).toBe(true);
  });

  it('never throws, and any case of any letter means the same', () => {
    const name = fc.constantFrom(
      'max-age=5',
      'no-store',
      'private',
      'stale-if-error=7',
      'no-cache="a"',
      'x=","',
    );
    fc.assert(
      fc.property(fc.array(name), fc.string(), (directives, noise) => {
        const text = directives.join(', ');
        expect(parseResponseDirectives([text.toUpperCase()])).toEqual(parseResponseDirectives([text]));
        parseResponseDirectives([noise]);
        parseRequestDirectives([noise]);
      }),
    );
  });

  it('targeted is a dictionary or nothing', () => {
    expect(parseTargeted(['max-age=60, must-revalidate, foo=?0'])).toMatchObject({
      maxAge: 60,
      mustRevalidate: true,
    });
    expect(parseTargeted(['max-age=99999999999'])?.maxAge).toBe(2 ** 31);
    for (const bad of ['', 'max-age="60"', 'max-age=60, &', 'max-age=-1', 'max-age=1.5', 'Max-Age=60']) {
      expect(parseTargeted([bad])).toBeUndefined();
    }
  });
});

describe('Vary', () => {
  const names = (...lines: string[]): unknown =>
    readVary(indexFields(lines.flatMap((line) => ['Vary', line])));
  it('is a set of names, or nothing that could match', () => {
    expect(names()).toEqual([]);
    expect(names('B, a', 'A')).toEqual(['a', 'b']);
    for (const any of [['*'], ['a', '*'], [', *'], ['a b']]) expect(names(...any)).toBeUndefined();
  });

  it('compares what is the same to the origin as the same', () => {
    const same = (name: string, one: string[], other: string[]): boolean =>
      normalise(name, one) === normalise(name, other);
    expect(same('accept-language', ['en, de'], ['DE ,  en;q=1.0'])).toBe(true);
    expect(same('accept-language', ['en, de;q=0.5'], ['de, en;q=0.5'])).toBe(false);
    expect(same('x', ['1,2'], [' 1', '2 '])).toBe(true);
    expect(same('x', ['1,2'], ['2,1'])).toBe(false);
    expect(same('x', ['"1, 2"'], ['"1,2"'])).toBe(false);
  });

  it('tells absent from empty, and fields from each other', () => {
    const variant = (...raw: string[]): string => variantKey(['accept', 'x'], indexFields(raw));
    const all = [
      variant(),
      variant('Accept', ''),
      variant('Accept', 'a'),
      variant('X', 'a'),
      variant('Accept', 'a', 'X', 'a'),
    ];
    expect(new Set(all).size).toBe(all.length);
    expect(variant('ACCEPT', ' a ')).toBe(variant('accept', 'a'));
  });

  it('knows the language a client prefers to all others', () => {
    const speaks = (accept: string): boolean =>
      speaksPreferred(['de'], indexFields(['Accept-Language', accept]));
    expect(['de', 'fr;q=0.5, DE', 'de;q=0.1'].map(speaks)).toEqual([true, true, true]);
    expect(['de, en', 'en, de;q=0.9', '*', 'de;q=0', ''].map(speaks)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});

describe('what an unsafe request names', () => {
  it('counts only within the same origin', () => {
    const destination = { address: '192.0.2.1', port: 80 };
    const rawHeaders = ['Host', 'a.example'];
    const request = {
      method: 'POST',
      target: '/x/y',
      rawHeaders,
      fields: indexFields(rawHeaders),
      hasBody: true,
    };
    const keys = (location: string): string[] =>
      namedKeys(destination, request, indexFields(['Location', location]));
    expect(keys('z?q')).toEqual(['192.0.2.1 80 a.example /x/z?q']);
    expect(keys('http://A.example:80/z')).toEqual(['192.0.2.1 80 a.example /z']);
    for (const other of ['http://b.example/', 'https://a.example/', 'http://a.example:8080/', 'http://[']) {
      expect(keys(other)).toEqual([]);
    }
  });

  it('are groups: strings, or nothing at all', () => {
    const groups = (text: string): readonly string[] => cacheGroups(indexFields(['Cache-Groups', text]));
    expect(groups('"a", "b c";x')).toEqual(['a', 'b c']);
    for (const bad of ['a', '"a", b', '"a', '("a")']) expect(groups(bad)).toEqual([]);
    expect(invalidatedGroups(indexFields(['Cache-Group-Invalidation', '"a"']))).toEqual(['a']);
  });
});

describe('Cache-Status', () => {
  it('is written as it can be read', () => {
    expect(formatCacheStatus('p1', { hit: true, ttl: -3 })).toBe('p1; hit; ttl=-3');
    const forwarded = {
      hit: false,
      fwd: 'stale',
      status: 304,
      stored: true,
      collapsed: true,
      detail: 'x',
    } as const;
    expect(formatCacheStatus('p1', forwarded)).toBe(
      'p1; fwd=stale; fwd-status=304; stored; collapsed; detail=x',
    );
    expect(cacheStatusName('1 "p"')).toBe('"1 \\"p\\""');
  });

  it('of the next hop says whether it had it', () => {
    const hit = (...lines: string[]): boolean =>
      nextHopHit(indexFields(lines.flatMap((line) => ['Cache-Status', line])));
    expect(hit('p2; hit; ttl=5')).toBe(true);
    expect(hit('p3; hit; ttl=5', 'p2; fwd=uri-miss; fwd-status=200')).toBe(false);
    expect([hit(), hit('p2; hit=?0'), hit('p2; hit;;')]).toEqual([false, false, false]);
  });
});
