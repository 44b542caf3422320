import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endToEnd, indexFields, listMembers, nominatesFields, storable } from './fields.js';
import { invalidatedKey, originOf, resourceKey, type RequestHead } from './key.js';

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

  it('keeps what it names, and what proxies say to each other, from being stored', () => {
    const raw = ['Connection', 'a', 'A', '1', 'B', '2', 'Proxy-Authenticate', 'x', 'Age', '1'];
    expect(storable(raw, indexFields(raw), new Set(['age']))).toEqual(['B', '2']);
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

  it('begin with their origin', () => {
    const key = resourceKey(HERE, request('/x?y', 'Host', 'a.example')) ?? '';
    expect(originOf(key)).toBe('192.0.2.1 80 a.example');
  });
});
