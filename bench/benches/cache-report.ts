/** What the loads on the caches say. All pure. */
import type { Figure, Point } from '../draw/figure.js';
import { ratioSpread, spreadOf } from '../measure/statistics.js';
import type { Findings, ResultTable, Target } from '../result.js';
import { CACHE_LOADS, type CacheCell, type CacheLoad, type CacheRound } from './cache-samples.js';
import { decimals, range } from './format.js';

type Quantity = (round: CacheRound) => number;

/** Whom the others are compared with. */
export const CACHE_BASELINE = 'nginx';

const perSecond: Quantity = ({ outcome }) => outcome.requests / outcome.seconds;
const p50: Quantity = ({ outcome }) => outcome.p50;
const p99: Quantity = ({ outcome }) => outcome.p99;
const busy: Quantity = (round) => 100 * round.busy;

const HEADING = [
  'CONTENDER',
  'A SECOND',
  '÷ NGINX',
  'P50 µs',
  'P99 µs',
  'CORE %',
  'ASKED ORIGIN %',
  'FAILED',
];
const NOTES = [
  'A SECOND is responses that wrk has read to their end. CORE % is how busy the processor was that the contender has to ' +
    'itself, packets included: well below 100, the load was the limit, and the contender could do more.',
  'tunnelled: the client runs under `tpot-node run`, and its packets reach the node through the tunnel. edge: the client ' +
    "knows nothing of a node and talks to the origin's address; the node answers in its place. listener: the HTTP part of a " +
    'node behind an ordinary listener. The others are reverse proxies that the client addresses.',
  'Every contender stores in memory: nginx and Traffic Server in files on tmpfs. None writes a log. nginx has sendfile on.',
];
const KIBI = 1024;

function roundsOf(cells: readonly CacheCell[], contender: string, load: string): readonly CacheRound[] {
  return cells.find((cell) => cell.contender === contender && cell.load === load)?.rounds ?? [];
}

function tableOf(cells: readonly CacheCell[], load: CacheLoad): ResultTable {
  const base = roundsOf(cells, CACHE_BASELINE, load.name).map(perSecond);
  const rows = cells
    .filter((cell) => cell.load === load.name)
    .map(({ title, rounds }) => {
      const show = (quantity: Quantity): string => range(spreadOf(rounds.map(quantity)), 0);
      const asked = spreadOf(rounds.map((round) => (100 * round.asked) / round.outcome.requests)).median;
      const failed = rounds.reduce((sum, { outcome }) => sum + outcome.failed, 0);
      const ratio = range(ratioSpread(rounds.map(perSecond), base));
      return [title, show(perSecond), ratio, show(p50), show(p99), show(busy), decimals(asked, 1), failed];
    });
  return { title: `${load.title}, ${load.connections} at a time`, heading: HEADING, rows };
}

/** Of all that was stored in the rounds with misses. */
function memoryTable(cells: readonly CacheCell[]): ResultTable {
  const rows = cells
    .filter(({ load }) => load === 'miss')
    .map(({ title, rounds }) => {
      const stored = rounds.reduce((sum, { outcome }) => sum + outcome.requests, 0);
      const grown = rounds.reduce((sum, round) => sum + (round.grown ?? 0), 0);
      return [title, stored, decimals(grown / 2 ** 20, 0), decimals(grown / stored / KIBI, 2)];
    });
  const heading = ['CONTENDER', 'STORED', 'GROWN BY MiB', 'KiB PER OBJECT'];
  return { title: 'memory for objects of 1 KiB, files included', heading, rows };
}

function figureOf(cells: readonly CacheCell[], { name, title, connections }: CacheLoad): Figure {
  const points = cells
    .filter(({ load }) => load === name)
    .map(({ title: who, rounds }): Point => {
      const { median, min, max } = spreadOf(rounds.map(perSecond));
      return { x: who.replace(', ', ',\n'), y: median, low: min, high: max };
    });
  return {
    name,
    title: `Responses per second: ${title}`,
    subtitle: `${connections} at a time, one processor for the cache`,
    kind: 'bars',
    x: { label: '', scale: 'categories' },
    y: { label: 'responses a second', scale: 'linear' },
    series: [{ name: 'responses', points }],
  };
}

const AIMS: Readonly<Record<string, number>> = { '1k': 1.5, '1m': 1 };

function targetsOf(cells: readonly CacheCell[]): Target[] {
  return CACHE_LOADS.flatMap(({ name, title }): Target[] => {
    const aim = AIMS[name];
    const own = cells.find((cell) => cell.load === name && cell.contender === 'tpot-edge');
    const base = roundsOf(cells, CACHE_BASELINE, name);
    if (aim === undefined || own === undefined || base.length === 0) return [];
    const ratio = ratioSpread(own.rounds.map(perSecond), base.map(perSecond));
    const what = `${title}, ${own.title} ÷ nginx proxy_cache, one core each`;
    return [{ what, aim: `≥ ${aim}`, found: range(ratio), met: ratio.median >= aim }];
  });
}

export function describeCaches(
  cells: readonly CacheCell[],
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes' | 'samples'> {
  return {
    tables: [...CACHE_LOADS.map((load) => tableOf(cells, load)), memoryTable(cells)],
    figures: CACHE_LOADS.filter(({ connections }) => connections > 1).map((load) => figureOf(cells, load)),
    targets: targetsOf(cells),
    notes: NOTES,
    samples: cells,
  };
}
