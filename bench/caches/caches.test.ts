import { describe, expect, it } from 'vitest';
import { describeCaches } from '../benches/cache-report.js';
import type { CacheCell, CacheRound } from '../benches/cache-samples.js';
import { parseWrk, wrkArguments } from '../load/wrk.js';
import { busyBetween, parseIdleTicks } from '../measure/core.js';
import { nginxCacheConfig, squidConfig, trafficServerRecords } from './servers.js';

const round = (requests: number, grown?: number): CacheRound => ({
  outcome: { requests, seconds: 2, bytes: 0, failed: 1, p50: 100, p99: 900 },
  busy: 0.97,
  asked: requests / 100,
  grown,
});
const cell = (contender: string, load: string, rounds: CacheRound[]): CacheCell => ({
  contender,
  title: contender.toUpperCase(),
  load,
  rounds,
});

describe('what the loads on the caches say', () => {
  const found = describeCaches([
    cell('nginx', '1k', [round(20_000), round(40_000)]),
    cell('tpot-edge', '1k', [round(40_000), round(60_000)]),
    cell('nginx', '1m', [round(1000)]),
    cell('tpot-edge', '1m', [round(900)]),
    cell('nginx', 'miss', [round(1000, 2 ** 21), round(1000, 2 ** 21)]),
  ]);

  it('is compared with nginx of the same round', () => {
    expect(found.tables[0]?.rows[1]).toEqual([
      'TPOT-EDGE',
      '25000 (20000–30000)',
      '1.75 (1.50–2.00)',
      '100 (100–100)',
      '900 (900–900)',
      '97 (97–97)',
      '1.0',
      2,
    ]);
  });

  it('meets targets or not', () => {
    expect(found.targets.map(({ aim, found: value, met }) => [aim, value, met])).toEqual([
      ['≥ 1.5', '1.75 (1.50–2.00)', true],
      ['≥ 1', '0.90', false],
    ]);
  });

  it('divides what has grown by what was stored', () => {
    expect(found.tables.at(-1)?.rows).toEqual([['NGINX', 2000, '4', '2.05']]);
  });
});

describe('wrk', () => {
  it('is told what to ask, and how', () => {
    const run = { address: '192.0.2.80', path: '/1k', connections: 8, seconds: 3, script: '/tmp/x.lua' };
    expect(wrkArguments({ ...run, prefix: '/miss/1-' }).slice(-3)).toEqual([
      'http://192.0.2.80/1k',
      '--',
      '/miss/1-',
    ]);
    expect(wrkArguments(run)).toContain('Host: www.example.test');
  });

  it('says what it found on a line of its own, or nothing', () => {
    const outcome = { requests: 5, seconds: 1.5, bytes: 10, failed: 0, p50: 1, p99: 2 };
    expect(parseWrk(`Running 1s test\n${JSON.stringify(outcome)}\n`)).toEqual(outcome);
    expect(() => parseWrk('unable to connect')).toThrow('wrk said no result: unable to connect');
  });
});

it('a processor is busy when it is neither idle nor waiting', () => {
  const text = 'cpu  1 1 1 900 9 0 0 0\ncpu0 1 1 1 100 20 0 0 0\ncpu1 1 1 1 800 1 0 0 0\n';
  expect([parseIdleTicks(text, 0), parseIdleTicks(text, 1)]).toEqual([120, 801]);
  expect(busyBetween({ idle: 100, time: 0 }, { idle: 125, time: 1000 })).toBe(0.75);
});

it('the caches know the origin, and have one processor', () => {
  const site = { directory: '/tmp/x', store: '/dev/shm/x', origin: '192.0.2.80' };
  expect(nginxCacheConfig(site)).toMatch(
    /worker_processes 1;[^]*proxy_cache_path \/dev\/shm\/x[^]*server 192\.0\.2\.80:80;/,
  );
  expect(squidConfig(site)).toContain('cache_peer 192.0.2.80 parent 80 0 no-query originserver');
  expect(trafficServerRecords()).toContain('exec_thread.limit INT 1');
});
