/** Throughput of spliced connections, and memory, with ever more others in the table. */
import { TpotError } from '../../core/errors.js';
import type { Point } from '../draw/figure.js';
import { setAllPacketSizes, type Offloads } from '../measure/offloads.js';
import { SpliceTable } from '../measure/splice-table.js';
import { ratioSpread, spreadOf } from '../measure/statistics.js';
import { measureTransfer, type Transfer } from '../measure/transfer.js';
import { splice } from '../peers/tpot.js';
import type { Findings, Target } from '../result.js';
import { CONGESTION_CONTROL, Site } from '../site.js';
import type { Bench, BenchOptions } from './bench.js';
import { decimals, range } from './format.js';

export interface FlowsCell {
  /** Spliced connections in the table; each has two entries. */
  readonly connections: number;
  memoryBytes: number;
  readonly transfers: Transfer[];
}

interface Plan {
  readonly rounds: number;
  readonly measureMs: number;
}

const FULL: Plan = { rounds: 5, measureMs: 2000 };
const QUICK: Plan = { rounds: 2, measureMs: 400 };
const STEPS = [1, 1000, 100_000, 1_000_000];
/** Connections that the table of a quick run has room for, as that of a node without configuration. */
const QUICK_ROOM = 131_072;
const ENTRIES_PER_CONNECTION = 2;
/** Of the table's room, what the connections under test need. */
const RESERVED_ENTRIES = 64;
const UNDER_TEST = 4;
const REST_MS = 300;
const WARM_UP_MS = 200;
const AIM = { bytes: 256, throughput: 0.95 };

/** The steps, the last of them cut down to what the table has room for. */
export function stepsFor(maxEntries: number): number[] {
  const room = Math.floor((maxEntries - RESERVED_ENTRIES) / ENTRIES_PER_CONNECTION);
  return [...new Set(STEPS.map((step) => Math.min(step, room)))];
}

async function measure(site: Site, plan: Plan, progress: BenchOptions['progress']): Promise<FlowsCell[]> {
  const table = new SpliceTable(site.topology.nodeName('p1'));
  try {
    const cells = stepsFor(table.info().maxEntries).map((connections): FlowsCell => {
      return { connections, memoryBytes: 0, transfers: [] };
    });
    for (let round = 0; round < plan.rounds; round++) {
      for (const cell of cells) {
        progress(`round ${round + 1}: ${cell.connections} connections`);
        table.fill(cell.connections * ENTRIES_PER_CONNECTION);
        cell.memoryBytes = table.info().memoryBytes;
        const timing = { restMs: REST_MS, warmUpMs: WARM_UP_MS, measureMs: plan.measureMs };
        const options = { connections: UNDER_TEST, rate: 0, ...timing };
        cell.transfers.push(await measureTransfer(site, { leg: 'tunnelled' }, options));
      }
      table.empty();
    }
    return cells;
  } finally {
    table.close();
  }
}

const gigabits = ({ bitsPerSecond }: Transfer): number => bitsPerSecond / 1e9;

function targetsOf(cells: readonly FlowsCell[], empty: number): Target[] {
  const [first] = cells;
  const last = cells.at(-1);
  if (first === undefined || last === undefined) return [];
  const ratio = ratioSpread(last.transfers.map(gigabits), first.transfers.map(gigabits));
  const each = (last.memoryBytes - empty) / last.connections;
  const count = last.connections.toLocaleString('en');
  return [
    { what: 'spliced connections held', aim: '1,000,000', found: count, met: last.connections >= 1_000_000 },
    { what: 'bytes per connection', aim: `≤ ${AIM.bytes}`, found: decimals(each, 0), met: each <= AIM.bytes },
    {
      what: `throughput with ${count} in the table ÷ with one`,
      aim: `≥ ${AIM.throughput}`,
      found: range(ratio),
      met: ratio.median >= AIM.throughput,
    },
  ];
}

export function describeFlows(
  cells: readonly FlowsCell[],
): Pick<Findings, 'tables' | 'figures' | 'targets' | 'notes' | 'samples'> {
  const [first] = cells;
  const empty = first?.memoryBytes ?? 0;
  const base = first?.transfers.map(gigabits) ?? [];
  const rows = cells.map(({ connections, memoryBytes, transfers }) => [
    connections,
    range(spreadOf(transfers.map(gigabits))),
    range(ratioSpread(transfers.map(gigabits), base)),
    decimals(memoryBytes / 1024 / 1024, 1),
    connections === first?.connections ? '-' : decimals((memoryBytes - empty) / connections, 0),
  ]);
  const points = cells.map(({ connections, transfers }): Point => {
    const { median, min, max } = spreadOf(transfers.map(gigabits));
    return { x: connections, y: median, low: min, high: max };
  });
  return {
    tables: [
      {
        title: 'spliced connections in the table',
        heading: ['CONNECTIONS', 'GBIT/S', '÷ WITH ONE', 'TABLE MIB', 'BYTES EACH'],
        rows,
      },
    ],
    figures: [
      {
        name: 'flows',
        title: 'Throughput against the number of spliced connections',
        subtitle: `${UNDER_TEST} of them busy, first leg tunnelled`,
        kind: 'lines',
        x: { label: 'connections in the table', scale: 'log' },
        y: { label: 'Gbit/s', scale: 'linear' },
        series: [{ name: 'splice', points }],
      },
    ],
    targets: targetsOf(cells, empty),
    notes: [
      'TABLE MIB is what the kernel says the map takes (memlock), its fixed part included; a connection has two entries.',
    ],
    samples: cells,
  };
}

async function run({ quick, progress }: BenchOptions): Promise<Findings> {
  if (splice === undefined) {
    throw new TpotError(
      'kernel-feature-missing',
      'this build has no action `splice`, so there is no table to fill',
    );
  }
  const plan = quick ? QUICK : FULL;
  progress('starting a node');
  const most = STEPS.at(-1) ?? 1;
  const room = quick ? QUICK_ROOM : most + RESERVED_ENTRIES;
  const site = await Site.open(splice, { nodeConfig: { limits: { splices: room } } });
  try {
    const large: Offloads = await setAllPacketSizes([site.topology], 'large');
    const cells = await measure(site, plan, progress);
    const settings = {
      'congestion control': CONGESTION_CONTROL,
      baseline: 'the same with one connection in the table',
      rounds: plan.rounds,
      'measured per round': `${plan.measureMs} ms`,
      'under test': `${UNDER_TEST} connections, first leg tunnelled`,
    };
    return { settings, offloads: { large }, ...describeFlows(cells) };
  } finally {
    progress('removing the network');
    await site.close();
  }
}

export const flowsBench: Bench = {
  name: 'flows',
  summary: 'throughput and memory with up to a million spliced connections',
  run,
};
