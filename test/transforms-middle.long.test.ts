/** Which legs are transformed where a node that caches stands between two that only relay. */
import { afterEach, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { chainRoutes } from '../netns/labs/common.js';
import type { NodeSpec } from '../netns/spec.js';
import { waitFor } from '../netns/wait.js';
import { CACHE_AND_RELAY, Chain, closeAll, ORIGIN, stand, startOrigin } from './chain.js';

afterEach(closeAll);

const MIB = 1024 * 1024;
const STREAMS = { transforms: { streams: ['dedup', 'zstd'] } };
const RELAY = { rules: [{ action: 'relay' }] };

/**
 * ```
 *   c1 ─┐
 *       p1 ── pc ── p2 ── origin
 *   c2 ─┘
 * ```
 *
 * P1 and P2 relay everything, with transforms; PC caches HTTP.
 */
async function standThree(pc: NodeSpec['config']): Promise<Chain> {
  const line = ['p1', 'pc', 'p2', 'origin'];
  const net = await stand({
    hosts: [
      { name: 'c1', role: 'client' },
      { name: 'c2', role: 'client' },
      ...['p1', 'pc', 'p2'].map((name) => ({ name, role: 'node' as const })),
      { name: 'origin', role: 'origin' },
    ],
    links: [
      { between: ['c1', 'p1'] },
      { between: ['c2', 'p1'] },
      { between: ['p1', 'pc'] },
      { between: ['pc', 'p2'] },
      { between: ['p2', 'origin'], addresses: ['192.0.2.1/24', `${ORIGIN}/24`] },
    ],
    routes: chainRoutes(line, { c1: 'p1', c2: 'p1' }),
    nodes: [
      { host: 'p1', config: { ...RELAY, ...STREAMS } },
      { host: 'pc', config: { rules: CACHE_AND_RELAY, ...pc } },
      { host: 'p2', config: { ...RELAY, ...STREAMS } },
    ],
  });
  const [origin] = await Promise.all([startOrigin(net), net.startNodes()]);
  return new Chain(net, origin);
}

/** `NODE direction OTHER`, for every leg that a node has or had transformed. */
async function pairsOf(chain: Chain): Promise<string[]> {
  const names = ['p1', 'pc', 'p2'];
  const nameOf = (address: string): string =>
    names.find((name) => chain.host(name).address === address) ?? address;
  const pairs = await Promise.all(
    names.map(async (name) => {
      const { pairs: of } = (await chain.stats(name)).transforms;
      return of.filter(({ direction }) => direction === 'to').map(({ node }) => `${name} to ${nameOf(node)}`);
    }),
  );
  return pairs.flat();
}

/** Bytes that a node has received from the next one, before and after its transforms. */
async function received(chain: Chain, node: string): Promise<{ plain: number; wire: number }> {
  const { pairs } = (await chain.stats(node)).transforms;
  const pair = pairs.find(({ direction }) => direction === 'to');
  return { plain: pair?.plainReceived ?? 0, wire: pair?.wireReceived ?? 0 };
}

const path = `/bytes/${4 * MIB}`;
async function fetchFrom(chain: Chain, client: string): Promise<void> {
  const script = `curl -sSf http://${ORIGIN}${path} | sha256sum`;
  const sum = await chain.must(client, ['sh', '-c', script]);
  expect(sum.split(' ')[0]).toBe(contentHash(path, 4 * MIB));
}

test('both legs of a node that caches are transformed, each for itself, and a hit crosses one of them', async () => {
  const chain = await standThree(STREAMS);
  await fetchFrom(chain, 'c1');
  expect(await pairsOf(chain)).toEqual(['p1 to pc', 'pc to p2']);
  for (const node of ['p1', 'pc']) {
    const { plain, wire } = await received(chain, node);
    expect(plain).toBeGreaterThan(4 * MIB);
    expect(wire).toBeLessThan(plain / 4);
  }
  const [first, behind] = [await received(chain, 'p1'), await received(chain, 'pc')];
  await fetchFrom(chain, 'c2');
  expect(await chain.requests(path)).toHaveLength(1);
  // A client that is slow to speak has a leg opened for it; nothing but our hello crosses that.
  expect((await received(chain, 'pc')).plain).toBe(behind.plain);
  const again = await received(chain, 'p1');
  expect(again.plain - first.plain).toBeGreaterThan(4 * MIB);
  expect(again.wire - first.wire).toBeLessThan(MIB / 8);
});

test('a node that caches without transforms has neither leg transformed, and is no part of other streams', async () => {
  const chain = await standThree({});
  await fetchFrom(chain, 'c1');
  expect(await pairsOf(chain)).toEqual([]);
  expect((await chain.status('pc')).counters['pass-transforms']).toBeUndefined();
  await fetchFrom(chain, 'c2');
  expect(await chain.requests(path)).toHaveLength(1);
  // What it would only relay passes by it: the two others share one leg.
  const bulk = `echo GET ${MIB} | busybox nc ${ORIGIN} 9000 | sha256sum`;
  const sum = await chain.must('c1', ['sh', '-c', bulk]);
  expect(sum.split(' ')[0]).toBe(contentHash(`bulk ${MIB}`, MIB));
  await waitFor(async () => ((await chain.stats('p1')).transforms.open === 0 ? true : undefined), {
    what: 'the transformed leg to end',
  });
  expect(await pairsOf(chain)).toEqual(['p1 to p2']);
  expect((await chain.status('pc')).counters['pass-transforms']).toBe(1);
});
