import { describe, expect, it } from 'vitest';
import { formatRows, selectionOf } from './cache.js';

describe('a selection', () => {
  it.each([
    [undefined, {}, ''],
    ['http://WWW.Example.net', {}, 'authority=www.example.net&target=%2F'],
    ['http://a.test:8080/x?y=1#z', {}, 'authority=a.test%3A8080&target=%2Fx%3Fy%3D1'],
    [undefined, { prefix: 'http://a.test/img/' }, 'authority=a.test&target=%2Fimg%2F&prefix=1'],
    [undefined, { tag: 'one', destination: '192.0.2.1:80' }, 'tag=one&destination=192.0.2.1+80'],
    [
      'http://[2001:db8::1]/',
      { destination: '[2001:DB8::1]:8080' },
      'authority=%5B2001%3Adb8%3A%3A1%5D&target=%2F&destination=2001%3Adb8%3A%3A1+8080',
    ],
  ])('%s %j', (url, flags, query) => {
    expect(selectionOf(url, flags)).toBe(query);
  });

  it.each([
    ['https://a.test/', {}],
    ['a.test/x', {}],
    [undefined, { destination: 'a.test:80' }],
    [undefined, { destination: '192.0.2.1' }],
    ['http://a.test/', { prefix: 'http://a.test/' }],
  ])('%s %j is wrong usage, with what would be right', (url, flags) => {
    expect(() => selectionOf(url, flags)).toThrow(
      expect.objectContaining({ code: 'usage', hint: expect.any(String) as string }),
    );
  });
});

it('shows what is stored, and that there is more', () => {
  const row = {
    url: 'http://a.test/x',
    destination: '192.0.2.1:80',
    status: 200,
    bytes: 2048,
    ageSeconds: 61,
    freshSeconds: -5,
    vary: [],
    tags: ['one', 'two'],
    where: 'both',
  } as const;
  expect(formatRows([], false)).toBe('nothing is stored');
  expect(formatRows([row], false)).toMatch(
    /http:\/\/a\.test\/x +192\.0\.2\.1:80 +200 +2\.0 KiB +1m 1s +stale +both +one two$/,
  );
  expect(formatRows([row], true)).toContain('--limit');
});
