/** Responses per second out of the cache and through it, beside the caches in wide use; every one on one processor. */
import { TpotError } from '../../core/errors.js';
import { MISS_PREFIX, ORIGIN_PACKAGE } from '../caches/origin.js';
import { nodeCache, nodeListener } from '../caches/nodes.js';
import type { CachePeer } from '../caches/peer.js';
import { cacheServers } from '../caches/servers.js';
import { CacheSite } from '../caches/site.js';
import { WRK_PACKAGE } from '../load/wrk.js';
import { setAllPacketSizes } from '../measure/offloads.js';
import { ensurePackages } from '../peers/packages.js';
import type { Findings } from '../result.js';
import type { Leg } from '../site.js';
import type { Bench, BenchOptions } from './bench.js';
import { CACHE_BASELINE, describeCaches } from './cache-report.js';
import { CACHE_LOADS, type CacheCell, type CacheLoad, type CacheRound } from './cache-samples.js';

interface Contender {
  readonly name: string;
  readonly title: string;
  readonly peer: CachePeer;
  readonly leg: Leg;
}

interface Plan {
  readonly rounds: number;
  readonly seconds: number;
}

const FULL: Plan = { rounds: 5, seconds: 3 };
const QUICK: Plan = { rounds: 1, seconds: 1 };
/** So that everything is stored, and compiled. */
const WARM_UP_SECONDS = 2;

const contenders: readonly Contender[] = [
  ...cacheServers.slice(0, 1).map((peer) => plain(peer)),
  { ...plain(nodeCache), name: 'tpot-tunnelled', title: `${nodeCache.title}, tunnelled`, leg: 'tunnelled' },
  { ...plain(nodeCache), name: 'tpot-edge', title: `${nodeCache.title}, edge` },
  plain(nodeListener),
  ...cacheServers.slice(1).map((peer) => plain(peer)),
];

function plain(peer: CachePeer): Contender {
  return { name: peer.name, title: peer.title, peer, leg: 'plain' };
}

function choose(names: readonly string[] | undefined): readonly Contender[] {
  const unknown = names?.find((name) => !contenders.some((one) => one.name === name));
  if (unknown !== undefined) {
    throw new TpotError('bench-unknown', `there is no contender ${unknown}`, {
      hint: `There are ${contenders.map(({ name }) => name).join(', ')}.`,
    });
  }
  return contenders.filter(
    ({ name }) => names === undefined || name === CACHE_BASELINE || names.includes(name),
  );
}

class Run {
  readonly #chosen: readonly Contender[];
  readonly #plan: Plan;
  readonly #progress: BenchOptions['progress'];
  readonly sites = new Map<CachePeer, CacheSite>();
  #prefixes = 0;

  constructor(chosen: readonly Contender[], plan: Plan, progress: BenchOptions['progress']) {
    this.#chosen = chosen;
    this.#plan = plan;
    this.#progress = progress;
  }

  async open(): Promise<void> {
    const packages = this.#chosen.flatMap(({ peer }) => peer.packages);
    await ensurePackages([...new Set([ORIGIN_PACKAGE, WRK_PACKAGE, ...packages])], this.#progress);
    for (const peer of new Set(this.#chosen.map((one) => one.peer))) {
      this.#progress(`starting ${peer.title}`);
      this.sites.set(peer, await CacheSite.open(peer));
    }
  }

  async close(): Promise<void> {
    for (const site of this.sites.values()) await site.close();
  }

  /** Rounds alternate: every contender once, then again in the other order. */
  async measure(load: CacheLoad): Promise<CacheCell[]> {
    const cells = this.#chosen.map(({ name, title }): CacheCell => ({
      contender: name,
      title,
      load: load.name,
      rounds: [],
    }));
    for (const contender of this.#chosen) await this.#load(contender, load, WARM_UP_SECONDS);
    for (let round = 0; round < this.#plan.rounds; round++) {
      const order = round % 2 === 0 ? this.#chosen : [...this.#chosen].reverse();
      for (const contender of order) {
        const found = await this.#load(contender, load, this.#plan.seconds);
        cells.find((cell) => cell.contender === contender.name)?.rounds.push(found);
        const rate = Math.round(found.outcome.requests / found.outcome.seconds);
        this.#progress(`${load.title}, round ${round + 1}: ${contender.name} ${rate} a second`);
      }
    }
    return cells;
  }

  async #load({ peer, leg }: Contender, load: CacheLoad, seconds: number): Promise<CacheRound> {
    const site = this.sites.get(peer);
    if (site === undefined) throw new TpotError('bench-unknown', `${peer.name} has no network`);
    const { path, connections, misses } = load;
    const prefix = misses ? `${MISS_PREFIX}${this.#prefixes++}-` : undefined;
    const before = misses ? await site.memory() : 0;
    const result = await site.load(leg, { path, prefix, connections, seconds });
    return { ...result, grown: misses ? (await site.memory()) - before : undefined };
  }
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const plan = quick ? QUICK : FULL;
  const runner = new Run(choose(only), plan, progress);
  try {
    await runner.open();
    const topologies = [...runner.sites.values()].map(({ topology }) => topology);
    const large = await setAllPacketSizes(topologies, 'large');
    const cells: CacheCell[] = [];
    for (const load of CACHE_LOADS) cells.push(...(await runner.measure(load)));
    return {
      settings: {
        baseline: 'nginx proxy_cache',
        rounds: plan.rounds,
        'seconds per round': plan.seconds,
        load: 'wrk, one thread, connections that are kept, the fields of a browser',
        processors: 'the cache has the first to itself; wrk and the origin, nginx, share the second',
      },
      offloads: { large },
      ...describeCaches(cells),
    };
  } finally {
    progress('removing the networks');
    await runner.close();
  }
}

export const cacheBench: Bench = {
  name: 'cache',
  summary: 'responses per second from and through the cache, one processor each',
  run,
};
