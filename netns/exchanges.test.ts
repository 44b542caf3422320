import { expect, test } from 'vitest';
import { answeredOverTime, answererOf, countsOf, deedsOf, type Exchange } from './exchanges.js';
import { zipf } from './zipf.js';

const exchange = (cacheStatus: string, ended = 0, error?: string): Exchange => ({
  path: '/',
  began: ended,
  ended,
  status: 200,
  bytes: 1,
  sha256: '',
  age: undefined,
  cacheStatus,
  ...(error === undefined ? {} : { error }),
});

const FETCHED = 'p3; fwd=uri-miss; fwd-status=200; stored, p1; fwd=uri-miss; fwd-status=200; stored';
const AT_P3 = 'p3; hit; ttl=50, p1; fwd=stale; fwd-status=304';
const AT_P1 = `${FETCHED}, p1; hit; ttl=-3`;

test('what stands before the last hit is about another request', () => {
  expect(deedsOf(exchange(FETCHED)).map(({ node, hit }) => [node, hit])).toEqual([
    ['p3', false],
    ['p1', false],
  ]);
  expect(deedsOf(exchange(AT_P3))).toEqual([
    { node: 'p3', hit: true, ttl: 50, forwardStatus: undefined },
    { node: 'p1', hit: false, ttl: undefined, forwardStatus: 304 },
  ]);
  expect(deedsOf(exchange(AT_P1)).map(({ node, ttl }) => [node, ttl])).toEqual([['p1', -3]]);
  expect(deedsOf(exchange(''))).toEqual([]);
});

test('each request counts at the nodes that it reached', () => {
  const all = [exchange(FETCHED), exchange(AT_P3), exchange(AT_P1), exchange('', 0, 'cut')];
  expect(all.map(answererOf)).toEqual(['origin', 'p3', 'p1', 'nobody']);
  expect(countsOf('p1', all)).toEqual({ requests: 3, hits: 1, revalidations: 1 });
  expect(countsOf('p3', all)).toEqual({ requests: 2, hits: 1, revalidations: 0 });
});

test('answers over time are all counted, once', () => {
  const all = [exchange(FETCHED, 1000), exchange(AT_P3, 1400), exchange(AT_P1, 2000)];
  const stretches = answeredOverTime(all, ['p1', 'p3', 'origin'], 4);
  expect(stretches.map(({ counts }) => [...counts.values()])).toEqual([
    [0, 0, 1],
    [0, 1, 0],
    [0, 0, 0],
    [1, 0, 0],
  ]);
  expect(stretches.map(({ seconds }) => seconds)).toEqual([0.125, 0.375, 0.625, 0.875]);
});

test("Zipf's law: the same for the same seed, the first ranks most often", () => {
  const ranks = zipf(100, 10_000, 7);
  expect(zipf(100, 10_000, 7)).toEqual(ranks);
  expect(zipf(100, 10_000, 8)).not.toEqual(ranks);
  const count = (rank: number): number => ranks.filter((one) => one === rank).length;
  expect(count(0) / count(9)).toBeGreaterThan(5); // 10^0.9 is 7.9
  expect(count(0) / count(9)).toBeLessThan(12);
  expect(Math.max(...ranks)).toBe(99);
  expect(Math.min(...ranks)).toBe(0);
});
