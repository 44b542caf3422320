/** What a load on a chain of nodes says. All pure. */
import type { Figure, Point } from '../draw/figure.js';
import type { Cell, Findings, ResultTable } from '../result.js';
import { LEVELS, type Answered, type ChainLoad, type Level } from './chain-samples.js';
import { decimals } from './format.js';

const PERCENT = 100;
const MIB = 2 ** 20;
/** Points of a line over the time of a load. */
const PARTS = 20;

const bytesOf = (list: readonly Answered[]): number => list.reduce((sum, { bytes }) => sum + bytes, 0);
const share = (part: number, whole: number): string => decimals((PERCENT * part) / whole, 1);

/** Percent of the bytes that clients got which the origin did not have to send. */
export const bytesSaved = ({ answered, originBytes }: ChainLoad): number =>
  PERCENT * (1 - originBytes / bytesOf(answered));

function levelCells({ answered }: ChainLoad, level: Level): Cell[] {
  const asked = answered.filter((one) => one.asked.includes(level));
  const hits = asked.filter(({ by }) => by === level);
  return [asked.length, share(hits.length, asked.length), share(bytesOf(hits), bytesOf(asked))];
}

function tableOf(loads: readonly ChainLoad[], exponent: number): ResultTable {
  const rows = loads
    .filter((load) => load.exponent === exponent)
    .map((load) => [
      load.title,
      ...LEVELS.flatMap((level) => levelCells(load, level)),
      share(load.originRequests, load.answered.length),
      decimals(load.originBytes / MIB, 1),
      decimals(bytesSaved(load), 1),
      load.failed,
    ]);
  const heading = [
    'NODES',
    ...LEVELS.flatMap((level) => [`ASKED ${level}`, 'HITS %', 'BYTES %']),
    'ASKED ORIGIN %',
    'ORIGIN SENT MiB',
    'BYTES SAVED %',
    'FAILED',
  ];
  return { title: `popularity by Zipf's law, exponent ${exponent}`, heading, rows };
}

/** Who answered, in each twentieth of a load. */
function overTime(load: ChainLoad): Figure {
  const { answered, title, exponent } = load;
  const length = Math.ceil(answered.length / PARTS);
  const parts = Array.from({ length: PARTS }, (_, part) =>
    answered.slice(part * length, (part + 1) * length),
  ).filter((part) => part.length > 0);
  const series = [...LEVELS, 'origin' as const].map((by) => ({
    name: by,
    points: parts.map((part, index): Point => ({
      x: Math.min(answered.length, (index + 1) * length),
      y: (PERCENT * part.filter((one) => one.by === by).length) / part.length,
    })),
  }));
  return {
    name: load.contender,
    title: 'Where requests are answered',
    subtitle: `${title}, Zipf exponent ${exponent}, nodes empty at the beginning`,
    kind: 'lines',
    x: { label: 'requests so far', scale: 'linear' },
    y: { label: '% of the requests of this stretch', scale: 'linear' },
    series,
  };
}

function savedFigure(loads: readonly ChainLoad[]): Figure {
  const titles = [...new Set(loads.map(({ title }) => title))];
  return {
    name: 'saved',
    title: 'Bytes that the origin does not send',
    subtitle: 'clients behind each of three nodes in a row',
    kind: 'lines',
    x: { label: "exponent of Zipf's law", scale: 'categories' },
    y: { label: '% of the bytes that clients get', scale: 'linear' },
    series: titles.map((name) => ({
      name,
      points: loads
        .filter(({ title }) => title === name)
        .map((load): Point => ({ x: String(load.exponent), y: bytesSaved(load) })),
    })),
  };
}

const NOTES = [
  'HITS % and BYTES % are of what came to that node, its own client and those before it together: what p1 does not have, it asks ' +
    'p2 for. By itself, a node asks the origin, and no other takes the connection on its way.',
];

/** `shown`: the exponent whose course is drawn. */
export function describeChains(
  loads: readonly ChainLoad[],
  shown: number,
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes' | 'samples'> {
  const exponents = [...new Set(loads.map(({ exponent }) => exponent))];
  const drawn = loads.filter(({ contender, exponent }) => contender !== 'alone' && exponent === shown);
  return {
    tables: exponents.map((exponent) => tableOf(loads, exponent)),
    figures: [savedFigure(loads), ...drawn.map(overTime)],
    targets: [],
    notes: NOTES,
    // Every request would be megabytes.
    samples: loads.map(({ answered, ...load }) => ({
      ...load,
      requests: answered.length,
      delivered: bytesOf(answered),
      hits: Object.fromEntries(
        LEVELS.map((level) => [level, answered.filter(({ by }) => by === level).length]),
      ),
    })),
  };
}
