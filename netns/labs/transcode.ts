/**
 * Two nodes with a thin link between them:
 *
 * ```
 * c1 ─── p1 ─── m ═══ 2 Mbit/s ═══ p2 ─── origin
 * ```
 *
 * The same streams without transforms, with one node that has them, with two, and with two and a third between them that has
 * none (m, which only forwards before); then a large file that comes again with changes. Lines go there and back, too.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TpotError } from '../../core/errors.js';
import { builtFile } from '../../host/paths.js';
import type { CheckResult } from '../checks.js';
import { tpotNodeCommand } from '../host.js';
import type { Lab, LabRun } from '../lab.js';
import { drawBars } from '../bars.js';
import { readPcap } from '../pcap.js';
import { shapeLink } from '../shaping.js';
import { streamContent, type StreamKind } from '../stream-content.js';
import type { NodeSpec, TopologySpec } from '../spec.js';
import { waitFor } from '../wait.js';
import { wireStream, type WireStream } from '../wire-streams.js';
import { captureOf, chainRoutes, RELAY_RULES } from './common.js';
import { HOPS, statusOf } from './path.js';

const LINK = ['m', 'p2'] as const;
const LINK_NAME = 'm-p2';
const NODES = ['p1', 'p2'] as const;
const KILOBITS = 2000;
const DELAY_MS = 20;
const [PLAIN, TLS] = [7000, 7001];
const LENGTH = 512 * 1024;
const LARGE = 50 * 1024 * 1024;
const ECHOES = 101;
const ETHERNET_HEADER = 14;

interface Traffic {
  readonly id: string;
  readonly title: string;
  readonly kind: StreamKind;
  readonly port: number;
}

const TRAFFIC: readonly Traffic[] = [
  { id: 'text', title: 'text', kind: 'text', port: PLAIN },
  { id: 'tls', title: 'text in TLS', kind: 'text', port: TLS },
  { id: 'gzip', title: 'compressed content', kind: 'gzip', port: PLAIN },
];

/** Which of the two nodes have transforms. */
interface Setting {
  readonly id: string;
  readonly title: string;
  readonly first: boolean;
  readonly second: boolean;
  /** A node without transforms runs in m. */
  readonly middle?: boolean;
}

const NONE: Setting = { id: 'none', title: 'neither node', first: false, second: false };
const PAIR: Setting = { id: 'pair', title: 'both nodes', first: true, second: true };
const MIDDLE: Setting = {
  ...PAIR,
  id: 'middle',
  title: 'both nodes, and one between them without',
  middle: true,
};
const SETTINGS: readonly Setting[] = [
  NONE,
  { id: 'first', title: 'the first node only', first: true, second: false },
  { id: 'second', title: 'the second node only', first: false, second: true },
  PAIR,
  MIDDLE,
];

function nodeSpec(host: string, on: boolean): NodeSpec {
  return {
    host,
    config: { rules: RELAY_RULES, ...(on ? { transforms: { streams: ['dedup', 'zstd'] } } : {}) },
  };
}

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'p1', role: 'node' },
    { name: 'm', role: 'node' },
    { name: 'p2', role: 'node' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    { between: ['c1', 'p1'], offload: false },
    { between: ['p1', 'm'], offload: false },
    { between: LINK, offload: false },
    { between: ['p2', 'origin'], offload: false, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
  ],
  routes: chainRoutes(['p1', 'm', 'p2', 'origin'], { c1: 'p1' }),
  nodes: [nodeSpec('p1', false), nodeSpec('p2', false)],
};

/** One stream as the client and the thin link saw it. */
interface Sample {
  readonly milliseconds: number;
  readonly whole: boolean;
  /** IP packets of both directions, in bytes. */
  readonly wireBytes: number;
  readonly stream: WireStream;
}

async function child<T>({ topology }: LabRun, ...args: string[]): Promise<T> {
  const [node, launcher] = tpotNodeCommand;
  const shim = [launcher, 'run', '--hops', String(HOPS), '--'];
  const command = [node, builtFile('netns', 'stream-child.js'), ...args];
  const said = await topology.host('c1').run(node, [...shim, ...command], { timeoutMs: CHILD_TIMEOUT_MS });
  if (said.code !== 0) throw new TpotError('command-failed', said.stderr.trim());
  return JSON.parse(said.stdout) as T;
}

/** Bounds what hangs; an emulated processor takes minutes for the large file. */
const CHILD_TIMEOUT_MS = 900_000;

interface Got {
  readonly milliseconds: number;
  readonly bytes: number;
  readonly sha256: string;
}

async function get(
  run: LabRun,
  port: number,
  kind: StreamKind,
  length: number,
  edition = 0,
): Promise<Got & { whole: boolean }> {
  const origin = run.topology.host('origin').address;
  const got = await child<Got>(run, 'get', origin, String(port), kind, String(length), String(edition));
  const sha256 = createHash('sha256')
    .update(streamContent(kind, length, edition))
    .digest('hex');
  return { ...got, whole: got.sha256 === sha256 };
}

async function measured(
  run: LabRun,
  prefix: string,
  port: number,
  fetch: () => Promise<Got & { whole: boolean }>,
): Promise<Sample> {
  await run.recapture(prefix);
  const { milliseconds, whole } = await fetch();
  const { file, packets } = captureOf(await run.captured(), LINK_NAME);
  const wireBytes = readPcap(readFileSync(file)).packets.reduce(
    (sum, { bytes }) => sum + bytes.length - ETHERNET_HEADER,
    0,
  );
  return {
    milliseconds,
    whole,
    wireBytes,
    stream: wireStream(packets, run.topology.host('origin').address, port),
  };
}

async function restart({ topology }: LabRun, { first, second, middle }: Setting): Promise<void> {
  await Promise.all(NODES.map((host) => topology.node(host).stop()));
  await Promise.all([
    topology.startNode(nodeSpec('p1', first)),
    topology.startNode(nodeSpec('p2', second)),
    ...(middle === true ? [topology.startNode(nodeSpec('m', false))] : []),
  ]);
}

type Samples = ReadonlyMap<string, ReadonlyMap<string, Sample>>;

const sampleOf = (samples: Samples, setting: Setting, traffic: string): Sample => {
  const sample = samples.get(setting.id)?.get(traffic);
  if (sample === undefined) throw new TpotError('capture-missing', `no sample of ${traffic}, ${setting.id}`);
  return sample;
};

async function measureAll(run: LabRun): Promise<{ samples: Samples; echoes: Map<string, number> }> {
  const samples = new Map<string, ReadonlyMap<string, Sample>>();
  const echoes = new Map<string, number>();
  for (const setting of SETTINGS) {
    await restart(run, setting);
    const own = new Map<string, Sample>();
    for (const { id, kind, port } of TRAFFIC) {
      own.set(id, await measured(run, `${setting.id}-${id}`, port, () => get(run, port, kind, LENGTH)));
    }
    samples.set(setting.id, own);
    const { medianMs } = await child<{ medianMs: number }>(
      run,
      'echo',
      run.topology.host('origin').address,
      String(ECHOES),
    );
    echoes.set(setting.id, medianMs);
    const told = TRAFFIC.map(({ id, title }) => `${title} ${own.get(id)?.milliseconds ?? 0} ms`).join(', ');
    run.step(`${setting.title}: ${told}, echo ${medianMs.toFixed(2)} ms`);
  }
  return { samples, echoes };
}

const ratio = (a: number, b: number): string => (a / b).toFixed(3);

/** Without a second node that can, the link carries what it would have carried, and nobody waits for anybody. */
function checkUntouched(samples: Samples, setting: Setting): CheckResult[] {
  return TRAFFIC.filter(({ port }) => port === PLAIN).flatMap(({ id, title }) => {
    const [plain, own] = [sampleOf(samples, NONE, id).stream, sampleOf(samples, setting, id).stream];
    const same = own.sent.sha256 === plain.sent.sha256 && own.received.sha256 === plain.received.sha256;
    return [
      {
        name: `${setting.title}: the streams of ${title} on the thin link are those without transforms`,
        ok: same && own.received.bytes > 0,
        detail: `${own.sent.bytes} bytes out, ${own.received.bytes} back`,
      },
      {
        name: `${setting.title}: no round trip more for ${title}`,
        ok: own.turns <= plain.turns && own.handshakes <= plain.handshakes,
        detail: `${own.handshakes} packets of handshakes, ${own.turns} changes of who sends`,
      },
    ];
  });
}

function checkSamples({ check }: LabRun, samples: Samples, echoes: ReadonlyMap<string, number>): void {
  for (const setting of SETTINGS) {
    const whole = TRAFFIC.every(({ id }) => sampleOf(samples, setting, id).whole);
    check({
      name: `${setting.title}: every stream arrives, by SHA-256`,
      ok: whole,
      detail: `${TRAFFIC.length} streams`,
    });
    if (setting.first !== setting.second) check(checkUntouched(samples, setting));
  }
  const before = sampleOf(samples, NONE, 'text');
  for (const setting of [PAIR, MIDDLE]) {
    const after = sampleOf(samples, setting, 'text');
    check({
      name: `${setting.title}: text is at least three times faster`,
      ok: before.milliseconds >= 3 * after.milliseconds,
      detail: `${before.milliseconds} ms, then ${after.milliseconds} ms; ${before.wireBytes} and ${after.wireBytes} bytes`,
    });
  }
  for (const { id, title } of TRAFFIC.slice(1)) {
    const [raw, own] = [sampleOf(samples, NONE, id), sampleOf(samples, PAIR, id)];
    check({
      name: `both nodes: ${title} takes no more than 2 % more of the link`,
      ok: own.wireBytes <= 1.02 * raw.wireBytes,
      detail: `${ratio(own.wireBytes, raw.wireBytes)} of the bytes, ${ratio(own.milliseconds, raw.milliseconds)} of the time`,
    });
  }
  const [alone = 0, pair = Infinity] = [echoes.get(NONE.id), echoes.get(PAIR.id)];
  check({
    name: 'both nodes: an echo takes at most 2 ms more at the median',
    ok: pair <= alone + 2,
    detail: `${alone.toFixed(2)} ms, then ${pair.toFixed(2)} ms`,
  });
}

/** A node that has just been busy for long offers nothing for a moment. */
async function offering({ topology }: LabRun): Promise<void> {
  for (const host of NODES) {
    const offers = async (): Promise<boolean> => !(await statusOf(topology, host)).transforms.saturated;
    await waitFor(offers, { what: `${host} to offer transforms` });
  }
}

/** SYNs that ask for transforms went by m, which has none, so that the leg between the other two is one. */
async function checkMiddle({ topology, check }: LabRun): Promise<void> {
  const { counters } = await statusOf(topology, 'm');
  const passed = counters['pass-transforms'] ?? 0;
  check({
    name: 'the node between them let those who ask for transforms pass',
    ok: passed >= TRAFFIC.length && (counters['taken'] ?? 0) === 0,
    detail: `${passed} SYNs`,
  });
}

/** A large file, once over a fast link so that both stores have it, and its next edition over the thin one. */
async function comesAgain(run: LabRun, thin: () => Promise<unknown>): Promise<void> {
  await shapeLink(run.topology, LINK, undefined);
  const first = await get(run, PLAIN, 'random', LARGE);
  await thin();
  await offering(run);
  const again = await measured(run, 'again', PLAIN, () => get(run, PLAIN, 'random', LARGE, 1));
  const share = (100 * again.wireBytes) / LARGE;
  run.step(
    `50 MiB, and again with 1 % changed: ${again.milliseconds} ms, ${again.wireBytes} bytes on the thin link`,
  );
  run.check([
    {
      name: 'both editions of the large file arrive, by SHA-256',
      ok: first.whole && again.whole,
      detail: `${LARGE} bytes each`,
    },
    {
      name: 'the second edition crosses in less than 5 % of its size',
      ok: share < 5,
      detail: `${share.toFixed(2)} %`,
    },
  ]);
}

function show({ topology, table, step }: LabRun, samples: Samples): void {
  const rows = SETTINGS.flatMap((setting) =>
    TRAFFIC.map(({ id, title }) => {
      const { milliseconds, wireBytes } = sampleOf(samples, setting, id);
      return [setting.title, title, `${milliseconds} ms`, String(wireBytes)];
    }),
  );
  table({ head: ['transforms', 'traffic', 'time', 'bytes on the thin link'], rows });
  const plot = join(topology.directory, 'transcode.svg');
  const bars = (quantity: (sample: Sample) => number): { name: string; values: number[] }[] =>
    [NONE, PAIR].map((setting) => ({
      name: setting.title,
      values: TRAFFIC.map(({ id }) => quantity(sampleOf(samples, setting, id))),
    }));
  const names = TRAFFIC.map(({ title }) => title);
  writeFileSync(
    plot,
    drawBars(`${LENGTH / 1024} KiB over ${KILOBITS / 1000} Mbit/s, without transforms and with them`, [
      { title: 'time in seconds', names, series: bars(({ milliseconds }) => milliseconds / 1000) },
      { title: 'KiB on the thin link', names, series: bars(({ wireBytes }) => wireBytes / 1024) },
    ]),
  );
  step(`drawn: ${plot}`);
}

async function run(run: LabRun): Promise<void> {
  const { topology, step } = run;
  await run.captured(); // each sample has its own
  const streams = topology
    .host('origin')
    .spawn(process.execPath, [builtFile('netns', 'stream-child.js'), 'serve'], { label: 'streams' });
  await streams.output(/^ready/m);
  const thin = (): Promise<boolean> => shapeLink(topology, LINK, { kilobits: KILOBITS, delayMs: DELAY_MS });
  const delayed = await thin();
  step(
    `the thin link: ${KILOBITS} kbit/s, ${delayed ? `${DELAY_MS} ms each way` : 'no delay, since the kernel has no netem'}`,
  );
  const { samples, echoes } = await measureAll(run);
  show(run, samples);
  checkSamples(run, samples, echoes);
  await checkMiddle(run);
  await comesAgain(run, thin);
}

export const transcode: Lab = {
  name: 'transcode',
  summary: 'a thin link between two nodes: streams with transforms at neither end, at one, at both',
  spec,
  run,
};
