/**
 * Two disjoint ways to the origin, a node on each, and a router that changes its mind. With TPOT the connection stays
 * with the node that took it; an ordinary transparent proxy (the same node, `edge: true`, a client without the shim)
 * loses it, and must: that is what shows that the experiment tests something.
 */
import { statSync } from 'node:fs';
import type { LinkCapture } from '../capture.js';
import {
  checkCaptures,
  checkEqual,
  checkOptionPlaces,
  countConnections,
  countForward,
  type CheckResult,
} from '../checks.js';
import { content, contentHash } from '../content.js';
import { fetch, startFetch, type FetchResult } from '../fetch.js';
import type { Lab, LabRun } from '../lab.js';
import type { RouteSpec, TopologySpec } from '../spec.js';
import type { Topology } from '../topology.js';
import { waitFor } from '../wait.js';
import { captureOf, describeFetch, RELAY_RULES } from './common.js';

const HOPS = 8;
const GATED = 2 * 1024 * 1024;
/** A little less than what comes before the gate: curl may hold back what does not fill a buffer. */
const HALF = GATED / 2 - 65_536;
const BULK = 8 * 1024 * 1024;
const SMALL_FETCHES = 6;
const GATED_TIMEOUT_MS = 10_000;
const ORIGIN_PREFIX = '192.0.2.0/24';
const LAB_PREFIX = '198.18.0.0/15';

type Way = 'a' | 'b';

/** How r1 sends what is for the origin. */
const wayBy = (way: Way): RouteSpec => ({ host: 'r1', to: ORIGIN_PREFIX, via: way });

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'r1', role: 'router' },
    { name: 'a', role: 'node' },
    { name: 'b', role: 'node' },
    { name: 'r2', role: 'router' },
    { name: 'origin', role: 'origin' },
  ],
  // Without offloads every packet is small, so the captures' rings have room for all of them.
  links: [
    { between: ['c1', 'r1'], offload: false },
    { between: ['r1', 'a'], offload: false },
    { between: ['r1', 'b'], offload: false },
    { between: ['a', 'r2'], offload: false },
    { between: ['b', 'r2'], offload: false },
    { between: ['r2', 'origin'], offload: false, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
  ],
  routes: [
    { host: 'c1', to: 'default', via: 'r1' },
    wayBy('a'),
    ...(['a', 'b'] as const).flatMap((host): RouteSpec[] => [
      { host, to: 'default', via: 'r2' },
      { host, to: '198.18.1.0/24', via: 'r1' },
    ]),
    { host: 'r2', to: LAB_PREFIX, via: 'a' },
    { host: 'origin', to: 'default', via: 'r2' },
  ],
  nodes: [
    { host: 'a', config: { rules: RELAY_RULES } },
    { host: 'b', config: { rules: RELAY_RULES } },
  ],
};

const urlOf = (topology: Topology, path: string): string =>
  `http://${topology.host('origin').address}${path}`;

/**
 * A download that stops half-way until the origin is told to go on. When the client has its half, `change` is called;
 * only then comes the rest.
 */
async function gatedDownload(
  { topology }: LabRun,
  options: { readonly hops: number | undefined; readonly change: () => Promise<void> },
): Promise<FetchResult> {
  const url = urlOf(topology, `/gated/${GATED}`);
  const { hops, change } = options;
  const running = startFetch(topology, topology.host('c1'), url, { hops, timeoutMs: GATED_TIMEOUT_MS });
  const received = (): boolean => (statSync(running.bodyFile, { throwIfNoEntry: false })?.size ?? 0) >= HALF;
  // A download that ends before its half has failed already, and says so.
  await Promise.race([
    waitFor(received, { what: 'half of a download', timeoutMs: GATED_TIMEOUT_MS }),
    running.result,
  ]);
  await change();
  await topology.host('origin').must('curl', ['-sS', 'http://127.0.0.1/gate/open']);
  return running.result;
}

/** Flips the route to and fro as fast as it goes until `transfer` has ended; gives how often. */
async function flipDuring(topology: Topology, transfer: Promise<unknown>): Promise<number> {
  const state = { running: true, flips: 0 };
  const ended = transfer.finally(() => (state.running = false));
  while (state.running) {
    state.flips += 1;
    await topology.setRoute(wayBy(state.flips % 2 === 1 ? 'b' : 'a'));
  }
  await ended;
  return state.flips;
}

const whole = (name: string, result: FetchResult, expected: string): CheckResult => ({
  name,
  ok: result.exit === 0 && result.sha256 === expected,
  detail: result.exit === 0 ? `SHA-256 ${result.sha256.slice(0, 16)}…` : result.complaint,
});

async function flipOnce(run: LabRun): Promise<void> {
  const { topology, step, check } = run;
  await topology.setRoute(wayBy('a'));
  const change = (): Promise<void> => topology.setRoute(wayBy('b'));
  const result = await gatedDownload(run, { hops: HOPS, change });
  step(`TPOT, route moved from a to b half-way through a download: ${describeFetch(topology, result)}`);
  check(
    whole(
      'TPOT: a download survives a route that moves half-way',
      result,
      contentHash(`/gated/${GATED}`, GATED),
    ),
  );
}

async function flipOften(run: LabRun): Promise<void> {
  const { topology, step, check } = run;
  const body = Buffer.concat([...content('upload', BULK)]);
  const upload = fetch(topology, topology.host('c1'), urlOf(topology, '/echo'), { hops: HOPS, upload: body });
  const flips = await flipDuring(topology, upload);
  const result = await upload;
  step(
    `TPOT, route flipped ${flips} times during an upload and its echo: ${describeFetch(topology, result)}`,
  );
  check(whole('TPOT: bulk data both ways survives a flapping route', result, contentHash('upload', BULK)));
  check({ name: 'the route flapped while data went', ok: flips >= 4, detail: `${flips} times` });
}

async function flipPerPacket(run: LabRun): Promise<void> {
  const { topology, step, check } = run;
  await topology.setRoute({ host: 'r1', to: ORIGIN_PREFIX, via: ['a', 'b'], spread: 'packet' });
  const results: FetchResult[] = [];
  for (let index = 0; index < SMALL_FETCHES; index++) {
    const url = urlOf(topology, '/bytes/500000');
    results.push(await fetch(topology, topology.host('c1'), url, { hops: HOPS }));
  }
  const expected = contentHash('/bytes/500000', 500_000);
  const good = results.filter(({ exit, sha256 }) => exit === 0 && sha256 === expected).length;
  step(`TPOT, packets for the origin sent by a and b in turn: ${good} of ${SMALL_FETCHES} downloads whole`);
  check(checkEqual('TPOT: every download survives per-packet alternation', good, SMALL_FETCHES));
}

/** What the links to both nodes saw of the client's packets for the origin. */
function checkTpotPackets({ topology, check }: LabRun, captures: ReadonlyMap<string, LinkCapture>): void {
  const leg = { source: topology.host('c1').address, destination: topology.host('origin').address };
  const [byA, byB] = (['a', 'b'] as const).map((way) => countForward(captureOf(captures, `r1-${way}`), leg));
  const plain = (byA?.plain ?? 0) + (byB?.plain ?? 0);
  check(checkEqual('TPOT: after the SYN no packet of the client went plain', plain, 0, ' plain packets'));
  const [tunnelledA = 0, tunnelledB = 0] = [byA?.tunnelled, byB?.tunnelled];
  check({
    name: 'TPOT: connections were taken by both nodes, each where its SYN went',
    ok: tunnelledA > 0 && tunnelledB > 0,
    detail: `${tunnelledA} tunnelled packets to a, ${tunnelledB} to b`,
  });
  check(checkOptionPlaces(captures.values()));
  check(checkCaptures(captures.values()));
}

async function restartAsEdge({ topology }: LabRun): Promise<void> {
  for (const host of ['a', 'b']) {
    await topology.node(host).stop();
    await topology.startNode({ host, config: { rules: RELAY_RULES, edge: true } });
  }
}

/** The negative control: the same nodes as ordinary transparent proxies, the same client without the shim. */
async function controls(run: LabRun): Promise<void> {
  const { topology, step, check } = run;
  const steady = await gatedDownload(run, { hops: undefined, change: () => Promise.resolve() });
  step(`control, edge mode, route left alone: ${describeFetch(topology, steady)}`);
  const expected = contentHash(`/gated/${GATED}`, GATED);
  check(whole('control: an ordinary transparent proxy works while the route stays', steady, expected));
  const moved = await gatedDownload(run, { hops: undefined, change: () => topology.setRoute(wayBy('b')) });
  step(`control, edge mode, route moved from a to b half-way: ${describeFetch(topology, moved)}`);
  const lost = moved.exit !== 0 && moved.bytes >= HALF && moved.bytes < GATED;
  check({
    name: 'control: an ordinary transparent proxy loses the connection when the route moves',
    ok: lost,
    detail: `${moved.bytes} of ${GATED} bytes, ${moved.complaint || `curl exit ${moved.exit ?? 'by signal'}`}`,
  });
}

/** That packets really alternate shows in what it does to a connection without a tunnel. */
async function controlPerPacket({ topology, step, check }: LabRun): Promise<void> {
  await topology.setRoute({ host: 'r1', to: ORIGIN_PREFIX, via: ['a', 'b'], spread: 'packet' });
  const options = { hops: undefined, timeoutMs: GATED_TIMEOUT_MS };
  const result = await fetch(topology, topology.host('c1'), urlOf(topology, '/bytes/500000'), options);
  step(`control, edge mode, packets sent by a and b in turn: ${describeFetch(topology, result)}`);
  check({
    name: 'control: an ordinary transparent proxy does not survive per-packet alternation',
    ok: result.exit !== 0,
    detail: result.complaint || `curl exit ${result.exit ?? 'by signal'}`,
  });
}

function checkControlPackets({ topology, check }: LabRun, captures: ReadonlyMap<string, LinkCapture>): void {
  const leg = { source: topology.host('c1').address, destination: topology.host('origin').address };
  const [byA, byB] = (['a', 'b'] as const).map((way) => countForward(captureOf(captures, `r1-${way}`), leg));
  check({
    name: "control: the client's packets went plain, first by a and then by b",
    ok: (byA?.plain ?? 0) > 0 && (byB?.plain ?? 0) > 0 && byA?.tunnelled === 0 && byB?.tunnelled === 0,
    detail: `${byA?.plain ?? 0} by a, ${byB?.plain ?? 0} by b`,
  });
  // Lost for the right reason: a node took the connection, then the origin heard of it and knew nothing.
  const { accepted, reset } = countConnections(captureOf(captures, 'c1-r1'), leg);
  check({
    name: 'control: of three accepted connections the two whose packets moved were reset by the origin',
    ok: accepted === 3 && reset === 2,
    detail: `${accepted} accepted, ${reset} reset`,
  });
  const { name, ...seen } = checkCaptures(captures.values());
  check({ name: `control: ${name}`, ...seen });
}

async function run(run: LabRun): Promise<void> {
  const { topology } = run;
  await flipOnce(run);
  await flipOften(run);
  await flipPerPacket(run);
  checkTpotPackets(run, await run.captured());
  await topology.setRoute(wayBy('a'));
  await restartAsEdge(run);
  await run.recapture('control');
  await controls(run);
  await controlPerPacket(run);
  checkControlPackets(run, await run.captured());
}

export const ecmp: Lab = {
  name: 'ecmp',
  summary: 'two ways to the origin, a node on each, and a route that keeps moving',
  spec,
  run,
};
