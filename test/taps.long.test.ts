/** Large responses over real namespaces that pass in the kernel, and are stored from a copy; what goes wrong on the way. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import type { Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import {
  CACHE_AND_RELAY,
  closeAll,
  fixture,
  ORIGIN,
  standChain,
  type Chain,
  type ChainOptions,
} from './chain.js';

const PORT = 8080;
const URL = `http://${ORIGIN}:${PORT}`;
const SIZE = 6_000_000;
const LARGE = 80_000_000;
/** More than twice what the ring of copies holds: the half of it that passes while nobody looks does not fit. */
const OVERFLOWING = 160_000_000;
const TAPPING = { cache: { tapAbove: '1MiB', memory: '1GiB' } };

afterEach(closeAll);

interface Stand {
  readonly chain: Chain;
  readonly origin: Program;
  readonly counter: (code: string) => Promise<number>;
  readonly entries: () => Promise<number>;
}

async function stand(options: ChainOptions = {}): Promise<Stand> {
  const chain = await standChain({ nodes: { p1: TAPPING }, ...options });
  const command = [fixture('streams-origin.mjs'), String(PORT)];
  const origin = chain.host('origin').spawn(process.execPath, command, { label: 'streams' });
  await origin.output(/^ready$/m);
  return {
    chain,
    origin,
    counter: (code) => chain.counter('p1', code),
    entries: async () => Number((await chain.status('p1')).cache['entries']),
  };
}

/** Lets the second half of what waits go; straight from P2, past the node. */
const open = (chain: Chain): Promise<string> => chain.host('p2').must('curl', ['-sSf', `${URL}/open`]);

/** The SHA-256 of what a client gets, and in its error output what the node said of where it found it. */
function fetchHash(chain: Chain, path: string): Program {
  const script = `curl -sSf -w '%{stderr}%header{cache-status}\\n' '${URL}${path}' | sha256sum`;
  return chain.spawn('c1', ['sh', '-c', script], { label: 'fetch' });
}

async function hashIn(program: Program): Promise<string> {
  const [, hash = ''] = await program.output(/^([0-9a-f]{64})/m, { timeoutMs: 120_000 });
  return hash;
}

/** How often the origin was asked. */
const requestsFor = ({ origin }: Stand, path: string): number =>
  origin.stdout().split(`request ${path} `).length - 1;

async function until({ counter }: Stand, code: string, count: number): Promise<void> {
  await waitFor(async () => (await counter(code)) === count, { what: `${count} ${code}`, timeoutMs: 90_000 });
}

/** A client whose response has left in the middle. */
async function tapped(standing: Stand, path: string): Promise<Program> {
  const before = await standing.counter('tapped');
  const program = fetchHash(standing.chain, path);
  await until(standing, 'tapped', before + 1);
  return program;
}

/** Fetches once more: right, and from where. */
async function expectNext(standing: Stand, path: string, length: number, from: RegExp): Promise<void> {
  const next = fetchHash(standing.chain, path);
  await waitFor(async () => (await open(standing.chain)) !== '' && /^[0-9a-f]{64}/m.test(next.stdout()), {
    what: 'the next transfer',
    timeoutMs: 60_000,
  });
  expect(await hashIn(next)).toBe(contentHash(path, length));
  await waitFor(() => from.test(next.stderr()), { what: `${String(from)} in ${next.stderr()}` });
}

const HIT = /^p1-\w+; hit/m;
const MISS = /^p1-\w+; fwd=uri-miss/m;

describe('a response that is stored', () => {
  test.each([
    ['with a length', 'length', {}],
    ['in chunks', 'chunked', {}],
    ['over IPv4 with losses', 'length', { loss: 1 }],
    ['in segments as on a wire', 'chunked', { offload: false }],
  ])('leaves in the middle of its body, and the next one is a hit: %s', async (_, kind, options) => {
    const standing = await stand(options);
    const path = `/${kind}/${SIZE}?stored`;
    const first = await tapped(standing, path);
    await open(standing.chain);
    expect(await hashIn(first)).toBe(contentHash(path, SIZE));
    await until(standing, 'tap-complete', 1);
    await expectNext(standing, path, SIZE, HIT);
    expect(await standing.counter('tap-lost')).toBe(0);
    expect(await standing.counter('tap-bytes')).toBeGreaterThan(SIZE / 3);
  });

  test('is on the disk, too, and there after a kill', async () => {
    const path = mkdtempSync(join(tmpdir(), 'tpot-taps-'));
    try {
      const config = { cache: { ...TAPPING.cache, disk: { path, size: '256MiB' } } };
      const standing = await stand({ nodes: { p1: config } });
      const { chain } = standing;
      const file = `/length/${SIZE}?stored`;
      const first = await tapped(standing, file);
      await open(chain);
      expect(await hashIn(first)).toBe(contentHash(file, SIZE));
      await until(standing, 'tap-complete', 1);
      const onDisk = async (): Promise<unknown> =>
        ((await chain.status('p1')).cache['disk'] as { entries: number }).entries;
      await waitFor(async () => (await onDisk()) === 1, {
        what: 'the response on the disk',
        timeoutMs: 60_000,
      });
      await chain.net.node('p1').stop('SIGKILL');
      await chain.net.startNode({ host: 'p1', config: { rules: CACHE_AND_RELAY, ...config } });
      await expectNext(standing, file, SIZE, HIT);
      expect(requestsFor(standing, file)).toBe(1);
    } finally {
      await closeAll();
      rmSync(path, { recursive: true });
    }
  });

  test('that never pauses is right, whether it leaves, is stored, or neither', async () => {
    const standing = await stand();
    for (const kind of ['whole', 'flow']) {
      const path = `/${kind}/${LARGE}?stored`;
      expect(await hashIn(fetchHash(standing.chain, path))).toBe(contentHash(path, LARGE));
      expect(await hashIn(fetchHash(standing.chain, path))).toBe(contentHash(path, LARGE));
    }
  });
});

/** Responses that pass as fast as they go, of which the process has to keep up with every byte. */
const FAST = { times: Number(process.env['TAP_TIMES'] ?? 10), length: 192 * 2 ** 20 };

test('at full speed a response is stored or given up, and right either way', async () => {
  const standing = await stand({ nodes: { p1: { cache: { tapAbove: '1MiB', memory: '2GiB' } } } });
  const { chain, counter } = standing;
  const told: string[] = [];
  for (let round = 1; round <= FAST.times; round++) {
    const path = `/length/${FAST.length}?stored=${round}`;
    const [before, complete] = [await counter('tapped'), await counter('tap-complete')];
    const command = ['curl', '-sSf', '-o', '/dev/null', '-w', 'end %{size_download}\\n', `${URL}${path}`];
    const program = chain.spawn('c1', command, { label: 'fast' });
    await until(standing, 'tapped', before + 1);
    const started = performance.now();
    await open(chain);
    const [, size] = await program.output(/^end (\d+)/m, { timeoutMs: 120_000 });
    expect(Number(size)).toBe(FAST.length);
    const gigabits = ((FAST.length / 2) * 8e-6) / (performance.now() - started);
    const over = async (): Promise<number> =>
      (await counter('tap-complete')) + (await counter('tap-abandoned'));
    await waitFor(async () => (await over()) === round, { what: 'the end of the copy', timeoutMs: 90_000 });
    const stored = (await counter('tap-complete')) > complete;
    told.push(`${gigabits.toFixed(1)} Gbit/s ${stored ? 'stored' : 'given up'}`);
    if (stored) await expectNext(standing, path, FAST.length, HIT);
  }
  const why =
    chain.net
      .node('p1')
      .stderr()
      .match(/event=tap-abandoned.*/g) ?? [];
  process.stdout.write(`at full speed: ${told.join(', ')}\n${why.join('\n')}\n`);
});

describe('nothing is stored, and the transfer is right', () => {
  test('when copies are lost', async () => {
    const cache = { ...TAPPING.cache, memory: '2GiB' }; // one response takes an eighth of it at most
    const standing = await stand({ nodes: { p1: { cache } } });
    const { chain } = standing;
    const path = `/length/${OVERFLOWING}?stored`;
    const first = await tapped(standing, path);
    const entries = await standing.entries();
    const node = chain.net.node('p1');
    // While the process stands still, nobody takes the copies.
    process.kill(node.identity?.pid ?? 0, 'SIGSTOP');
    try {
      await open(chain);
      expect(await hashIn(first)).toBe(contentHash(path, OVERFLOWING));
    } finally {
      process.kill(node.identity?.pid ?? 0, 'SIGCONT');
    }
    await until(standing, 'tap-abandoned', 1);
    expect(await standing.counter('tap-lost')).toBe(1);
    expect(await standing.entries()).toBe(entries);
    await expectNext(standing, path, OVERFLOWING, MISS);
  });

  test('when the node is killed, and another one takes its place', async () => {
    const standing = await stand();
    const { chain } = standing;
    const path = `/length/${LARGE}?stored`;
    const first = await tapped(standing, path);
    await chain.net.node('p1').stop('SIGKILL');
    await open(chain);
    expect(await hashIn(first)).toBe(contentHash(path, LARGE));
    await chain.net.startNode({ host: 'p1', config: TAPPING });
    await expectNext(standing, path, LARGE, MISS);
  });

  test('when the client breaks off', async () => {
    const standing = await stand();
    const { chain } = standing;
    const url = `${URL}/length/${SIZE}?stored`;
    const program = chain.spawn('c1', ['curl', '-sSf', '-o', '/dev/null', url], { label: 'broken' });
    await until(standing, 'tapped', 1);
    await program.stop();
    await open(chain);
    await until(standing, 'tap-abandoned', 1);
    expect(await standing.entries()).toBe(0);
  });
});
