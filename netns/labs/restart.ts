/**
 * A node that ends: stopped in order, killed, started again, gone for good. New connections are plain from that instant
 * on; what happens to those under way depends on where their bytes go: through the process, or past it in the kernel.
 * Beside each download with TPOT one without it is under way on the same path, and each new connection has its like.
 */
import { statSync } from 'node:fs';
import { checkEqual, type CheckResult } from '../checks.js';
import { contentHash } from '../content.js';
import { startFetch, type FetchResult, type RunningFetch } from '../fetch.js';
import { tpotNodeCommand } from '../host.js';
import type { Lab, LabRun } from '../lab.js';
import { waitFor } from '../wait.js';
import { allWhole, attempt, beyond, type Attempt } from '../cases.js';
import { RELAY_RULES } from './common.js';
import { HOPS, pathSpec, statusOf, urlTo } from './path.js';

const SIZE = 2 * 1024 * 1024;
const PATH = `/gated/${SIZE}`;
/** A little less than what comes before the gate: curl may hold back what does not fill a buffer. */
const HALF = SIZE / 2 - 65_536;
const SMALL = 65_536;
const SMALL_PATH = `/bytes/${SMALL}`;
const SPLICE_RULES = [{ action: 'splice' }];
/** Longer than a download is kept waiting, on any machine; a node ends as soon as it has arrived. */
const DRAIN = '10m';
const DOWNLOAD_TIMEOUT_MS = 300_000;

/** How often the node fails in a row. */
const FAILURES = 3;

type End = 'down' | 'kill';

interface Case {
  readonly id: string;
  readonly title: string;
  readonly rules: readonly unknown[];
  readonly end: End;
  /** Whether the download that is under way when the node ends arrives. */
  readonly survives: boolean;
  readonly outcome: string;
  readonly against?: string;
}

const CASES: readonly Case[] = [
  {
    id: 'down-relayed',
    title: '`down` while a download is relayed',
    rules: RELAY_RULES,
    end: 'down',
    survives: true,
    outcome: 'the node ends when the download has',
  },
  {
    id: 'down-spliced',
    title: '`down` while a download is spliced',
    rules: SPLICE_RULES,
    end: 'down',
    survives: true,
    outcome: 'the download goes on without the node',
  },
  {
    id: 'kill-relayed',
    title: '`kill -9` while a download is relayed',
    rules: RELAY_RULES,
    end: 'kill',
    survives: false,
    outcome: 'the download is reset at once, as by any proxy that dies',
    against: 'the last row but one',
  },
  {
    id: 'kill-spliced',
    title: '`kill -9` while a download is spliced',
    rules: SPLICE_RULES,
    end: 'kill',
    survives: true,
    outcome: 'the download goes on without the node',
    against: 'the last row but one',
  },
];

const nodeSpec = (rules: readonly unknown[]): { host: string; config: Record<string, unknown> } => ({
  host: 'p1',
  config: { address: ['198.18.2.1', '2001:db8:2::1'], rules, drainTimeout: DRAIN },
});

/** A download that has come half-way, without TPOT if `hops` is undefined. */
async function started({ topology }: LabRun, hops: number | undefined): Promise<RunningFetch> {
  const running = startFetch(topology, topology.host('c1'), urlTo(4, PATH), {
    hops,
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
  });
  const received = (): boolean => (statSync(running.bodyFile, { throwIfNoEntry: false })?.size ?? 0) >= HALF;
  await waitFor(received, { what: 'half of a download' });
  return running;
}

/** The same through the node, and spliced where that is what the rules say. */
async function halfWay(run: LabRun, spliced: boolean): Promise<RunningFetch> {
  const { topology } = run;
  const running = await started(run, HOPS);
  if (spliced) {
    const [node, launcher] = tpotNodeCommand;
    const args = [launcher, 'conns', '--name', topology.nodeName('p1'), '--json'];
    await waitFor(async () => (await topology.host('p1').must(node, args)).includes('"spliced"'), {
      what: 'the download to be spliced',
    });
  }
  return running;
}

async function endNode({ topology }: LabRun, end: End): Promise<void> {
  const node = topology.node('p1');
  if (end === 'kill') {
    await node.stop('SIGKILL');
    return;
  }
  node.signal('SIGTERM');
  const stopsTaking = (): boolean => node.stderr().includes('draining');
  await node.while(stopsTaking, { what: 'the node to drain' });
}

const openGate = ({ topology }: LabRun): Promise<unknown> =>
  topology.host('origin').must('curl', ['-sS', 'http://127.0.0.1/gate/open']);

function judge(one: Case, result: FetchResult): CheckResult {
  const whole = isWhole(result);
  const detail = whole ? `${result.bytes} bytes` : `${result.complaint} after ${result.bytes} bytes`;
  if (one.survives) return { name: `${one.title}: the download arrives whole`, ok: whole, detail };
  return {
    name: `${one.title}: the download ends with an error, not in silence`,
    ok: result.exit === 56,
    detail,
  };
}

const small = ({ topology }: LabRun, hops: number | undefined = HOPS): Promise<Attempt[]> =>
  attempt(topology, topology.host('c1'), urlTo(4, SMALL_PATH), { hops });

const isWhole = ({ exit, sha256 }: FetchResult): boolean => exit === 0 && sha256 === contentHash(PATH, SIZE);

async function runCase(run: LabRun, one: Case): Promise<void> {
  const { topology, check, step, outcome } = run;
  const hash = contentHash(SMALL_PATH, SMALL);
  await topology.startNode(nodeSpec(one.rules));
  const without = await started(run, undefined);
  const running = await halfWay(run, one.rules === SPLICE_RULES);
  await endNode(run, one.end);
  const unasked = await small(run, undefined);
  const plain = await small(run);
  // What was reset is reset now; what goes on waits at the gate.
  if (!one.survives) await running.result;
  await openGate(run);
  const [result, beside] = [await running.result, await without.result];
  await topology.node('p1').exited;
  await topology.startNode(nodeSpec(one.rules));
  const again = await small(run);
  const { counters } = await statusOf(topology, 'p1');
  step(`${one.title}: download ${result.exit === 0 ? 'whole' : result.complaint}; a new connection at once`);
  check(judge(one, result));
  const arrived = isWhole(beside);
  check({
    name: `${one.title}: a download without TPOT arrives whole`,
    ok: arrived,
    detail: arrived ? `${beside.bytes} bytes` : `${beside.complaint} after ${beside.bytes} bytes`,
  });
  check(allWhole(`${one.title}: a new connection is served at once`, plain, hash));
  check(allWhole(`${one.title}: one after the restart is served`, again, hash));
  check(
    checkEqual(
      `${one.title}: by the node, which adopts and takes again`,
      counters['taken'] !== undefined ? 'taken' : 'passed',
      'taken',
    ),
  );
  await topology.node('p1').stop();
  outcome({
    id: `restart/${one.id}`,
    title: one.title,
    without: arrived ? 'not affected' : 'the download ends',
    with: one.outcome,
    ...(one.against === undefined ? {} : { against: one.against }),
    fallbackMs: beyond(plain[0], unasked[0]),
    laterMs: beyond(again[0], unasked[0]),
  });
}

/** Killed for good, under a stream of connections: nobody waits, nobody fails. */
async function goneForGood(run: LabRun): Promise<void> {
  const { topology, check, step, outcome } = run;
  const hash = contentHash(SMALL_PATH, SMALL);
  await topology.startNode(nodeSpec(RELAY_RULES));
  await topology.node('p1').stop('SIGKILL');
  const options = { hops: HOPS, count: 10 };
  const attempts = await attempt(topology, topology.host('c1'), urlTo(4, SMALL_PATH), options);
  const plain = await attempt(topology, topology.host('c1'), urlTo(4, SMALL_PATH), {
    ...options,
    hops: undefined,
  });
  const slowest = Math.max(...attempts.map(({ milliseconds }) => milliseconds));
  step(`the node is killed for good: ten connections, the slowest in ${slowest} ms`);
  check(allWhole('killed for good: every new connection is served', attempts, hash));
  check(allWhole('killed for good: as is every one without TPOT', plain, hash));
  const worst = (all: readonly Attempt[]): number => Math.max(...all.map(({ milliseconds }) => milliseconds));
  outcome({
    id: 'restart/gone',
    title: 'the node is killed and stays dead: new connections',
    without: 'not affected',
    with: 'plain at once',
    against: 'connections are as without TPOT',
    fallbackMs: Math.max(0, worst(attempts) - worst(plain)),
  });
}

/** Somebody can make the process fail, and does so again whenever it is back: what has been spliced, and what is new. */
async function againAndAgain(run: LabRun): Promise<void> {
  const { topology, check, step, outcome } = run;
  const spec = nodeSpec(SPLICE_RULES);
  await topology.startNode(spec);
  const without = await started(run, undefined);
  const running = await halfWay(run, true);
  const fetched: Attempt[] = [];
  for (let round = 1; round <= FAILURES; round++) {
    await topology.node('p1').stop('SIGKILL');
    fetched.push(...(await small(run)));
    await topology.startNode(spec);
    fetched.push(...(await small(run)));
  }
  await openGate(run);
  const [result, beside] = [await running.result, await without.result];
  await topology.node('p1').stop();
  const title = `\`kill -9\` and a start, ${FAILURES} times, while a download is spliced`;
  step(`${title}: download ${result.exit === 0 ? 'whole' : result.complaint}`);
  check({
    name: `${title}: the download arrives whole`,
    ok: isWhole(result),
    detail: `${result.bytes} bytes`,
  });
  check({
    name: `${title}: as does one without TPOT`,
    ok: isWhole(beside),
    detail: `${beside.bytes} bytes`,
  });
  check(allWhole(`${title}: every new connection is served`, fetched, contentHash(SMALL_PATH, SMALL)));
  outcome({
    id: 'restart/again',
    title,
    without: 'not affected',
    with: 'the download goes on, and new connections are served, with the node and without',
    against: 'who can make the process fail resets what it relays, each time, and nothing else',
  });
}

async function run(run: LabRun): Promise<void> {
  await run.captured(); // what counts here is what arrives
  await run.topology.node('p1').stop();
  for (const one of CASES) await runCase(run, one);
  await againAndAgain(run);
  await goneForGood(run);
}

export const restart: Lab = {
  name: 'restart',
  summary: 'a node that is stopped, killed and started again while downloads are under way',
  spec: pathSpec({ offload: true }),
  run,
};
