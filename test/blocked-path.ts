/**
 * A chain with a router in front of each node, where a tunnel can be stopped on its way:
 *
 * ```
 *   c1 ── r1 ── p1 ── r2 ── p2 ── origin
 * ```
 */
import { expect } from 'vitest';
import { startCapture, type LinkCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import type { NodeSpec, RouteSpec } from '../netns/spec.js';
import type { Topology } from '../netns/topology.js';
import { Chain, CACHE_AND_RELAY, fixture, ORIGIN, stand, startOrigin } from './chain.js';
import { segmentsOf, tunnelled } from './packets.js';

export const ADDRESSES = {
  p1: ['198.18.2.1', '2001:db8:2::1'],
  p2: ['198.18.4.1', '2001:db8:4::1'],
} as const;
export const ORIGIN_V6 = '2001:db8:5::1';

const HOSTS = ['c1', 'r1', 'p1', 'r2', 'p2', 'origin'] as const;
const ROLES = { c1: 'client', r1: 'router', p1: 'node', r2: 'router', p2: 'node', origin: 'origin' } as const;

export interface PathOptions {
  /** Configuration of the nodes that run, beside their addresses; default: both. */
  readonly nodes?: Partial<Record<'p1' | 'p2', NodeSpec['config']>>;
  readonly offload?: boolean;
}

function routes(): RouteSpec[] {
  const all = ['default', '::/0'];
  const onward = HOSTS.slice(0, -1).flatMap((host, index) =>
    all.map((to) => ({ host, to, via: HOSTS[index + 1] ?? '' })),
  );
  // Towards each link before a host. One prefix for all would hold the links behind it too.
  const back = HOSTS.slice(2, -1).flatMap((host, index) =>
    Array.from({ length: index + 1 }, (_, link) => [`198.18.${link + 1}.0/24`, `2001:db8:${link + 1}::/64`])
      .flat()
      .map((to) => ({ host, to, via: HOSTS[index + 1] ?? '' })),
  );
  return [...onward, ...back, ...all.map((to) => ({ host: 'origin', to, via: 'p2' }))];
}

/** Stands the chain up, with IPv4 and IPv6. */
export async function standPath({
  nodes = { p1: {}, p2: {} },
  offload = true,
}: PathOptions = {}): Promise<Chain> {
  const net = await stand({
    hosts: HOSTS.map((name) => ({ name, role: ROLES[name] })),
    links: HOSTS.slice(0, -1).map((host, index) => ({
      between: [host, HOSTS[index + 1] ?? ''],
      v6: true,
      offload,
      ...(host === 'p2' ? { addresses: ['192.0.2.1/24', `${ORIGIN}/24`] } : {}),
    })),
    routes: routes(),
    nodes: (['p1', 'p2'] as const).flatMap((host) => {
      const config = nodes[host];
      if (config === undefined) return [];
      return [{ host, config: { address: [...ADDRESSES[host]], rules: CACHE_AND_RELAY, ...config } }];
    }),
  });
  const [origin] = await Promise.all([startOrigin(net), net.startNodes()]);
  return new Chain(net, origin);
}

export const SILENTLY = 'drop';
export const WITH_ICMP = 'reject with icmpx admin-prohibited';

/** From now on `router` stops IP in IP; with `udp`, also tunnels in UDP. Replaces what was said before. */
export async function stopTunnels(
  net: Topology,
  router: 'r1' | 'r2',
  how: string,
  { udp = false }: { readonly udp?: boolean } = {},
): Promise<void> {
  const matches = ['ip protocol 4', 'ip6 nexthdr 41', ...(udp ? ['udp dport 6080'] : [])];
  const rules = matches.map((match) => `${match} ${how}`).join('\n');
  const input = `table inet stopped\ndelete table inet stopped\ntable inet stopped { chain forward { type filter hook forward priority 0;\n${rules}\n}\n}\n`;
  await net.host(router).must('nft', ['-f', '-'], { input });
}

const PATH = '/bytes/300007';
export const FETCHED = contentHash(PATH, 300_007);

/** For a shell: fetches from the origin, and prints {@link FETCHED}. */
export const fetchFrom = (host: string): string =>
  `curl -gsSf --max-time 60 http://${host.includes(':') ? `[${host}]` : host}${PATH} | sha256sum | cut -d " " -f 1`;

export const shell = (...scripts: readonly string[]): string[] => [
  'bash',
  '-c',
  `set -o pipefail; ${scripts.join(' && ')}`,
];

/** Runs commands under one shim, one after the other; their output, and what crossed the client's link. */
export async function under(
  chain: Chain,
  scripts: readonly string[],
  hops = 1,
): Promise<{ lines: string[]; link: LinkCapture | undefined }> {
  const capture = await startCapture(chain.net, { links: ['c1-r1'] });
  const output = await chain.must('c1', shell(...scripts), { hops });
  return { lines: output.trim().split('\n'), link: (await capture.stop()).get('c1-r1') };
}

/** Which kinds of tunnel packet each connection of the client sent, in order. */
export function kindsOf(link: LinkCapture | undefined): { ip: boolean; udp: boolean }[] {
  const sent = tunnelled(link);
  const syns = segmentsOf(link).filter(({ syn, ack }) => syn && !ack);
  return [...new Set(syns.map(({ sourcePort }) => sourcePort))].map((port) => {
    const own = sent.filter(({ sourcePort }) => sourcePort === port);
    return { ip: own.some(({ udp }) => !udp), udp: own.some(({ udp }) => udp) };
  });
}

/** By how much counters of a node have grown since they were `before`. */
export async function grownSince(
  chain: Chain,
  node: string,
  before: Readonly<Record<string, number>>,
): Promise<Record<string, number>> {
  const { counters } = await chain.status(node);
  return Object.fromEntries(
    Object.entries(counters)
      .map(([code, count]): [string, number] => [code, count - (before[code] ?? 0)])
      .filter(([, grown]) => grown > 0),
  );
}

const MIB = 1024 * 1024;

/** Bulk data down and up, tunnelled by UDP on both legs; every byte arrives. */
export async function expectBulk(chain: Chain, origin: string, mebibytes: number): Promise<void> {
  const length = mebibytes * MIB;
  const before = { p1: (await chain.status('p1')).counters, p2: (await chain.status('p2')).counters };
  const down = `echo GET ${length} | busybox nc ${origin} 9000 | sha256sum`;
  const up = `${process.execPath} ${fixture('content.mjs')} up ${length} PUT | busybox nc ${origin} 9000`;
  const output = await chain.must('c1', shell(down, up), { timeoutMs: 60_000 });
  expect(output.split('\n')).toEqual([
    `${contentHash(`bulk ${length}`, length)}  -`,
    `${contentHash('up', length)} ${length}`,
    '',
  ]);
  for (const node of ['p1', 'p2'] as const) {
    const grown = await grownSince(chain, node, before[node]);
    expect(grown['decap-udp-ok']).toBeGreaterThan(100);
    expect(grown['decap-ok'] ?? 0).toBe(0);
  }
}
