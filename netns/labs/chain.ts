/**
 * Three caching nodes in a row, clients at every depth, and a second edge node before the one in the middle: each request is
 * answered by the first node that has the object.
 *
 * ```
 *   c1, c4 ─ p1 ─┐
 *                p2 ─ p3 ─ origin
 *        c5 ─ q1 ┘ │    │
 *                  c2   c3
 * ```
 */
import type { LinkCapture } from '../capture.js';
import {
  checkCaptures,
  checkEqual,
  checkOptionPlaces,
  checkPlainLeg,
  checkRequestsOn,
  checkTunnelledLeg,
  type PlainLeg,
} from '../checks.js';
import { contentHash } from '../content.js';
import { fetch } from '../fetch.js';
import type { Lab, LabRun } from '../lab.js';
import { requestsOf } from '../origin-events.js';
import type { NodeSpec, TopologySpec } from '../spec.js';
import { confirm, fillLevels, renew } from './chain-levels.js';
import { loadChain, REQUESTS } from './chain-load.js';
import { HOPS } from './chain-requests.js';
import { addressTowards, answererOf, CACHE_RULES, captureOf, chainRoutes } from './common.js';

/** Everything a request can pass, in order. */
const CHAIN = ['p1', 'p2', 'p3', 'origin'] as const;
type Station = (typeof CHAIN)[number];

const CLIENTS = { c1: 'p1', c2: 'p2', c3: 'p3', c4: 'p1' } as const;
type Client = keyof typeof CLIENTS;

/** Addresses of what is behind the second edge node. */
const OTHER_EDGE = '198.19.0.0/16';

const [A, B, C] = ['/bytes/10001', '/bytes/20002', '/bytes/300003'] as const;
const PRIVATE = '/private/diary';

interface Fetch {
  readonly client: Client;
  readonly path: string;
  /** Who must answer, given the fetches before. */
  readonly answer: Station;
}

/** A fills the caches from the far end, B and C from the near end, and nobody may keep the private one. */
const FETCHES: readonly Fetch[] = [
  { client: 'c3', path: A, answer: 'origin' },
  { client: 'c2', path: A, answer: 'p3' },
  { client: 'c1', path: A, answer: 'p2' },
  { client: 'c4', path: A, answer: 'p1' },
  { client: 'c1', path: B, answer: 'origin' },
  { client: 'c4', path: B, answer: 'p1' },
  { client: 'c2', path: B, answer: 'p2' },
  { client: 'c3', path: B, answer: 'p3' },
  { client: 'c2', path: C, answer: 'origin' },
  { client: 'c1', path: C, answer: 'p2' },
  { client: 'c3', path: C, answer: 'p3' },
  { client: 'c1', path: PRIVATE, answer: 'origin' },
  { client: 'c4', path: PRIVATE, answer: 'origin' },
];

const nodeOf = (host: string): NodeSpec => ({ host, config: { rules: CACHE_RULES } });

const spec: TopologySpec = {
  hosts: [
    ...Object.keys(CLIENTS).map((name) => ({ name, role: 'client' as const })),
    { name: 'p1', role: 'node' },
    { name: 'p2', role: 'node' },
    { name: 'p3', role: 'node' },
    { name: 'c5', role: 'client' },
    { name: 'q1', role: 'node' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    ...Object.entries(CLIENTS).map((between) => ({ between, offload: false })),
    { between: ['p1', 'p2'], offload: false },
    { between: ['p2', 'p3'], offload: false },
    { between: ['p3', 'origin'], offload: false, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
    { between: ['c5', 'q1'], offload: false, addresses: ['198.19.1.2/24', '198.19.1.1/24'] },
    { between: ['q1', 'p2'], offload: false, addresses: ['198.19.2.2/24', '198.19.2.1/24'] },
  ],
  routes: [
    ...chainRoutes(CHAIN, CLIENTS),
    { host: 'c5', to: 'default', via: 'q1' },
    { host: 'q1', to: 'default', via: 'p2' },
    { host: 'p2', to: OTHER_EDGE, via: 'q1' },
    // p3's address, to which tunnels go past p2 when that is no node any more.
    { host: 'p2', to: '198.18.3.0/24', via: 'p3' },
  ],
  nodes: ['p1', 'p2', 'p3', 'q1'].map(nodeOf),
};

/** How many stations a request passes before it is answered, the answering one included. */
function depth(client: Client, answer: string): number {
  return CHAIN.indexOf(answer as Station) - CHAIN.indexOf(CLIENTS[client]) + 1;
}

/** The paths that must be asked for on the link out of `station`: what it, and nobody before it, could not answer. */
export function expectedBeyond(station: Station, fetches: readonly Fetch[] = FETCHES): string[] {
  const at = CHAIN.indexOf(station);
  return fetches
    .filter(({ client, answer }) => CHAIN.indexOf(CLIENTS[client]) <= at && CHAIN.indexOf(answer) > at)
    .map(({ path }) => path);
}

async function fetchAll(run: LabRun): Promise<void> {
  const { topology, check, step, table } = run;
  const rows: string[][] = [];
  const damaged: string[] = [];
  for (const { client, path, answer } of FETCHES) {
    const url = `http://${topology.host('origin').address}${path}`;
    const result = await fetch(topology, topology.host(client), url, { hops: HOPS });
    const seen = result.exit === 0 ? answererOf(topology, result) : 'nobody';
    rows.push([
      client,
      path,
      seen,
      String(depth(client, seen)),
      `${result.milliseconds} ms`,
      seen === answer ? '✓' : '✗',
    ]);
    check(checkEqual(`${client} ${path}: answered by ${answer}`, seen, answer));
    const size = Number(/\d+$/.exec(path)?.[0] ?? 0);
    if (size > 0 && result.sha256 !== contentHash(path, size)) damaged.push(`${client} ${path}`);
  }
  step(`${FETCHES.length} fetches by ${Object.keys(CLIENTS).length} clients, one after the other`);
  check({
    name: 'every body is what the origin has, by SHA-256',
    ok: damaged.length === 0,
    detail: damaged.join(', ') || `${FETCHES.length} fetches`,
  });
  table({ head: ['client', 'object', 'answered by', 'depth', 'time', 'as expected'], rows });
}

function checkOrigin({ check, originEvents }: LabRun): void {
  for (const path of [A, B, C]) {
    check(checkEqual(`the origin served ${path} once`, requestsOf(originEvents(), path).length, 1));
  }
  check(
    checkEqual(
      `the origin served ${PRIVATE} to each who asked`,
      requestsOf(originEvents(), PRIVATE).length,
      2,
    ),
  );
}

function checkPackets({ topology, check }: LabRun, captures: ReadonlyMap<string, LinkCapture>): void {
  const destination = topology.host('origin').address;
  const leg = (host: string, next: string, hops: readonly number[]): PlainLeg => ({
    source: addressTowards(topology, host, next),
    destination,
    hops,
  });
  const tunnelled = (host: string, node: string, hops: readonly number[]): void =>
    check(
      checkTunnelledLeg(captureOf(captures, `${host}-${node}`), {
        ...leg(host, node, hops),
        node: topology.host(node).address,
      }),
    );
  for (const [client, node] of Object.entries(CLIENTS)) tunnelled(client, node, [HOPS]);
  // A node sends one hop less than it got, so what a link shows depends on where the client stands.
  tunnelled('p1', 'p2', [HOPS - 1]);
  tunnelled('p2', 'p3', [HOPS - 2, HOPS - 1]);
  const last = leg('p3', 'origin', [HOPS - 3, HOPS - 2, HOPS - 1]);
  check(checkPlainLeg(captureOf(captures, 'p3-origin'), last));
  for (const station of ['p1', 'p2', 'p3'] as const) {
    const next = CHAIN[CHAIN.indexOf(station) + 1] ?? 'origin';
    check(checkRequestsOn(captureOf(captures, `${station}-${next}`), destination, expectedBeyond(station)));
  }
  check(checkOptionPlaces(captures.values()));
  check(checkCaptures(captures.values()));
}

async function run(run: LabRun): Promise<void> {
  await fetchAll(run);
  checkOrigin(run);
  checkPackets(run, await run.captured());
  await fillLevels(run);
  await confirm(run);
  await renew(run);
  await run.recapture('load-');
  await loadChain(run);
}

export const chain: Lab = {
  name: 'chain',
  summary: 'three nodes in a row, two edges; each request is answered by the first that has the object',
  requests: REQUESTS,
  spec,
  run,
};
