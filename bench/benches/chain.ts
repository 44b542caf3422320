/** A load by Zipf's law on three nodes in a row: what each level answers, and what the origin need not send. */
import { TpotError } from '../../core/errors.js';
import { builtFile } from '../../host/paths.js';
import { answererOf, deedsOf, type Exchange } from '../../netns/exchanges.js';
import type { Program } from '../../netns/host.js';
import { startAsking } from '../../netns/labs/chain-requests.js';
import { CACHE_RULES, chainRoutes } from '../../netns/labs/common.js';
import { parseOriginLog, requestsOf, type RequestEvent } from '../../netns/origin-events.js';
import type { TopologySpec } from '../../netns/spec.js';
import { createTopology, type Topology } from '../../netns/topology.js';
import { zipf } from '../../netns/zipf.js';
import type { Findings } from '../result.js';
import type { Bench, BenchOptions } from './bench.js';
import { describeChains } from './chain-report.js';
import {
  CHAIN_CONTENDERS,
  CLIENTS,
  LEVELS,
  type Answered,
  type ChainContender,
  type ChainLoad,
} from './chain-samples.js';

interface Plan {
  readonly objects: number;
  /** Of each client. */
  readonly requests: number;
  readonly exponents: readonly number[];
}

const FULL: Plan = { objects: 2000, requests: 5000, exponents: [0.7, 0.9, 1.1] };
const QUICK: Plan = { objects: 500, requests: 600, exponents: [0.9] };
/** What requests for web pages were seen to have (Breslau and others, *Web Caching and Zipf-like Distributions*, 1999: 0.64 to 0.83), and above. */
const SHOWN = 0.9;
const SEED = 20_241;
const AT_ONCE = 4;
/** A day, none of which has passed. */
const PATH = '/aged/86400/0/';
const LAST = '/private/last';
/** Sizes are 1 KiB to 128 KiB, every power of two as likely as another. */
const SMALLEST = 1024;
const DOUBLINGS = 7;
/** Each node's memory holds one byte of so many. */
const SHARE = 10;
/** The golden ratio's fraction: its multiples lie evenly, in no order that has to do with popularity. */
const SPREAD = 0.618_033_988_749_895;

/** Bytes of the object of each rank; no two are alike, for the path names the size. */
export function sizesOf(objects: number): number[] {
  return Array.from({ length: objects }, (_, rank) => {
    const size = SMALLEST * 2 ** (DOUBLINGS * ((rank * SPREAD) % 1));
    return SMALLEST + Math.floor(size / objects) * objects + rank;
  });
}

function specOf({ cache }: ChainContender, memory: number): TopologySpec {
  const last = LEVELS.at(-1);
  return {
    hosts: [
      ...Object.keys(CLIENTS).map((name) => ({ name, role: 'client' as const })),
      ...LEVELS.map((name) => ({ name, role: 'node' as const })),
      { name: 'origin', role: 'origin' },
    ],
    links: [
      ...Object.entries(CLIENTS).map((between) => ({ between })),
      { between: ['p1', 'p2'] },
      { between: ['p2', 'p3'] },
      { between: ['p3', 'origin'], addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
    ],
    routes: chainRoutes([...LEVELS, 'origin'], CLIENTS),
    nodes: LEVELS.map((host) => ({
      host,
      config: { rules: CACHE_RULES, cache: { memory, ...(host === last ? {} : cache) } },
    })),
  };
}

/** All clients' requests, to the end of the last one. */
async function askAll(
  topology: Topology,
  contender: ChainContender,
  { objects, requests }: Plan,
  exponent: number,
): Promise<Exchange[]> {
  const sizes = sizesOf(objects);
  const asking = Object.keys(CLIENTS).map((client, index) => {
    const ranks = zipf(objects, requests, SEED + index, exponent);
    const asks = ranks.map((rank) => ({ path: `${PATH}${sizes[rank] ?? 0}` }));
    return startAsking({ topology }, client, asks, AT_ONCE, contender.hops);
  });
  await Promise.all(asking.map(({ program }) => program.exited));
  return asking.flatMap((one) => one.exchanges()).sort((one, other) => one.ended - other.ended);
}

function answeredOf(topology: Topology, exchange: Exchange): Answered {
  const levelOf = (node: string): (typeof LEVELS)[number] | undefined =>
    LEVELS.find((level) => topology.nodeName(level) === node);
  const asked = deedsOf(exchange).flatMap(({ node }) => levelOf(node) ?? []);
  return { asked, by: levelOf(answererOf(exchange)) ?? 'origin', bytes: exchange.bytes };
}

/** What the origin was asked for. It tells in its own time, but in order: when it tells of one more, it has told of all. */
async function servedBy(topology: Topology, origin: Program): Promise<readonly RequestEvent[]> {
  await topology.host('origin').must('curl', ['-sS', '-o', '/dev/null', `http://127.0.0.1${LAST}`]);
  const served = (): RequestEvent[] => requestsOf(parseOriginLog(origin.stdout()));
  await origin.while(() => served().some(({ path }) => path === LAST), { what: `${LAST} in its log` });
  return served().filter(({ path }) => path.startsWith(PATH));
}

async function measure(contender: ChainContender, plan: Plan, exponent: number): Promise<ChainLoad> {
  const bytes = sizesOf(plan.objects).reduce((sum, size) => sum + size, 0);
  const topology = await createTopology(specOf(contender, Math.ceil(bytes / SHARE)), { title: 'bench' });
  try {
    const command = [builtFile('netns', 'origin.js')];
    const origin = topology.host('origin').spawn(process.execPath, command, { label: 'origin' });
    await origin.output(/"ready"/);
    await topology.startNodes();
    const exchanges = await askAll(topology, contender, plan, exponent);
    const whole = ({ path, bytes: got, error }: Exchange): boolean =>
      error === undefined && path === `${PATH}${got}`;
    const answered = exchanges.filter(whole).map((exchange) => answeredOf(topology, exchange));
    const served = await servedBy(topology, origin);
    return {
      contender: contender.name,
      title: contender.title,
      exponent,
      answered,
      failed: Object.keys(CLIENTS).length * plan.requests - answered.length,
      originBytes: served.reduce((sum, { path }) => sum + Number(path.slice(PATH.length)), 0),
      originRequests: served.length,
    };
  } finally {
    await topology.close();
  }
}

function choose(names: readonly string[] | undefined): readonly ChainContender[] {
  const unknown = names?.find((name) => !CHAIN_CONTENDERS.some((one) => one.name === name));
  if (unknown !== undefined) {
    throw new TpotError('bench-unknown', `there is no contender ${unknown}`, {
      hint: `There are ${CHAIN_CONTENDERS.map(({ name }) => name).join(', ')}.`,
    });
  }
  return CHAIN_CONTENDERS.filter(({ name }) => names?.includes(name) !== false);
}

async function run({ quick, only, progress }: BenchOptions): Promise<Findings> {
  const plan = quick ? QUICK : FULL;
  const loads: ChainLoad[] = [];
  for (const exponent of plan.exponents) {
    for (const contender of choose(only)) {
      progress(`exponent ${exponent}: ${contender.title}`);
      loads.push(await measure(contender, plan, exponent));
    }
  }
  return {
    settings: {
      objects: `${plan.objects}, ${SMALLEST / 1024} to ${(SMALLEST * (2 ** DOUBLINGS + 1)) / 1024} KiB, as many of every power of two`,
      load: `${plan.requests} requests of each of ${Object.keys(CLIENTS).length} clients, ${AT_ONCE} at a time, seed ${SEED}`,
      nodes: `three in a row, a client behind each; memory of each: 1/${SHARE} of the bytes of all objects`,
    },
    offloads: {},
    ...describeChains(loads, SHOWN),
  };
}

export const chainBench: Bench = {
  name: 'chain',
  summary: "hit ratio of each of three nodes in a row, and bytes that the origin is spared, by Zipf's law",
  run,
};
