/** Nanoseconds per packet of every path through the BPF programs, by BPF_PROG_TEST_RUN. */
import { command } from '../../host/exec.js';
import { builtFile } from '../../host/paths.js';
import { spreadOf } from '../measure/statistics.js';
import type { Findings, ResultTable, Target } from '../result.js';
import type { Bench, BenchOptions } from './bench.js';
import type { WayCost } from './cost-ways.js';
import { range } from './format.js';

export interface CostPlan {
  readonly rounds: number;
  /** Runs of a packet per round. */
  readonly runs: number;
}

export interface PathCost {
  readonly name: string;
  readonly title: string;
  /** Each run was a call of its own. */
  readonly single: boolean;
  /** As the kernel says, by round. */
  readonly asRun: readonly number[];
  /** Without what an empty program takes, measured right after; by round. */
  readonly nanoseconds: readonly number[];
}

export interface CostSamples {
  readonly paths: readonly PathCost[];
  readonly ways: readonly WayCost[];
}

const FULL: CostPlan = { rounds: 25, runs: 1_000_000 };
const QUICK: CostPlan = { rounds: 5, runs: 100_000 };

const AIMS: Readonly<Record<string, number>> = { splice: 120, 'pass-ingress': 15, 'pass-egress': 15 };

const NOTES = [
  'The kernel runs a program over the same packet again and again, with warm caches and without traffic. NS is what ' +
    'the program takes beyond an empty one (`return`), which is run in turn with it; AS RUN is with that.',
  'once: the packet is another one afterwards, so that each run is a call of its own, for the empty program too. ' +
    'Caches are colder there, so these are upper bounds.',
  'Whole ways are from where a driver hands the packet over to where the far end of a veth drops it: live frames ' +
    "(BPF_F_TEST_XDP_LIVE_FRAMES) in batches of 64, on one processor, no tunnel opened here. IP forwarding is the kernel's own.",
  'A test run is no real ingress, so a SYN that would be taken finds nobody who listens, which is its last test.',
];

export function targetsOf(costs: readonly PathCost[]): Target[] {
  return costs.flatMap(({ name, title, nanoseconds }): Target[] => {
    const aim = AIMS[name];
    if (aim === undefined) return [];
    const found = spreadOf(nanoseconds);
    return [{ what: title, aim: `≤ ${aim} ns`, found: `${range(found, 0)} ns`, met: found.median <= aim }];
  });
}

/** Nanoseconds, and their ratio to the first way in the same round. */
function tableOfWays(ways: readonly WayCost[]): ResultTable {
  const baseline = ways[0]?.nanoseconds ?? [];
  const rows = ways.map(({ title, nanoseconds }) => [
    title,
    range(spreadOf(nanoseconds), 0),
    range(spreadOf(nanoseconds.map((time, round) => time / (baseline[round] ?? NaN))), 2),
  ]);
  return {
    title: 'nanoseconds per packet, its whole way through the host',
    heading: ['WAY', 'NS', '÷ FORWARD'],
    rows,
  };
}

export function describeCosts({ paths: costs, ways }: CostSamples, plan: CostPlan): Findings {
  const rows = costs.map(({ title, single, nanoseconds, asRun }) => [
    title,
    range(spreadOf(nanoseconds), 0),
    range(spreadOf(asRun), 0),
    single ? 'once' : 'repeated',
  ]);
  const points = costs.map(({ title, nanoseconds }) => {
    const { median, min, max } = spreadOf(nanoseconds);
    return { x: title, y: median, low: min, high: max };
  });
  return {
    settings: {
      rounds: plan.rounds,
      'runs per round': plan.runs,
      packet: 'IPv4, 1448 bytes of payload, timestamps',
    },
    offloads: {},
    notes: NOTES,
    targets: targetsOf(costs),
    tables: [
      { title: 'nanoseconds per packet', heading: ['PATH', 'NS', 'AS RUN', 'RUNS'], rows },
      tableOfWays(ways),
    ],
    figures: [
      {
        name: 'cost',
        title: 'Cost of the BPF programs per packet',
        subtitle: 'BPF_PROG_TEST_RUN',
        kind: 'rows',
        x: { label: 'ns', scale: 'linear' },
        y: { label: '', scale: 'categories' },
        series: [{ name: 'ns per packet', points }],
      },
    ],
    samples: { paths: costs, ways },
  };
}

async function run({ quick, progress }: BenchOptions): Promise<Findings> {
  const plan = quick ? QUICK : FULL;
  progress(`running every path ${plan.rounds} times ${plan.runs} packets`);
  const child = builtFile('bench', 'benches', 'cost-child.js');
  const text = await command('unshare', ['--net', process.execPath, child, JSON.stringify(plan)]);
  return describeCosts(JSON.parse(text) as CostSamples, plan);
}

export const costBench: Bench = {
  name: 'cost',
  summary: 'nanoseconds per packet of every path through the BPF programs',
  run,
};
