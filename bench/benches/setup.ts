/** Connections per second, and the time until the first byte comes back; every peer on one processor. */
import { BASELINE, chooseContenders, Sites, type Contender } from '../contenders.js';
import { PORT } from '../load/protocol.js';
import { sampleCpu, usageBetween } from '../measure/cpu.js';
import { setAllPacketSizes } from '../measure/offloads.js';
import { CONGESTION_CONTROL } from '../site.js';
import type { Findings } from '../result.js';
import type { Bench, BenchOptions } from './bench.js';
import { CONCURRENCIES, type SetupCell, type SetupRound } from './setup-samples.js';
import { describeSetup } from './setup-report.js';

interface Plan {
  readonly rounds: number;
  readonly seconds: number;
}

const FULL: Plan = { rounds: 5, seconds: 3 };
const QUICK: Plan = { rounds: 1, seconds: 0.8 };
const GRACE_MS = 15_000;

async function measure(
  sites: Sites,
  contender: Contender,
  concurrency: number,
  seconds: number,
): Promise<SetupRound> {
  const site = sites.of(contender);
  const client = await site.client(contender.leg);
  const pids = site.peerPids();
  const before = sampleCpu(pids);
  const command = { op: 'setup', target: site.target(PORT.answer), concurrency, seconds } as const;
  const outcome = await client.ask(command, 'setup-done', seconds * 1000 + GRACE_MS);
  return { outcome, usage: usageBetween(before, sampleCpu(pids)) };
}

async function measureAll(
  chosen: readonly Contender[],
  sites: Sites,
  plan: Plan,
  progress: BenchOptions['progress'],
): Promise<SetupCell[]> {
  const cells: SetupCell[] = [];
  for (const concurrency of CONCURRENCIES) {
    const own = chosen.map(({ name, title }): SetupCell => ({
      contender: name,
      title,
      concurrency,
      rounds: [],
    }));
    for (let round = 0; round < plan.rounds; round++) {
      const order = round % 2 === 0 ? chosen : [...chosen].reverse();
      for (const contender of order) {
        const measured = await measure(sites, contender, concurrency, plan.seconds);
        own.find((cell) => cell.contender === contender.name)?.rounds.push(measured);
        const rate = Math.round(measured.outcome.completed / measured.outcome.seconds);
        progress(`${concurrency} at a time, round ${round + 1}: ${contender.name} ${rate} a second`);
      }
    }
    cells.push(...own);
  }
  return cells;
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const chosen = chooseContenders(only);
  const plan = quick ? QUICK : FULL;
  const sites = await Sites.open(chosen, progress, { oneCore: true });
  try {
    const large = await setAllPacketSizes(sites.topologies(), 'large');
    const cells = await measureAll(chosen, sites, plan, progress);
    return {
      settings: {
        'congestion control': CONGESTION_CONTROL,
        baseline: `${BASELINE} (direct)`,
        rounds: plan.rounds,
        'seconds per round': plan.seconds,
        connection: 'connect, one byte there, one byte back, the client closes first',
        processors:
          'the peer has the first to itself, with one thread; both ends of the load share the second',
      },
      offloads: { large },
      ...describeSetup(cells),
    };
  } finally {
    progress('removing the networks');
    await sites.close();
  }
}

export const setupBench: Bench = {
  name: 'setup',
  summary: 'connections per second and time to the first byte, one processor each',
  run,
};
