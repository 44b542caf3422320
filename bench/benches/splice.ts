/** Throughput and processor use against the number of connections (TCP Splice, figures 9 to 11). */
import { BASELINE, chooseContenders, contenders, Sites, type Contender } from '../contenders.js';
import { setAllPacketSizes, type Offloads, type PacketSize } from '../measure/offloads.js';
import { median } from '../measure/statistics.js';
import { measureTransfer, type TransferOptions } from '../measure/transfer.js';
import { CONGESTION_CONTROL } from '../site.js';
import type { Findings } from '../result.js';
import type { Bench, BenchOptions } from './bench.js';
import type { Cell, SpliceSamples } from './splice-samples.js';
import { describeThroughput } from './splice-report.js';

interface Plan {
  readonly counts: Readonly<Record<PacketSize, readonly number[]>>;
  readonly rounds: number;
  readonly timing: Pick<TransferOptions, 'restMs' | 'warmUpMs' | 'measureMs'>;
  readonly equalConnections: number;
}

const FULL: Plan = {
  counts: { large: [1, 2, 4, 8, 16, 32, 64], mss: [1, 4, 16] },
  rounds: 5,
  timing: { restMs: 300, warmUpMs: 500, measureMs: 2000 },
  equalConnections: 16,
};
const QUICK: Plan = {
  counts: { large: [1, 16], mss: [16] },
  rounds: 1,
  timing: { restMs: 150, warmUpMs: 150, measureMs: 400 },
  equalConnections: 16,
};
/** Of what the slowest contender reaches, so that none is at its limit. */
const EQUAL_SHARE = 0.8;

class Run {
  readonly #chosen: readonly Contender[];
  readonly #sites: Sites;
  readonly #plan: Plan;
  readonly #progress: BenchOptions['progress'];

  constructor(chosen: readonly Contender[], sites: Sites, plan: Plan, progress: BenchOptions['progress']) {
    this.#chosen = chosen;
    this.#sites = sites;
    this.#plan = plan;
    this.#progress = progress;
  }

  /** Rounds alternate: every contender once, then again in the other order. */
  async measure(size: PacketSize, connections: number, rate: number): Promise<Cell[]> {
    const cells = this.#chosen.map(({ name }): Cell => ({
      contender: name,
      size,
      connections,
      transfers: [],
    }));
    for (let round = 0; round < this.#plan.rounds; round++) {
      const order = round % 2 === 0 ? this.#chosen : [...this.#chosen].reverse();
      for (const contender of order) {
        const options = { connections, rate, ...this.#plan.timing };
        const transfer = await measureTransfer(this.#sites.of(contender), contender, options);
        cells.find((cell) => cell.contender === contender.name)?.transfers.push(transfer);
        const gigabits = (transfer.bitsPerSecond / 1e9).toFixed(2);
        this.#progress(
          `${size} packets, ${connections} connections, round ${round + 1}: ${contender.name} ${gigabits} Gbit/s`,
        );
      }
    }
    return cells;
  }

  async all(): Promise<{ samples: SpliceSamples; offloads: Record<PacketSize, Offloads> }> {
    const cells: Cell[] = [];
    const offloads: Record<PacketSize, Offloads> = { large: {}, mss: {} };
    for (const size of ['mss', 'large'] as const) {
      offloads[size] = await setAllPacketSizes(this.#sites.topologies(), size);
      for (const connections of this.#plan.counts[size])
        cells.push(...(await this.measure(size, connections, 0)));
    }
    const { equalConnections } = this.#plan;
    const busiest = cells.filter(
      ({ size, connections }) => size === 'large' && connections === equalConnections,
    );
    const slowest = Math.min(
      ...busiest.map(({ transfers }) => median(transfers.map(({ bitsPerSecond }) => bitsPerSecond))),
    );
    const equalRate = (slowest * EQUAL_SHARE) / 8;
    const equal = await this.measure('large', equalConnections, equalRate);
    return { samples: { cells, equalRate, equal }, offloads };
  }
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const chosen = chooseContenders(only);
  const plan = quick ? QUICK : FULL;
  const sites = await Sites.open(chosen, progress);
  try {
    const { samples, offloads } = await new Run(chosen, sites, plan, progress).all();
    const { restMs, warmUpMs, measureMs } = plan.timing;
    const settings = {
      'congestion control': CONGESTION_CONTROL,
      baseline: BASELINE,
      rounds: plan.rounds,
      'measured per round': `${measureMs} ms after ${restMs} ms of rest and ${warmUpMs} ms of load`,
      load: 'sendfile from memory, received with MSG_TRUNC: the ends copy nothing',
      'peer threads': 'as many as processors; tpot-node has one thread',
    };
    return { ...describeThroughput(samples, contenders), settings, offloads, samples };
  } finally {
    progress('removing the networks');
    await sites.close();
  }
}

export const spliceBench: Bench = {
  name: 'splice',
  summary: 'throughput and processor use against the number of connections',
  run,
};
