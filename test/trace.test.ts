/** `tpot-node trace`: every node of a path by its number, and nothing but SYNs beyond the one that answers. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { tpotNodeCommand } from '../netns/host.js';
import { linkBetween, type LinkSpec, type TopologySpec } from '../netns/spec.js';
import type { Topology } from '../netns/topology.js';
import type { Trace } from '../client-shim/trace.js';
import { askNode } from '../node/admin-client.js';
import type { NodeStats } from '../node/node.js';
import { CAPABILITY } from '../tpot/option.js';
import { closeAll, stand, startOrigin } from './chain.js';
import { segmentsOf, synAcksFrom, synsTo } from './packets.js';

const ORIGIN = '192.0.2.80';
const ORIGIN_V6 = '2001:db8:5::1';
const LINE = ['c1', 'p1', 'r', 'p2', 'p3', 'origin'] as const;
const RELAY = { rules: [{ action: 'relay' }] };

/** c1 ── p1 ── r ── p2 ── p3 ── origin; r is a router without a node. */
function lineSpec(nodes: readonly string[]): TopologySpec {
  const pairs = LINE.slice(1).map((host, index) => [LINE[index] ?? '', host] as const);
  const links = pairs.map((between): LinkSpec => {
    const addresses = between[1] === 'origin' ? { addresses: ['192.0.2.1/24', `${ORIGIN}/24`] as const } : {};
    return { between, v6: true, ...addresses };
  });
  const forward = pairs.flatMap(([host, via]) => ['default', '::/0'].map((to) => ({ host, via, to })));
  // Link N is 198.18.N.0/24 and 2001:db8:N::/64; those before the link towards the client lead back.
  const back = LINE.flatMap((host, at) =>
    Array.from({ length: Math.max(0, at - 1) }, (_, index) => index + 1).flatMap((net) =>
      [`198.18.${net}.0/24`, `2001:db8:${net}::/64`].map((to) => ({ host, via: LINE[at - 1] ?? '', to })),
    ),
  );
  const role = (name: string) =>
    name === 'c1' ? 'client' : name === 'origin' ? 'origin' : name === 'r' ? 'router' : 'node';
  return {
    hosts: LINE.map((name) => ({ name, role: role(name) })),
    links,
    routes: [...forward, ...back],
    nodes: nodes.map((host) => ({ host, config: { ...RELAY, address: addressesOf[host] ?? [] } })),
  };
}

/** Both addresses of a node, on its link towards the client. */
const addressesOf: Readonly<Record<string, readonly [string, string]>> = {
  p1: ['198.18.1.1', '2001:db8:1::1'],
  p2: ['198.18.3.1', '2001:db8:3::1'],
  p3: ['198.18.4.1', '2001:db8:4::1'],
};
const addresses = (family: 4 | 6, ...nodes: string[]): (string | undefined)[] =>
  nodes.map((node) => addressesOf[node]?.[family === 4 ? 0 : 1]);

interface Traced extends Trace {
  readonly code: number | undefined;
  readonly destination: string;
}

async function traced(net: Topology, ...args: string[]): Promise<Traced> {
  const [program, launcher] = tpotNodeCommand;
  const { code, stdout, stderr } = await net.host('c1').run(program, [launcher, 'trace', '--json', ...args]);
  if (stdout === '') throw new Error(stderr);
  return { code, ...(JSON.parse(stdout) as Trace & { destination: string }) };
}

describe('three nodes and a router', () => {
  let net: Topology;
  beforeAll(async () => {
    net = await stand(lineSpec(['p1', 'p2', 'p3']));
    await Promise.all([startOrigin(net), net.startNodes()]);
  });
  afterAll(closeAll);

  test('are named in their order, and the destination ends the list', async () => {
    const found = await traced(net, ORIGIN);
    expect(found).toMatchObject({ code: 0, destination: `${ORIGIN}:80`, end: 'destination', complete: true });
    expect(found.hops.map(({ address }) => address)).toEqual(addresses(4, 'p1', 'p2', 'p3'));
    expect(found.hops.map(({ hop }) => hop)).toEqual([1, 2, 3]);
    for (const { milliseconds, capabilities } of found.hops) {
      expect(milliseconds).toBeGreaterThan(0);
      expect(capabilities).toEqual(['trace']);
    }
    expect(found.milliseconds).toBeGreaterThan(0);
  });

  test('over IPv6, where a reply has no room for capabilities', async () => {
    const found = await traced(net, `[${ORIGIN_V6}]:80`);
    expect(found).toMatchObject({ code: 0, destination: `[${ORIGIN_V6}]:80`, end: 'destination' });
    expect(found.hops.map(({ address }) => address)).toEqual(addresses(6, 'p1', 'p2', 'p3'));
    expect(found.hops.map(({ capabilities }) => capabilities)).toEqual([null, null, null]);
  });

  test('--max ends the list early, and the status says that it is not complete', async () => {
    const found = await traced(net, ORIGIN, '--max', '2');
    expect(found).toMatchObject({ code: 1, end: 'max', complete: false });
    expect(found.hops.map(({ address }) => address)).toEqual(addresses(4, 'p1', 'p2'));
  });

  test('a port on which nobody listens', async () => {
    const found = await traced(net, `${ORIGIN}:81`);
    expect(found).toMatchObject({ code: 0, end: 'refused', complete: true });
    expect(found.hops).toHaveLength(3);
  });

  test('for people: a table, and how it ended', async () => {
    const [program, launcher] = tpotNodeCommand;
    const said = await net.host('c1').must(program, [launcher, 'trace', ORIGIN]);
    expect(said).toMatch(/^HOP +NODE +ROUND TRIP +CAPABILITIES\n +1 +198\.18\.1\.1 +\d+\.\d+ ms +trace\n/);
    expect(said).toMatch(/\n192\.0\.2\.80:80 \(\d+\.\d+ ms\): the destination answered itself: .*\n$/);
  });

  test('on the links: one SYN a probe, hops counted down by one, the same ports, no next leg, no stray segment', async () => {
    const capture = await startCapture(net);
    const before = await stats(net);
    await traced(net, ORIGIN);
    const links = await capture.stop();
    const client = linkBetween(net.links, 'c1', 'p1').own.address;
    const hopsOn = (link: string): (number | undefined)[] => {
      const syns = synsTo(links.get(link), ORIGIN);
      expect(new Set(syns.map(({ from, sourcePort }) => `${from} ${sourcePort}`)).size).toBe(1);
      expect(syns[0]?.from).toBe(client);
      expect(syns.every(({ request }) => request?.capabilities === CAPABILITY.trace)).toBe(true);
      return syns.map(({ request }) => request?.hops);
    };
    expect(hopsOn('c1-p1')).toEqual([1, 2, 3, 4]);
    expect(hopsOn('p1-r')).toEqual([1, 2, 3]);
    expect(hopsOn('r-p2')).toEqual([1, 2, 3]);
    expect(hopsOn('p2-p3')).toEqual([1, 2]);
    expect(hopsOn('p3-origin')).toEqual([1]);
    // The destination's connection was plain from its first to its last segment, and ended with our reset.
    const last = segmentsOf(links.get('p3-origin')).filter(({ from, syn }) => from === client && !syn);
    expect(last.some(({ rst }) => rst)).toBe(true);
    expect(last.every(({ outer }) => outer === undefined)).toBe(true);
    expect(synAcksFrom(links.get('c1-p1'), ORIGIN)).toHaveLength(4);
    for (const [index, now] of (await stats(net)).entries()) {
      expect((now.counters['taken'] ?? 0) - (before[index]?.counters['taken'] ?? 0)).toBe(1);
      const reasons = Object.keys(now.connections.byReason);
      expect(reasons.filter((reason) => reason !== 'taken' && reason !== 'trace')).toEqual([]);
    }
  });
});

function stats(net: Topology): Promise<NodeStats[]> {
  return Promise.all(
    ['p1', 'p2', 'p3'].map((host) => askNode(net.nodeName(host), '/stats') as Promise<NodeStats>),
  );
}

// Each waits for answers that never come: side by side.
describe.concurrent('nodes that do not take the connection do not count', () => {
  afterAll(closeAll);

  test('one that runs no more, and one whose policy passes', async () => {
    const spec = lineSpec(['p1', 'p2', 'p3']);
    const pass = { rules: [{ action: 'pass' }], address: addressesOf['p2'] ?? [] };
    const nodes = (spec.nodes ?? []).map((node) => (node.host === 'p2' ? { ...node, config: pass } : node));
    const net = await stand({ ...spec, nodes });
    await Promise.all([startOrigin(net), net.startNodes()]);
    const named = async (): Promise<string[]> =>
      (await traced(net, ORIGIN)).hops.map(({ address }) => address);
    expect(await named()).toEqual(addresses(4, 'p1', 'p3'));
    await net.node('p1').stop();
    expect(await named()).toEqual(addresses(4, 'p3'));
    await net.node('p3').stop('SIGKILL');
    expect(await traced(net, ORIGIN)).toMatchObject({ code: 0, hops: [], end: 'destination' });
  });

  test('a path that drops the option: said, and no node is named', async () => {
    const net = await stand(lineSpec(['p2']));
    await Promise.all([startOrigin(net), net.startNodes()]);
    const rules =
      'table ip t { chain c { type filter hook forward priority 0; tcp option 253 exists drop; }; }';
    await net.host('p1').must('nft', [rules]);
    expect(await traced(net, ORIGIN)).toMatchObject({ code: 1, hops: [], end: 'request-lost' });
  });

  test('a destination without an answer', async () => {
    const net = await stand(lineSpec(['p1']));
    await net.startNodes();
    const rules = 'table ip t { chain c { type filter hook input priority 0; tcp dport 80 drop; }; }';
    await net.host('origin').must('nft', [rules]);
    const found = await traced(net, ORIGIN);
    expect(found).toMatchObject({ code: 1, end: 'no-answer', milliseconds: null });
    expect(found.hops).toHaveLength(1);
  });
});
