/** What the throughput samples say: tables, figures 9 to 11 of the TCP Splice paper, targets. All pure. */
import type { Figure, Point } from '../draw/figure.js';
import type { PacketSize } from '../measure/offloads.js';
import { ratioSpread, spreadOf, type Spread } from '../measure/statistics.js';
import type { Transfer } from '../measure/transfer.js';
import type { Findings, ResultTable, Target } from '../result.js';
import { decimals, range } from './format.js';
import type { Cell, SpliceSamples } from './splice-samples.js';

interface Named {
  readonly name: string;
  readonly title: string;
}

type Quantity = (transfer: Transfer) => number;

const gigabits: Quantity = ({ bitsPerSecond }) => bitsPerSecond / 1e9;
const machinePercent: Quantity = ({ usage }) => 100 * usage.machine;
const cost: Quantity = ({ nanosecondsPerByte }) => nanosecondsPerByte;

const SIZES: Readonly<Record<PacketSize, string>> = {
  large: 'packets of up to 64 KiB (TSO, GSO, GRO on)',
  mss: 'MSS-sized packets (TSO, GSO, GRO off)',
};

function spreadBy(cell: Cell, quantity: Quantity): Spread {
  return spreadOf(cell.transfers.map(quantity));
}

function baselineOf(cells: readonly Cell[], cell: Cell): Cell | undefined {
  return cells.find(
    ({ contender, size, connections }) =>
      contender === 'forward' && size === cell.size && connections === cell.connections,
  );
}

function ratioTo(base: Cell | undefined, cell: Cell, quantity: Quantity): Spread {
  return ratioSpread(cell.transfers.map(quantity), (base?.transfers ?? []).map(quantity));
}

function row(cells: readonly Cell[], cell: Cell, title: string): (string | number)[] {
  const base = baselineOf(cells, cell);
  return [
    title,
    cell.connections,
    range(spreadBy(cell, gigabits)),
    range(ratioTo(base, cell, gigabits)),
    range(spreadBy(cell, machinePercent), 0),
    range(spreadOf(cell.transfers.map(({ usage }) => 100 * usage.processes)), 0),
    range(spreadBy(cell, cost), 3),
    range(ratioTo(base, cell, cost)),
    decimals(spreadOf(cell.transfers.map(({ readShare }) => readShare)).median, 2),
  ];
}

const HEADING = [
  'CONTENDER',
  'CONNS',
  'GBIT/S',
  '÷ FORWARD',
  'MACHINE %',
  'PEER % OF A CORE',
  'CPU NS/BYTE',
  '÷ FORWARD',
  'READ ÷ CARRIED',
];

function tableOf(
  title: string,
  cells: readonly Cell[],
  all: readonly Cell[],
  named: readonly Named[],
): ResultTable {
  const rows = cells.map((cell) =>
    row(all, cell, named.find(({ name }) => name === cell.contender)?.title ?? cell.contender),
  );
  return { title, heading: HEADING, rows };
}

function pointOf(cell: Cell, quantity: Quantity, x: number | string): Point {
  const { median, min, max } = spreadBy(cell, quantity);
  return { x, y: median, low: min, high: max };
}

interface Drawing {
  readonly name: string;
  readonly title: string;
  readonly quantity: Quantity;
  readonly label: string;
  readonly max?: number;
}

/** One quantity against the number of connections, a line for each contender. */
function linesOf(
  cells: readonly Cell[],
  named: readonly Named[],
  size: PacketSize,
  drawing: Drawing,
): Figure {
  const { name, title, quantity, label, max } = drawing;
  const series = named.flatMap((contender) => {
    const own = cells.filter((cell) => cell.contender === contender.name && cell.size === size);
    const points = own.map((cell) => pointOf(cell, quantity, String(cell.connections)));
    return points.length === 0 ? [] : [{ name: contender.title, points }];
  });
  const y = { label, scale: 'linear' as const, ...(max === undefined ? {} : { max }) };
  const x = { label: 'connections', scale: 'categories' as const };
  return { name, title, subtitle: SIZES[size], kind: 'lines', x, y, series };
}

function equalFigure({ equal, equalRate }: SpliceSamples, named: readonly Named[]): Figure {
  const points = named.flatMap(({ name, title }) => {
    const cell = equal.find(({ contender }) => contender === name);
    return cell === undefined ? [] : [pointOf(cell, machinePercent, title.replace(', ', ',\n'))];
  });
  return {
    name: 'figure11',
    title: 'Processor use at equal throughput (figure 11)',
    subtitle: `${decimals((8 * equalRate) / 1e9, 2)} Gbit/s over ${equal[0]?.connections ?? 0} connections`,
    kind: 'bars',
    x: { label: '', scale: 'categories' },
    y: { label: '% of the machine', scale: 'linear' },
    series: [{ name: 'whole machine', points }],
  };
}

function figuresOf(samples: SpliceSamples, named: readonly Named[]): Figure[] {
  const { cells } = samples;
  const throughput = { title: 'Throughput (figure 9)', quantity: gigabits, label: 'Gbit/s' };
  const use = {
    title: 'Processor use (figure 10)',
    quantity: machinePercent,
    label: '% of the machine',
    max: 100,
  };
  return [
    linesOf(cells, named, 'large', { name: 'figure9', ...throughput }),
    linesOf(cells, named, 'mss', { name: 'figure9-mss', ...throughput }),
    linesOf(cells, named, 'large', { name: 'figure10', ...use }),
    linesOf(cells, named, 'mss', { name: 'figure10-mss', ...use }),
    equalFigure(samples, named),
  ];
}

const AIM = { throughput: 0.97, cost: 1.1, overRelay: 2, saturated: 0.9 };

/** The best relay under the same load: every contender that copies or splices between two sockets. */
function bestRelay(cells: readonly Cell[], like: Cell): number {
  const others = cells.filter(
    ({ contender, size, connections }) =>
      contender !== 'forward' &&
      !contender.startsWith('splice') &&
      size === like.size &&
      connections === like.connections,
  );
  return Math.max(...others.map((cell) => spreadBy(cell, gigabits).median));
}

function targetsOf({ cells }: SpliceSamples): Target[] {
  return cells
    .filter(({ contender, connections }) => contender === 'splice-tunnelled' && connections >= 16)
    .flatMap((cell): Target[] => {
      const base = baselineOf(cells, cell);
      const where = `${cell.size} packets, ${cell.connections} connections, first leg tunnelled`;
      const throughput = ratioTo(base, cell, gigabits);
      const perByte = ratioTo(base, cell, cost);
      const relay = spreadBy(cell, gigabits).median / bestRelay(cells, cell);
      const saturated = spreadBy(cell, machinePercent).median >= 100 * AIM.saturated;
      return [
        {
          what: `throughput, splice ÷ forwarding (${where})`,
          aim: '≥ 0.97',
          found: range(throughput),
          met: throughput.median >= AIM.throughput,
        },
        {
          what: `CPU per byte, splice ÷ forwarding (${where})`,
          aim: '≤ 1.10',
          found: range(perByte),
          met: perByte.median <= AIM.cost,
        },
        {
          what: `throughput, splice ÷ best relay (${where}${saturated ? '' : ', machine not saturated'})`,
          aim: '≥ 2',
          found: decimals(relay, 2),
          met: relay >= AIM.overRelay,
        },
      ];
    });
}

const SOCKMAP =
  'A sockmap relay is left out: it would need programs and a loader of its own, tuned as carefully as the other ' +
  'contenders are by their authors, to be a fair one.';

export function describeThroughput(
  samples: SpliceSamples,
  named: readonly Named[],
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes'> {
  const tables = (['large', 'mss'] as const).map((size) => {
    const own = samples.cells.filter((cell) => cell.size === size);
    return tableOf(`throughput, ${SIZES[size]}`, own, samples.cells, named);
  });
  const equal = tableOf(
    `processor use at ${decimals((8 * samples.equalRate) / 1e9, 2)} Gbit/s for everyone`,
    samples.equal,
    samples.equal,
    named,
  );
  const missing = named.some(({ name }) => name.startsWith('splice'))
    ? []
    : ['This build has no action `splice`: its rows are missing.'];
  const legend =
    'MACHINE % is of all processors; READ ÷ CARRIED is how much of what arrived the peer read with read(2), ' +
    'which only tpot-node does: 1 is relayed, 0 never seen in user space.';
  const notes = [legend, ...missing, SOCKMAP];
  return {
    tables: [...tables, equal],
    figures: figuresOf(samples, named),
    targets: targetsOf(samples),
    notes,
  };
}
