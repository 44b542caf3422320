import { describe, expect, it } from 'vitest';
import type { Transfer } from '../measure/transfer.js';
import { sizesOf } from './chain.js';
import { bytesSaved, describeChains } from './chain-report.js';
import type { Answered, ChainLoad } from './chain-samples.js';
import { describeCosts, targetsOf } from './cost.js';
import { stepsFor } from './flows.js';
import { describeLatency } from './latency-report.js';
import type { DelayCell } from './latency-samples.js';
import { describeSetup } from './setup-report.js';
import { describeThroughput } from './splice-report.js';
import type { Cell } from './splice-samples.js';

const transfer = (gigabits: number, nanosecondsPerByte: number): Transfer => ({
  bitsPerSecond: gigabits * 1e9,
  usage: { machine: 1, softirq: 0, stolen: 0, processes: 0.5, busySeconds: 1, seconds: 1 },
  nanosecondsPerByte,
  readShare: 0,
});
const cell = (contender: string, transfers: Transfer[]): Cell => ({
  contender,
  size: 'large',
  connections: 16,
  transfers,
});

describe('throughput', () => {
  const cells = [
    cell('forward', [transfer(10, 1), transfer(20, 1)]),
    cell('splice-tunnelled', [transfer(9.8, 1.05), transfer(19.6, 1.2)]),
    cell('haproxy', [transfer(5, 2), transfer(9, 2)]),
  ];
  const named = cells.map(({ contender }) => ({ name: contender, title: contender.toUpperCase() }));
  const found = describeThroughput({ cells, equalRate: 1e9, equal: cells }, named);

  it('is compared with the baseline of the same round', () => {
    expect(found.tables[0]?.rows[1]?.slice(0, 4)).toEqual([
      'SPLICE-TUNNELLED',
      16,
      '14.70 (9.80–19.60)',
      '0.98 (0.98–0.98)',
    ]);
  });

  it('meets targets or not', () => {
    expect(found.targets.map(({ aim, met }) => [aim, met])).toEqual([
      ['≥ 0.97', true],
      ['≤ 1.10', false],
      ['≥ 2', true],
    ]);
  });

  it('has the figures of the paper', () => {
    expect(found.figures.map(({ name }) => name)).toEqual([
      'figure9',
      'figure9-mss',
      'figure10',
      'figure10-mss',
      'figure11',
    ]);
    expect(found.figures[0]?.series[0]).toEqual({
      name: 'FORWARD',
      points: [{ x: '16', y: 15, low: 10, high: 20 }],
    });
  });
});

describe('latency', () => {
  const delays = (contender: string, microseconds: number[]): DelayCell => ({
    contender,
    title: contender,
    condition: 'stream',
    rounds: [microseconds.map((value, place) => ({ place, microseconds: value }))],
    dropped: contender === 'dante' ? 3 : 0,
  });
  const found = describeLatency([
    delays('forward', [1, 1, 1]),
    delays('splice-tunnelled', [2, 2, 2]),
    delays('dante', [41, 41, 41]),
  ]);

  it('that is added is compared as table 1 does', () => {
    expect(found.targets.at(-1)).toMatchObject({ aim: '≥ 30', found: '40.0', met: true });
    expect(found.targets[0]).toMatchObject({ aim: '≤ 1.1', found: '2.00', met: false });
  });

  it('says what the captures lost', () =>
    expect(found.notes.at(-1)).toContain('dante, stream: the captures lost 3'));
});

it('set-ups are compared with direct ones, and ours with HAProxy', () => {
  const rounds = (completed: number): Parameters<typeof describeSetup>[0][number]['rounds'] => [
    {
      outcome: { completed, failed: 1, seconds: 2, firstByte: undefined },
      usage: transfer(1, 1).usage,
    },
  ];
  const cells = Object.entries({ forward: 200, haproxy: 100, 'relay-edge': 50 }).flatMap(
    ([contender, completed]) =>
      [1, 64].map((concurrency) => ({ contender, title: contender, concurrency, rounds: rounds(completed) })),
  );
  const { tables, targets } = describeSetup(cells);
  expect(tables[1]?.rows[1]).toEqual(['haproxy', '50', '0.50', '-', '-', '-', '50', 1]);
  expect(targets).toMatchObject([{ found: '0.50', met: false }]);
});

it('costs meet their aims or not', () => {
  const cost = (name: string, nanoseconds: number[]): Parameters<typeof targetsOf>[0][number] => ({
    name,
    title: name,
    single: false,
    asRun: nanoseconds,
    nanoseconds,
  });
  const costs = [cost('splice', [100, 110, 300]), cost('pass-ingress', [16]), cost('decap', [1])];
  expect(targetsOf(costs).map(({ met }) => met)).toEqual([true, false]);
  expect(describeCosts({ paths: costs, ways: [] }, { rounds: 3, runs: 10 }).tables[0]?.rows[0]).toEqual([
    'splice',
    '110 (100–300)',
    '110 (100–300)',
    'repeated',
  ]);
});

it('no more connections are tried than the table has room for', () => {
  expect(stepsFor(4_000_000)).toEqual([1, 1000, 100_000, 1_000_000]);
  expect(stepsFor(262_144)).toEqual([1, 1000, 100_000, 131_040]);
  expect(stepsFor(1000)).toEqual([1, 468]);
});

describe('a chain', () => {
  const answered: Answered[] = [
    { asked: ['p1', 'p2', 'p3'], by: 'origin', bytes: 300 },
    { asked: ['p1'], by: 'p1', bytes: 300 },
    { asked: ['p2'], by: 'p2', bytes: 100 },
    { asked: ['p1', 'p2'], by: 'p2', bytes: 100 },
  ];
  const load: ChainLoad = {
    contender: 'chain',
    title: 'chain',
    exponent: 0.9,
    answered,
    failed: 0,
    originBytes: 300,
    originRequests: 1,
  };

  it('has for each level what came to it, and the share that it answered', () => {
    const { tables } = describeChains([load], 0.9);
    const levels = [3, '33.3', '42.9', 3, '66.7', '40.0', 1, '0.0', '0.0'];
    expect(tables[0]?.rows[0]).toEqual(['chain', ...levels, '25.0', '0.0', '62.5', 0]);
    expect(bytesSaved(load)).toBeCloseTo(62.5);
  });

  it('is drawn over the course of its load', () => {
    const { figures } = describeChains([load, { ...load, contender: 'alone', title: 'alone' }], 0.9);
    expect(figures.map(({ name }) => name)).toEqual(['saved', 'chain']);
    expect(figures[1]?.series.map(({ name, points }) => [name, points.map(({ y }) => y)])).toEqual([
      ['p1', [0, 100, 0, 0]],
      ['p2', [0, 0, 100, 100]],
      ['p3', [0, 0, 0, 0]],
      ['origin', [100, 0, 0, 0]],
    ]);
  });

  it('has objects of which no two have the same size', () => {
    const sizes = sizesOf(2000);
    expect(new Set(sizes).size).toBe(2000);
    expect([Math.min(...sizes) >= 1024, Math.max(...sizes) <= 132 * 1024]).toEqual([true, true]);
  });
});
