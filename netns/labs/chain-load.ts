/**
 * A load by Zipf's law from clients behind two edge nodes and the one in the middle, which is killed half-way: who answered,
 * over time, and what the nodes have spared the next hop and the origin.
 */
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesFrom, checkEqual, type CheckResult } from '../checks.js';
import type { LinkCapture } from '../capture.js';
import { contentHash } from '../content.js';
import { startFetch } from '../fetch.js';
import { answeredOverTime, answererOf, countsOf, type Ask, type Exchange } from '../exchanges.js';
import type { LabRun } from '../lab.js';
import { requestsOf } from '../origin-events.js';
import { waitFor } from '../wait.js';
import { zipf } from '../zipf.js';
import { HOPS, startAsking } from './chain-requests.js';
import { addressTowards, captureOf } from './common.js';

export const REQUESTS = 360;

const CLIENTS = ['c1', 'c5', 'c2'] as const;
const NODES = ['p1', 'q1', 'p2', 'p3'] as const;
const KILLED = 'p2';
const SEED = 20_241;
const DOWNLOAD_SIZE = 100_000;
const DOWNLOAD = `/gated/${DOWNLOAD_SIZE}`;
const AT_ONCE = 4;
/** Objects for as many requests. */
const REQUESTS_PER_OBJECT = 6;
const SMALLEST = 1000;
/** Sizes differ, so that paths do. */
const STEP = 41;
const PARTS = 24;
const PERCENT = 100;

/** The neighbours of each node: those that ask it, and the one that it asks. */
const NEIGHBOURS = {
  p1: { before: ['c1', 'c4'], next: 'p2' },
  q1: { before: ['c5'], next: 'p2' },
  p2: { before: ['c2', 'p1', 'q1'], next: 'p3' },
  p3: { before: ['c3', 'p2'], next: 'origin' },
} as const;

/** As many as there are objects: a load asks for each of them often. */
const hashes = new Map<string, string>();

function hashOf(path: string): string {
  const hash = hashes.get(path) ?? contentHash(path, sizeOf(path));
  hashes.set(path, hash);
  return hash;
}

const sizeOf = (path: string): number => Number(/\d+$/.exec(path)?.[0] ?? 0);

function asksOf(client: number, count: number): Ask[] {
  const objects = Math.max(1, Math.floor((count * CLIENTS.length) / REQUESTS_PER_OBJECT));
  return zipf(objects, count, SEED + client).map((rank) => ({ path: `/bytes/${SMALLEST + rank * STEP}` }));
}

/** Half of the requests at once, the others when there is a file `after`. */
function halves(asks: readonly Ask[], after: string): Ask[] {
  const half = Math.floor(asks.length / 2);
  return asks.map((ask, index) => (index < half ? ask : { ...ask, after }));
}

interface Loaded {
  /** Milliseconds since the epoch at which the node was gone. */
  readonly killed: number;
  readonly exchanges: readonly Exchange[];
}

async function load(run: LabRun): Promise<Loaded> {
  const { topology, step, requests = REQUESTS } = run;
  const each = Math.ceil(requests / CLIENTS.length);
  const gone = join(topology.directory, 'gone');
  const asking = CLIENTS.map((client, index) =>
    startAsking(run, client, halves(asksOf(index, each), gone), AT_ONCE),
  );
  const first = CLIENTS.length * Math.floor(each / 2);
  const count = (): number =>
    asking.reduce((sum, { program }) => sum + program.stdout().split('\n').length - 1, 0);
  await waitFor(() => count() >= first, { what: 'half of the load', timeoutMs: 300_000, intervalMs: 50 });
  const killed = await killMidway(run);
  writeFileSync(gone, '');
  await Promise.all(asking.map(({ program }) => program.exited));
  step(
    `${each * CLIENTS.length} requests of ${CLIENTS.length} clients, seed ${SEED}; ${KILLED} is killed half-way`,
  );
  return { killed, exchanges: asking.flatMap((one) => one.exchanges()) };
}

/** A download through the node is cut in a way that shows; one that does not pass it arrives. */
async function killMidway(run: LabRun): Promise<number> {
  const { topology, check } = run;
  const url = `http://${topology.host('origin').address}${DOWNLOAD}`;
  const through = startFetch(topology, topology.host('c1'), url, { hops: HOPS });
  const beside = startFetch(topology, topology.host('c3'), url, { hops: HOPS });
  for (const { bodyFile } of [through, beside]) {
    const received = (): boolean => (statSync(bodyFile, { throwIfNoEntry: false })?.size ?? 0) > 0;
    await waitFor(received, { what: 'a download to begin' });
  }
  await topology.node(KILLED).stop('SIGKILL');
  const killed = Date.now();
  const cut = await through.result;
  await topology.host('origin').must('curl', ['-sS', 'http://127.0.0.1/gate/open']);
  const whole = await beside.result;
  check({
    name: `killed: a download through ${KILLED} ends with an error, not in silence`,
    ok: cut.exit !== 0 && cut.bytes < DOWNLOAD_SIZE,
    detail: `${cut.complaint || 'none'} after ${cut.bytes} bytes`,
  });
  const hash = contentHash(DOWNLOAD, DOWNLOAD_SIZE);
  check(checkEqual('killed: a download that does not pass it arrives whole', whole.sha256, hash));
  return killed;
}

function checkLoad(run: LabRun, killed: number, exchanges: readonly Exchange[]): void {
  const { check, topology, requests = REQUESTS } = run;
  const expected = Math.ceil(requests / CLIENTS.length) * CLIENTS.length;
  const failed = exchanges.filter(({ error }) => error !== undefined);
  const wrong = exchanges.filter(({ error, sha256, path }) => error === undefined && sha256 !== hashOf(path));
  check(checkEqual('load: every request has ended', exchanges.length, expected));
  check(checkEqual('load: responses with a wrong byte', wrong.length, 0));
  check({
    name: `load: no more failed than had a connection when ${KILLED} was killed`,
    // One on each connection that a client had kept.
    ok: failed.length <= AT_ONCE * CLIENTS.length,
    detail: `${failed.length} failed: ${[...new Set(failed.map(({ error }) => error))].join(', ') || '-'}`,
  });
  const dead = topology.nodeName(KILLED);
  const after = exchanges.filter(({ began }) => began > killed);
  const posthumous = after.filter((exchange) => answererOf(exchange) === dead).length;
  check(checkEqual(`load: answered by ${KILLED} after its end`, posthumous, 0));
  check({
    name: `load: requests after the end of ${KILLED} are answered by the others`,
    ok: after.length > 0 && after.some((exchange) => answererOf(exchange) === topology.nodeName('p3')),
    detail: `${after.length} requests`,
  });
  for (const node of NODES) {
    const { hits } = countsOf(topology.nodeName(node), exchanges);
    check({ name: `load: ${node} answered some`, ok: hits > 0, detail: `${hits} hits` });
  }
  check(checkOrigin(run, exchanges));
}

/** p3 sees all that goes to the origin and lives on, so each object is fetched once. */
function checkOrigin({ originEvents }: LabRun, exchanges: readonly Exchange[]): CheckResult {
  const paths = [...new Set(exchanges.map(({ path }) => path))];
  const counts = paths.map((path) => requestsOf(originEvents(), path).length);
  const most = Math.max(...counts);
  return {
    name: 'load: the origin served each object once, or again where its fetch broke off with the node',
    ok: most <= 2 && counts.reduce((sum, count) => sum + count, 0) <= paths.length + 2 * AT_ONCE,
    detail: `${paths.length} objects, at most ${most} times`,
  };
}

interface NodeFigures {
  readonly node: string;
  readonly requests: number;
  readonly hits: number;
  readonly hitRatio: number;
  readonly revalidations: number;
  readonly bytesFromNext: number;
  /** Bytes that went to those before it and did not come from the next hop. */
  readonly bytesSaved: number;
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

function figuresOf(
  { topology }: LabRun,
  captures: ReadonlyMap<string, LinkCapture>,
  exchanges: readonly Exchange[],
): NodeFigures[] {
  const source = topology.host('origin').address;
  return NODES.map((node) => {
    const counts = countsOf(topology.nodeName(node), exchanges);
    const { before, next } = NEIGHBOURS[node];
    const own = addressTowards(topology, node, next);
    const bytesFromNext = bytesFrom(captureOf(captures, `${node}-${next}`), source, own);
    const given = before.reduce(
      (sum, host) => sum + bytesFrom(captureOf(captures, `${host}-${node}`), source),
      0,
    );
    const through = bytesFrom(captureOf(captures, `${node}-${next}`), source);
    return {
      node,
      ...counts,
      hitRatio: counts.requests === 0 ? 0 : rounded(counts.hits / counts.requests),
      bytesFromNext,
      bytesSaved: given - through,
    };
  });
}

function tell(
  run: LabRun,
  captures: ReadonlyMap<string, LinkCapture>,
  killed: number,
  load: readonly Exchange[],
): void {
  const { table, figures, originEvents, check } = run;
  const nodes = figuresOf(run, captures, load);
  const delivered = load.reduce((sum, { bytes }) => sum + bytes, 0);
  const paths = [...new Set(load.map(({ path }) => path))];
  const served = (path: string): number => requestsOf(originEvents(), path).length * sizeOf(path);
  const fromOrigin = paths.reduce((sum, path) => sum + served(path), 0);
  const originSaved = rounded(1 - fromOrigin / delivered);
  table({
    head: ['node', 'requests', 'hits', 'hit ratio', 'revalidations', 'bytes from next hop', 'bytes saved'],
    rows: nodes.map(({ node, requests, hits, hitRatio, revalidations, bytesFromNext, bytesSaved }) =>
      [
        node,
        requests,
        hits,
        `${(PERCENT * hitRatio).toFixed(1)} %`,
        revalidations,
        bytesFromNext,
        bytesSaved,
      ].map(String),
    ),
  });
  check({
    name: 'load: the origin sent less than half of what the clients got',
    ok: originSaved > 0.5,
    detail: `${fromOrigin} of ${delivered} bytes`,
  });
  const failed = load.filter(({ error }) => error !== undefined).length;
  figures('load', { seed: SEED, requests: load.length, failed, delivered, fromOrigin, originSaved, nodes });
  run.plot(plotOf(run, killed, load));
}

function plotOf(
  { topology }: LabRun,
  killed: number,
  load: readonly Exchange[],
): Parameters<LabRun['plot']>[0] {
  const names = [...NODES.map((node) => topology.nodeName(node)), 'origin', 'nobody'];
  const labels = [...NODES, 'origin', 'failed'];
  const stretches = answeredOverTime(load, names, PARTS);
  const start = Math.min(...load.map(({ ended }) => ended));
  return {
    name: 'answered',
    title: 'Where requests were answered',
    subtitle: `${load.length} requests by Zipf's law, seed ${SEED}; ${KILLED} killed after ${((killed - start) / 1000).toFixed(2)} s`,
    x: 'seconds',
    y: 'answers in a stretch of time',
    lines: names.map((name, index) => ({
      name: labels[index] ?? name,
      points: stretches.map(({ seconds, counts }) => [seconds, counts.get(name) ?? 0] as const),
    })),
  };
}

/** Everything of the load, on a capture that is running. */
export async function loadChain(run: LabRun): Promise<void> {
  const { killed, exchanges } = await load(run);
  checkLoad(run, killed, exchanges);
  tell(run, await run.captured(), killed, exchanges);
}
