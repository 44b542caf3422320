/** What the set-ups say. All pure. */
import { BASELINE } from '../contenders.js';
import type { Figure, Point } from '../draw/figure.js';
import { ratioSpread, spreadOf } from '../measure/statistics.js';
import type { Findings, ResultTable, Target } from '../result.js';
import { range } from './format.js';
import { CONCURRENCIES, type SetupCell, type SetupRound } from './setup-samples.js';

type Quantity = (round: SetupRound) => number;

const perSecond: Quantity = ({ outcome }) => outcome.completed / outcome.seconds;
const firstByte: Quantity = ({ outcome }) => outcome.firstByte?.p50 ?? NaN;
const slowest: Quantity = ({ outcome }) => outcome.firstByte?.p99 ?? NaN;
const peerPercent: Quantity = ({ usage }) => 100 * usage.processes;

const HEADING = [
  'CONTENDER',
  'A SECOND',
  '÷ DIRECT',
  'FIRST BYTE P50 µs',
  '÷ DIRECT',
  'P99 µs',
  'PEER % OF A CORE',
  'FAILED',
];

function find(cells: readonly SetupCell[], contender: string, concurrency: number): SetupCell | undefined {
  return cells.find((cell) => cell.contender === contender && cell.concurrency === concurrency);
}

function tableOf(cells: readonly SetupCell[], concurrency: number): ResultTable {
  const base = find(cells, BASELINE, concurrency)?.rounds ?? [];
  const rows = cells
    .filter((cell) => cell.concurrency === concurrency)
    .map(({ title, rounds }) => {
      const show = (quantity: Quantity, places = 0): string => range(spreadOf(rounds.map(quantity)), places);
      const ratio = (quantity: Quantity): string =>
        range(ratioSpread(rounds.map(quantity), base.map(quantity)));
      const failed = rounds.reduce((sum, { outcome }) => sum + outcome.failed, 0);
      return [
        title,
        show(perSecond),
        ratio(perSecond),
        show(firstByte),
        ratio(firstByte),
        show(slowest),
        show(peerPercent),
        failed,
      ];
    });
  return { title: `connections, ${concurrency} at a time`, heading: HEADING, rows };
}

function barsOf(cells: readonly SetupCell[], concurrency: number, quantity: Quantity): Point[] {
  return cells
    .filter((cell) => cell.concurrency === concurrency)
    .map(({ title, rounds }) => {
      const { median, min, max } = spreadOf(rounds.map(quantity));
      return { x: title.replace(', ', ',\n'), y: median, low: min, high: max };
    });
}

function figuresOf(cells: readonly SetupCell[]): Figure[] {
  const [one = 1, many = 1] = CONCURRENCIES;
  const x = { label: '', scale: 'categories' } as const;
  return [
    {
      name: 'rate',
      title: 'Connections per second',
      subtitle: `${many} at a time, one processor for the peer`,
      kind: 'bars',
      x,
      y: { label: 'connections a second', scale: 'linear' },
      series: [{ name: 'connections', points: barsOf(cells, many, perSecond) }],
    },
    {
      name: 'first-byte',
      title: 'From connect() to the first byte',
      subtitle: `one at a time, median`,
      kind: 'bars',
      x,
      y: { label: 'µs', scale: 'linear' },
      series: [{ name: 'first byte', points: barsOf(cells, one, firstByte) }],
    },
  ];
}

const AIM = 1;

function targetsOf(cells: readonly SetupCell[]): Target[] {
  const many = CONCURRENCIES.at(-1) ?? 1;
  const haproxy = find(cells, 'haproxy', many)?.rounds;
  if (haproxy === undefined) return [];
  return ['relay-tunnelled', 'relay-edge'].flatMap((name): Target[] => {
    const own = find(cells, name, many);
    if (own === undefined) return [];
    const ratio = ratioSpread(own.rounds.map(perSecond), haproxy.map(perSecond));
    const what = `connections per second, ${own.title} ÷ HAProxy, one core each`;
    return [{ what, aim: `≥ ${AIM}`, found: range(ratio), met: ratio.median >= AIM }];
  });
}

export function describeSetup(
  cells: readonly SetupCell[],
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes' | 'samples'> {
  return {
    tables: CONCURRENCIES.map((concurrency) => tableOf(cells, concurrency)),
    figures: figuresOf(cells),
    targets: targetsOf(cells),
    notes: ['PEER % OF A CORE well below 100 means that the load, not the peer, was the limit.'],
    samples: cells,
  };
}
