/** What the delays say: table 1 and figure 12 of the TCP Splice paper, distributions, targets. All pure. */
import { BASELINE } from '../contenders.js';
import type { Figure, Series } from '../draw/figure.js';
import {
  ascending,
  distributionOf,
  quantile,
  ratioSpread,
  thin,
  type Distribution,
  type Spread,
} from '../measure/statistics.js';
import type { Findings, ResultTable, Target } from '../result.js';
import { decimals, range } from './format.js';
import { CONDITIONS, type Condition, type DelayCell } from './latency-samples.js';

const WHAT: Readonly<Record<Condition, string>> = {
  idle: 'forwarding latency, idle',
  load: 'forwarding latency under load',
  stream: 'forwarding latency of one stream as fast as it goes (table 1)',
};
const SCATTERED_POINTS = 250;
const CURVE_POINTS = 101;

function microseconds(cell: DelayCell): number[] {
  return cell.rounds.flatMap((round) => round.map((delay) => delay.microseconds));
}

function quantiles(cell: DelayCell, fraction: number): number[] {
  return cell.rounds.map((round) => quantile(ascending(round.map((delay) => delay.microseconds)), fraction));
}

function of(cells: readonly DelayCell[], contender: string, condition: Condition): DelayCell | undefined {
  return cells.find((cell) => cell.contender === contender && cell.condition === condition);
}

function ratio(cells: readonly DelayCell[], cell: DelayCell, fraction: number): Spread {
  const base = of(cells, BASELINE, cell.condition);
  return ratioSpread(quantiles(cell, fraction), base === undefined ? [] : quantiles(base, fraction));
}

const HEADING = [
  'CONTENDER',
  'PACKETS',
  'MEAN µs',
  'STD DEV',
  'P50',
  'P90',
  'P99',
  'MAX',
  'P50 ÷ FORWARD',
  'P99 ÷ FORWARD',
];

function tableOf(cells: readonly DelayCell[], condition: Condition): ResultTable {
  const rows = cells
    .filter((cell) => cell.condition === condition)
    .map((cell) => {
      const { count, mean, standardDeviation, p50, p90, p99, max } = distributionOf(microseconds(cell));
      const numbers = [mean, standardDeviation, p50, p90, p99, max].map((value) => decimals(value, 1));
      return [cell.title, count, ...numbers, range(ratio(cells, cell, 0.5)), range(ratio(cells, cell, 0.99))];
    });
  return { title: WHAT[condition], heading: HEADING, rows };
}

/** As the paper drew it: the delay of each byte by its place in the stream. */
function scatter(cells: readonly DelayCell[]): Figure {
  const series = cells
    .filter(({ condition }) => condition === 'stream')
    .map(({ title, rounds }): Series => {
      const points = thin(rounds[0] ?? [], SCATTERED_POINTS);
      return {
        name: title,
        points: points.map(({ place, microseconds: y }) => ({ x: place / 1024 / 1024, y: Math.max(y, 0.1) })),
      };
    });
  return {
    name: 'figure12',
    title: 'Forwarding latency by place in the stream (figure 12)',
    subtitle: 'one connection as fast as it goes',
    kind: 'points',
    x: { label: 'MiB', scale: 'linear' },
    y: { label: 'µs', scale: 'log' },
    series,
  };
}

function curves(cells: readonly DelayCell[], condition: Condition): Figure {
  const series = cells
    .filter((cell) => cell.condition === condition)
    .map((cell): Series => {
      const sorted = ascending(microseconds(cell));
      const points = Array.from({ length: CURVE_POINTS }, (_, index) => {
        const fraction = index / (CURVE_POINTS - 1);
        return { x: Math.max(0.1, quantile(sorted, fraction)), y: 100 * fraction };
      });
      return { name: cell.title, points };
    });
  return {
    name: `distribution-${condition}`,
    title: `Distribution of the ${WHAT[condition]}`,
    subtitle: 'share of packets that took at most so long',
    kind: 'lines',
    x: { label: 'µs', scale: 'log' },
    y: { label: '%', scale: 'linear', max: 100 },
    series,
  };
}

const AIM = { p50: 1.1, p99: 1.25, added: 30 };

function closeness(cells: readonly DelayCell[], cell: DelayCell): Target[] {
  const where = `splice ÷ forwarding (${cell.condition}, first leg tunnelled)`;
  const [p50, p99] = [ratio(cells, cell, 0.5), ratio(cells, cell, 0.99)];
  return [
    {
      what: `latency at the median, ${where}`,
      aim: `≤ ${AIM.p50}`,
      found: range(p50),
      met: p50.median <= AIM.p50,
    },
    { what: `latency at p99, ${where}`, aim: `≤ ${AIM.p99}`, found: range(p99), met: p99.median <= AIM.p99 },
  ];
}

function addedMean(cells: readonly DelayCell[], contender: string): number {
  const mean = (name: string): number => {
    const cell = of(cells, name, 'stream');
    return cell === undefined ? NaN : distributionOf(microseconds(cell)).mean;
  };
  return mean(contender) - mean(BASELINE);
}

/** Table 1 of the paper: means, of one stream. */
function added(cells: readonly DelayCell[]): Target[] {
  const own = addedMean(cells, 'splice-tunnelled');
  return ['dante', 'relay-tunnelled'].flatMap((relay): Target[] => {
    const theirs = addedMean(cells, relay);
    if (Number.isNaN(own) || Number.isNaN(theirs)) return [];
    const found =
      own <= 0 ? `splice adds nothing, ${relay} ${decimals(theirs, 1)} µs` : decimals(theirs / own, 1);
    const met = own <= 0 ? theirs > 0 : theirs / own >= AIM.added;
    return [{ what: `mean added latency, ${relay} ÷ splice (stream)`, aim: `≥ ${AIM.added}`, found, met }];
  });
}

/** Distributions by round: every delay would be megabytes of JSON. */
function summary(cells: readonly DelayCell[]): unknown {
  return cells.map(({ contender, condition, rounds, dropped }) => ({
    contender,
    condition,
    dropped,
    rounds: rounds.map((round): Distribution => distributionOf(round.map((delay) => delay.microseconds))),
  }));
}

function notesOf(cells: readonly DelayCell[]): string[] {
  const lost = cells.filter(({ dropped }) => dropped > 0);
  return [
    'Latency is from when the kernel stamped a packet coming in at the middle host to when it stamped the packet with ' +
      'its last byte going out there, both captures running; the stamps of both are of one clock.',
    ...lost.map(
      ({ title, condition, dropped }) => `${title}, ${condition}: the captures lost ${dropped} packets.`,
    ),
  ];
}

export function describeLatency(
  cells: readonly DelayCell[],
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes' | 'samples'> {
  const spliced = cells.filter(({ contender }) => contender === 'splice-tunnelled');
  return {
    tables: CONDITIONS.map((condition) => tableOf(cells, condition)),
    figures: [scatter(cells), ...CONDITIONS.map((condition) => curves(cells, condition))],
    targets: [...spliced.flatMap((cell) => closeness(cells, cell)), ...added(cells)],
    notes: notesOf(cells),
    samples: summary(cells),
  };
}
