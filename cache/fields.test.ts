import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endToEnd, indexFields, listMembers, nominatesFields, parseHttpDate } from './fields.js';
import { parseResponseDirectives, formatDirectives } from './directives.js';
import { invalidatedKey, resourceKey, variantKey, type RequestHead } from './key.js';

const request = (target: string, ...rawHeaders: string[]): RequestHead => ({
  method: 'GET',
  target,
  rawHeaders,
  fields: indexFields(rawHeaders),
  hasBody: false,
});
const HERE = { address: '192.0.2.1', port: 80 };

describe('lists', () => {
  it('split at commas outside quotes only', () => {
    expect(listMembers(['a, "b, c" ,', 'd="\\",e"'])).toEqual(['a', '"b, c"', 'd="\\",e"']);
    expect(listMembers(['a, "b'])).toBeUndefined();
    expect(listMembers(['"a\\'])).toBeUndefined();
  });

  it('survive any text; what is quoted comes back in one piece', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (texts) => {
        const quoted = texts.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`);
        expect(listMembers([quoted.join(',')])).toEqual(quoted);
        listMembers(texts);
      }),
    );
  });
});

it('dates are IMF-fixdate or nothing', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }), (date) => {
      expect(parseHttpDate(date.toUTCString())).toBe(Math.floor(date.getTime() / 1000) * 1000);
    }),
  );
  for (const text of [
    '0',
    '',
    'Wed, 31 Feb 2024 00:00:00 GMT',
    'Sun, 06-Nov-94 08:49:37 GMT',
    '2024-05-15T12:00:00Z',
  ]) {
    expect(parseHttpDate(text)).toBeUndefined();
  }
});

it('directives in canonical form say the same', () => {
  const directives = parseResponseDirectives(['Max-Age=05, PRIVATE="a, b"', 'must-revalidate']);
  expect(directives).toBeDefined();
  expect(formatDirectives(directives!)).toBe('max-age=5, private="a, b", must-revalidate');
});

describe('Connection', () => {
  it('takes its fields along, except those it must not name', () => {
    const raw = [
      'Connection',
      'X-A, Host',
      'x-a',
      '1',
      'Host',
      'h',
      'Keep-Alive',
      'x',
      'TE',
      'gzip',
      'X-B',
      '2',
    ];
    expect(endToEnd(raw, indexFields(raw))).toEqual(['Host', 'h', 'X-B', '2']);
  });

  it('is suspicious when it names anything out of the ordinary', () => {
    const suspicious = (value: string): boolean => nominatesFields(indexFields(['Connection', value]));
    expect(suspicious('Keep-Alive, TE, Upgrade')).toBe(false);
    expect(suspicious('close, Cookie')).toBe(true);
    expect(suspicious('a b')).toBe(true);
  });
});

describe('keys', () => {
  it('are injective in destination, host and target', () => {
    const part = fc.record({
      address: fc.ipV4(),
      port: fc.integer({ min: 1, max: 65535 }),
      host: fc.domain(),
      target: fc.webPath().map((path) => `/${path}`),
    });
    fc.assert(
      fc.property(part, part, (a, b) => {
        const [first, second] = [a, b].map((p) => resourceKey(p, request(p.target, 'Host', p.host)));
        const same =
          a.address === b.address && a.port === b.port && a.host === b.host && a.target === b.target;
        expect(first === second).toBe(same);
      }),
    );
  });

  it('need one plain Host and an origin-form target', () => {
    const key = (target: string, ...headers: string[]): string | undefined =>
      resourceKey(HERE, request(target, ...headers));
    expect(key('/a', 'hOST', 'A.example:8080')).toBe('192.0.2.1 80 a.example:8080 /a');
    for (const bad of ['', 'a b', 'a/b', 'a,b c', 'u@h']) expect(key('/', 'Host', bad)).toBeUndefined();
    expect(key('/', 'Host', 'a', 'Host', 'a')).toBeUndefined();
    expect(key('/')).toBeUndefined();
    expect(key('http://a/', 'Host', 'a')).toBeUndefined();
    expect(key('/#x', 'Host', 'a')).toBeUndefined();
    expect(key('*', 'Host', 'a')).toBeUndefined();
  });

  it('of unsafe requests are found in absolute form too', () => {
    const key = resourceKey(HERE, request('/x?y', 'Host', 'a.example'));
    expect(invalidatedKey(HERE, request('http://A.example/x?y', 'Host', 'b'))).toBe(key);
    expect(invalidatedKey(HERE, request('/x?y', 'Host', 'a.example'))).toBe(key);
  });

  it('of variants tell absent from empty and one line from two', () => {
    const variant = (...raw: string[]): string => variantKey(['accept', 'x'], indexFields(raw));
    const all = [
      variant(),
      variant('Accept', ''),
      variant('Accept', 'a'),
      variant('X', 'a'),
      variant('Accept', 'a', 'Accept', 'b'),
      variant('Accept', 'a, b'),
    ];
    expect(new Set(all).size).toBe(all.length);
    expect(variant('ACCEPT', ' a ')).toBe(variant('accept', 'a'));
  });
});
