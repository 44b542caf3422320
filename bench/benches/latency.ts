/** How long a packet takes through the middle, from captures of both sides (TCP Splice, figure 12 and table 1). */
import { BASELINE, chooseContenders, Sites, type Contender } from '../contenders.js';
import { MARK, PORT, type Target } from '../load/protocol.js';
import { setAllPacketSizes, type Offloads, type PacketSize } from '../measure/offloads.js';
import { tapped, type Tapped } from '../measure/tap.js';
import type { Findings } from '../result.js';
import { CONGESTION_CONTROL, type Site } from '../site.js';
import type { Bench, BenchOptions } from './bench.js';
import { CONDITIONS, type Condition, type DelayCell } from './latency-samples.js';
import { describeLatency } from './latency-report.js';

interface Plan {
  readonly rounds: number;
  readonly messages: number;
  readonly streamBytes: number;
}

const FULL: Plan = { rounds: 5, messages: 2000, streamBytes: 64 * 1024 * 1024 };
const QUICK: Plan = { rounds: 1, messages: 150, streamBytes: 16 * 1024 * 1024 };
/**
 * Messages are smaller than a segment whatever the offloads. With GRO off the kernel stamps a packet when it queues it
 * for the middle host; with GRO on, only when the host takes it from the queue.
 */
const SIZE_OF: Readonly<Record<Condition, PacketSize>> = { idle: 'mss', load: 'mss', stream: 'large' };
const INTERVAL_US = 1000;
const MESSAGE_BYTES = 256;
const REST_MS = 150;
const LOAD = { connections: 8, bytesPerSecond: 125_000_000 };

class Run {
  readonly #sites: Sites;
  readonly #plan: Plan;

  constructor(sites: Sites, plan: Plan) {
    this.#sites = sites;
    this.#plan = plan;
  }

  async measure(contender: Contender, condition: Condition): Promise<Tapped> {
    const site = this.#sites.of(contender);
    const target = site.target(PORT.probe);
    const ports = { client: (target.socks ?? target).port, origin: PORT.probe };
    const probe = (): Promise<number> =>
      condition === 'stream'
        ? this.#stream(site, contender, target)
        : this.#messages(site, contender, target);
    const traffic =
      condition === 'load' ? (): Promise<number> => this.#underLoad(site, contender, probe) : probe;
    return tapped(site, contender.leg, ports, traffic);
  }

  async #messages(site: Site, { leg }: Contender, target: Target): Promise<number> {
    const client = await site.client(leg);
    const { messages: count } = this.#plan;
    const pace = { size: MESSAGE_BYTES, count, intervalUs: INTERVAL_US, restMs: REST_MS };
    await client.ask({ op: 'paced', target, ...pace }, 'paced-done');
    return count * MESSAGE_BYTES;
  }

  async #stream(site: Site, { leg }: Contender, target: Target): Promise<number> {
    const client = await site.client(leg);
    const bytes = this.#plan.streamBytes;
    await client.ask({ op: 'burst', target, bytes, restMs: REST_MS }, 'burst-done');
    return MARK.length + bytes;
  }

  async #underLoad(site: Site, { leg }: Contender, probe: () => Promise<number>): Promise<number> {
    const client = await site.client(leg, 'load');
    const { connections, bytesPerSecond: rate } = LOAD;
    const target = site.target(PORT.bulk);
    await client.ask({ op: 'bulk', target, connections, rate, restMs: REST_MS }, 'connected');
    const length = await probe();
    await client.ask({ op: 'stop' }, 'stopped');
    return length;
  }
}

async function measureAll(
  chosen: readonly Contender[],
  sites: Sites,
  plan: Plan,
  progress: BenchOptions['progress'],
): Promise<{ cells: DelayCell[]; offloads: Record<string, Offloads> }> {
  const run = new Run(sites, plan);
  const cells: DelayCell[] = [];
  const offloads: Record<string, Offloads> = {};
  for (const condition of CONDITIONS) {
    const size = SIZE_OF[condition];
    offloads[size] = await setAllPacketSizes(sites.topologies(), size);
    const own = chosen.map(({ name, title }): DelayCell => {
      return { contender: name, title, condition, rounds: [], dropped: 0 };
    });
    for (let round = 0; round < plan.rounds; round++) {
      const order = round % 2 === 0 ? chosen : [...chosen].reverse();
      for (const contender of order) {
        progress(`${condition}, round ${round + 1}: ${contender.name}`);
        const { delays, dropped } = await run.measure(contender, condition);
        const cell = own.find((one) => one.contender === contender.name);
        cell?.rounds.push(delays.slice(1)); // the mark, sent before the rest in which a node may step aside
        if (cell !== undefined) cell.dropped += dropped;
      }
    }
    cells.push(...own);
  }
  return { cells, offloads };
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const chosen = chooseContenders(only);
  const plan = quick ? QUICK : FULL;
  const sites = await Sites.open(chosen, progress);
  try {
    const { cells, offloads } = await measureAll(chosen, sites, plan, progress);
    return {
      settings: {
        'congestion control': CONGESTION_CONTROL,
        baseline: BASELINE,
        rounds: plan.rounds,
        packets: 'messages with TSO, GSO and GRO off, the stream with all on',
        idle: `${plan.messages} messages of ${MESSAGE_BYTES} bytes, one every ${INTERVAL_US} µs`,
        load: `the same beside ${LOAD.connections} connections that carry ${(8 * LOAD.bytesPerSecond) / 1e9} Gbit/s`,
        stream: `one connection, ${plan.streamBytes / 1024 / 1024} MiB as fast as they go`,
      },
      offloads,
      ...describeLatency(cells),
    };
  } finally {
    progress('removing the networks');
    await sites.close();
  }
}

export const latencyBench: Bench = {
  name: 'latency',
  summary: 'how long packets take through the middle, idle and under load',
  run,
};
