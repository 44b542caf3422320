/** Where no node answers the connection is plain TCP: no error, no second SYN, nothing in a tunnel. */
import { afterEach, expect, test } from 'vitest';
import { startCapture, type LinkCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand } from '../netns/host.js';
import { type Chain, closeAll, HOPS, ORIGIN, standChain, type ShimOptions } from './chain.js';
import { segmentsOf, synAcksFrom, synsTo, tunnelled } from './packets.js';

const PATH = '/bytes/200003';
const CLIENT = '198.18.1.2';

afterEach(closeAll);

/** One curl of c1, its body checked, and what crossed the links meanwhile. */
async function fetched(chain: Chain, options: ShimOptions = {}): Promise<ReadonlyMap<string, LinkCapture>> {
  const capture = await startCapture(chain.net, { links: ['c1-p1', 'p1-p2', 'p2-origin'] });
  const sum = await chain.must(
    'c1',
    ['sh', '-c', `curl -sSf -m 20 http://${ORIGIN}${PATH} | sha256sum`],
    options,
  );
  expect(sum.split(' ')[0]).toBe(contentHash(PATH, 200_003));
  return capture.stop();
}

/** The connection was c1's own from end to end, and its first SYN was enough. */
function expectPlain(links: ReadonlyMap<string, LinkCapture>, hops: number | undefined): void {
  for (const link of ['c1-p1', 'p1-p2', 'p2-origin']) {
    const capture = links.get(link);
    const syns = synsTo(capture, ORIGIN);
    expect(syns.map(({ from, request }) => ({ from, hops: request?.hops }))).toEqual([
      { from: CLIENT, hops },
    ]);
    expect(synAcksFrom(capture, ORIGIN).map(({ to, reply }) => ({ to, reply }))).toEqual([
      { to: CLIENT, reply: undefined },
    ]);
    expect(tunnelled(capture)).toEqual([]);
    expect(segmentsOf(capture).filter(({ rst }) => rst)).toEqual([]);
  }
}

test('no node on the path', async () => {
  const chain = await standChain({ nodes: {} });
  expectPlain(await fetched(chain), HOPS);
});

test('a node that was stopped takes nothing, and the next node on the path does', async () => {
  const chain = await standChain();
  const { exited } = chain.net.node('p1');
  await chain
    .host('p1')
    .must(process.execPath, [tpotNodeCommand[1], 'down', '--name', chain.net.nodeName('p1')]);
  expect(await exited).toEqual({ code: 0, signal: undefined });
  const links = await fetched(chain);
  // P1 only forwards now: request, reply and tunnel of P2 pass it unchanged.
  for (const link of ['c1-p1', 'p1-p2']) {
    expect(synsTo(links.get(link), ORIGIN).map(({ request }) => request?.hops)).toEqual([HOPS]);
    expect(tunnelled(links.get(link)).map(({ outer }) => outer)).toContainEqual({
      from: CLIENT,
      to: chain.host('p2').address,
    });
  }
  expect(tunnelled(links.get('p2-origin'))).toEqual([]);
  expect(await chain.counter('p2', 'taken')).toBe(1);
});

test('all nodes stopped', async () => {
  const chain = await standChain();
  await Promise.all(['p1', 'p2'].map((node) => chain.net.node(node).stop()));
  expectPlain(await fetched(chain), HOPS);
});

test('all nodes killed: what they left in the kernel takes nothing', async () => {
  const chain = await standChain();
  await Promise.all(['p1', 'p2'].map((node) => chain.net.node(node).stop('SIGKILL')));
  expectPlain(await fetched(chain), HOPS);
});

test('hops 0: no request, and nobody takes the connection', async () => {
  const chain = await standChain();
  expectPlain(await fetched(chain, { hops: 0 }), undefined);
  expect(await chain.counter('p1', 'taken')).toBe(0);
});

test('hops 1: the first node takes the connection and asks nobody', async () => {
  const chain = await standChain();
  const links = await fetched(chain, { hops: 1 });
  expect(await chain.counter('p1', 'taken')).toBe(1);
  expect(await chain.counter('p2', 'taken')).toBe(0);
  expect(tunnelled(links.get('c1-p1')).length).toBeGreaterThan(2);
  expect(synsTo(links.get('p1-p2'), ORIGIN).map(({ request }) => request)).toEqual([undefined]);
  expect((await chain.stats('p1')).connections.byReason['plain-no-request']).toBe(1);
});

test('--trust: the reply of a node outside is dropped, and the next SYN is plain', async () => {
  const chain = await standChain({ nodes: { p1: {} } });
  const links = await fetched(chain, { trust: ['198.18.200.0/24'] });
  const client = links.get('c1-p1');
  const [first, ...later] = synsTo(client, ORIGIN);
  expect(first?.request?.hops).toBe(HOPS);
  expect(later.length).toBeGreaterThanOrEqual(1);
  expect(later.map(({ request }) => request)).toEqual(later.map(() => undefined));
  expect(new Set([first, ...later].map((syn) => syn?.sourcePort)).size).toBe(1);
  expect(synAcksFrom(client, ORIGIN).some(({ reply }) => reply !== undefined)).toBe(true);
  expect(tunnelled(client)).toEqual([]);
  expect(
    segmentsOf(links.get('p2-origin')).some(({ from, payload }) => from === CLIENT && payload !== ''),
  ).toBe(true);
  expect((await chain.requests(PATH)).map(({ peer, via }) => ({ peer, via }))).toEqual([
    { peer: CLIENT, via: undefined },
  ]);
});

test('--trust: a node inside is believed', async () => {
  const chain = await standChain({ nodes: { p1: {} } });
  const links = await fetched(chain, { trust: ['198.18.1.0/24'] });
  expect(synsTo(links.get('c1-p1'), ORIGIN)).toHaveLength(1);
  expect(tunnelled(links.get('c1-p1')).length).toBeGreaterThan(2);
});

test("a node's own `trust` limits whom it believes: counted, and its leg is plain and right", async () => {
  const chain = await standChain({ nodes: { p1: { trust: ['198.18.200.0/24'] }, p2: {} } });
  const links = await fetched(chain);
  expect(await chain.counter('p1', 'drop-reply-untrusted')).toBeGreaterThanOrEqual(1);
  expect((await chain.stats('p1')).connections.byReason['plain-untrusted']).toBe(1);
  expect(tunnelled(links.get('c1-p1')).length).toBeGreaterThan(2);
  expect(tunnelled(links.get('p1-p2'))).toEqual([]);
});

test('a plain client behind an edge node is taken, and goes on by tunnel', async () => {
  const chain = await standChain({ nodes: { p1: { edge: true }, p2: {} } });
  const capture = await startCapture(chain.net, { links: ['c1-p1', 'p1-p2'] });
  const fetch = ['sh', '-c', `curl -sSf -m 20 http://${ORIGIN}${PATH} | sha256sum`];
  for (const client of ['c1', 'c2']) {
    expect((await chain.host(client).must(fetch[0] ?? '', fetch.slice(1))).split(' ')[0]).toBe(
      contentHash(PATH, 200_003),
    );
  }
  const links = await capture.stop();
  expect(
    segmentsOf(links.get('c1-p1')).filter(({ request, reply, outer }) => request ?? reply ?? outer),
  ).toEqual([]);
  expect(synsTo(links.get('p1-p2'), ORIGIN).map(({ request }) => request?.hops)).toEqual([HOPS]);
  expect(tunnelled(links.get('p1-p2')).length).toBeGreaterThan(2);
  expect(await chain.requests(PATH)).toHaveLength(1); // the second client's answer came from P1's cache
  const { counters } = await chain.status('p1');
  expect(counters).toMatchObject({ 'taken-edge': 2 });
  expect(counters['taken'] ?? 0).toBe(0);
});

test('without `edge` the same plain client passes', async () => {
  const chain = await standChain({ nodes: { p1: {} } });
  await chain.host('c1').must('curl', ['-sSf', '-o', '/dev/null', `http://${ORIGIN}${PATH}`]);
  const { counters } = await chain.status('p1');
  expect([counters['taken-edge'] ?? 0, counters['taken'] ?? 0]).toEqual([0, 0]);
  expect((await chain.requests(PATH)).map(({ peer }) => peer)).toEqual([CLIENT]);
});
