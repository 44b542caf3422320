/** What of the labs can be seen without running them. */
import { describe, expect, test } from 'vitest';
import { answeredBy } from '../cache-status.js';
import { content, contentHash } from '../content.js';
import { parseHeaders } from '../fetch.js';
import { parseOriginLog, requestsOf } from '../origin-events.js';
import { planLinks } from '../spec.js';
import { labs } from './all.js';
import { expectedBeyond } from './chain.js';
import { chainRoutes } from './common.js';

test.each(labs.map((lab) => [lab.name, lab] as const))(
  '%s declares a topology that can be planned',
  (_, lab) => {
    expect(planLinks(lab.spec)).toHaveLength(lab.spec.links.length);
  },
);

test.each([
  ['', undefined],
  ['p1; fwd=miss; stored', undefined],
  ['p1; hit; ttl=50', 'p1'],
  ['p3; hit, p2; fwd=uri-miss, p1; fwd=miss', 'p3'],
  ['p3; fwd=miss, "p2, the \\"second\\""; hit', 'p2, the \\"second\\"'],
  // p1 stored what p2 had answered from its cache, and answers itself now.
  ['p2; hit, p1; hit', 'p1'],
])('Cache-Status %j was answered by %s', (field, cache) => {
  expect(answeredBy(field)).toBe(cache);
});

describe('the chain table', () => {
  const fetches = [
    { client: 'c1', path: '/x', answer: 'origin' },
    { client: 'c2', path: '/x', answer: 'p2' },
    { client: 'c3', path: '/y', answer: 'origin' },
    { client: 'c1', path: '/y', answer: 'p3' },
  ] as const;

  test.each([
    ['p1', ['/x', '/y']],
    ['p2', ['/x', '/y']],
    ['p3', ['/x', '/y']],
  ] as const)('beyond %s go %j', (station, paths) => {
    expect(expectedBeyond(station, fetches)).toEqual(paths);
  });

  test('what a node answers does not go beyond it', () => {
    expect(expectedBeyond('p2', fetches.slice(1, 2))).toEqual([]);
    expect(expectedBeyond('p1', fetches.slice(1, 3))).toEqual([]);
  });
});

test('routes along a chain lead both ways', () => {
  expect(chainRoutes(['p1', 'p2', 'origin'], { c1: 'p1' })).toEqual([
    { host: 'c1', to: 'default', via: 'p1' },
    { host: 'p1', to: 'default', via: 'p2' },
    { host: 'p2', to: 'default', via: 'origin' },
    { host: 'p2', to: '198.18.0.0/15', via: 'p1' },
    { host: 'origin', to: 'default', via: 'p2' },
  ]);
});

test('header fields of the last response, repeated ones joined', () => {
  const dump = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nAge: 3\r\nVia: 1.1 a\r\nvia: 1.1 b\r\n\r\n';
  expect(parseHeaders(dump)).toEqual({ status: 200, headers: { age: '3', via: '1.1 a, 1.1 b' } });
  expect(parseHeaders('')).toEqual({ status: 0, headers: {} });
});

test('an origin log that is still being written gives its whole lines', () => {
  const request = '{"event":"request","method":"GET","path":"/a"}\n';
  const events = parseOriginLog(`{"event":"ready"}\n${request}{"event":"requ`);
  expect(events).toHaveLength(2);
  expect(requestsOf(events, '/a')).toHaveLength(1);
  expect(requestsOf(events, '/b')).toHaveLength(0);
});

test('content depends on seed and length only, and no two blocks are the same', () => {
  const bytes = Buffer.concat([...content('s', 200_000)]);
  expect(bytes).toHaveLength(200_000);
  expect(bytes.subarray(0, 100_000)).toEqual(Buffer.concat([...content('s', 100_000)]));
  expect(bytes.subarray(0, 65_536).equals(bytes.subarray(65_536, 131_072))).toBe(false);
  expect(contentHash('s', 10)).not.toBe(contentHash('t', 10));
});
