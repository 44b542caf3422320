/** A line of hosts whose legs and links take segments of different size, and connections that are spliced in it. */
import { expect } from 'vitest';
import type { Program } from '../netns/host.js';
import type { TopologySpec } from '../netns/spec.js';
import { Chain, fixture, ORIGIN, stand, startOrigin } from './chain.js';

const LINE = ['c1', 'r0', 'p1', 'r1', 'r2', 'p2', 'r3', 'origin'] as const;
const ROLES = {
  c1: 'client',
  r0: 'router',
  p1: 'node',
  r1: 'router',
  r2: 'router',
  p2: 'node',
  r3: 'router',
  origin: 'origin',
} as const;
export const LINE_ORIGIN_V6 = '2001:db8:7::1';
const EVERYWHERE = ['default', '::/0'];

export interface Layout {
  /** Off: every segment is one packet of its own, with its checksum in it. */
  readonly offload: boolean;
  /** Whether P2 is the end of a tunnel; otherwise it is a router. */
  readonly tunnel: boolean;
}

/** Where the client's side of a host of the line is. */
function behind(at: number): string[] {
  return LINE.slice(1, at).flatMap((_, link) => [`198.18.${link + 1}.0/24`, `2001:db8:${link + 1}::/64`]);
}

/**
 * ```
 *   c1 ── r0 ── p1 (edge) ── r1 ── r2 ── p2 ── r3 ── origin
 * ```
 */
function spec({ offload, tunnel }: Layout): TopologySpec {
  const splice = { rules: [{ action: 'splice' }] };
  const address = (link: number): string[] => [`198.18.${link}.1`, `2001:db8:${link}::1`];
  const via = (
    host: string,
    at: number,
    to: readonly string[],
  ): { host: string; to: string; via: string }[] =>
    to.map((prefix) => ({ host, to: prefix, via: LINE[at] ?? '' }));
  return {
    hosts: LINE.map((name) => ({ name, role: ROLES[name] })),
    links: LINE.slice(1).map((name, at) => ({
      between: [LINE[at] ?? '', name],
      v6: true,
      offload,
      ...(name === 'origin' ? { addresses: ['192.0.2.1/24', `${ORIGIN}/24`] } : {}),
    })),
    routes: [
      ...LINE.slice(0, -1).flatMap((host, at) => via(host, at + 1, EVERYWHERE)),
      ...LINE.slice(2, -1).flatMap((host, at) => via(host, at + 1, behind(at + 2))),
      ...via('origin', LINE.length - 2, EVERYWHERE),
    ],
    nodes: [
      { host: 'p1', config: { ...splice, edge: true, address: address(2) } },
      ...(tunnel ? [{ host: 'p2', config: { ...splice, address: address(5) } }] : []),
    ],
  };
}

export async function standLine(layout: Layout): Promise<Chain> {
  const net = await stand(spec(layout));
  const [origin] = await Promise.all([startOrigin(net), net.startNodes()]);
  return new Chain(net, origin);
}

const CONNECTIONS = 4;
const WHOLE = { right: CONNECTIONS, wrong: 0, failed: 0, errors: {} };

const [PAUSE_MS, CHUNK, REST_MS, STAGGER_MS, HOLD] = [2, 9000, 0, 0, 1];

/**
 * Connections from a client without a shim to a server that echoes; every byte of what comes back is compared. Half of them
 * wait half-way for SIGHUP.
 */
function startDuplex(chain: Chain, destination: string): Program {
  const times = [PAUSE_MS, CHUNK, REST_MS, STAGGER_MS, HOLD];
  const args = [fixture('duplex.mjs'), destination, '22', CONNECTIONS, 2_000_000, CONNECTIONS, ...times];
  return chain.host('c1').spawn(process.execPath, args.map(String), { label: 'duplex' });
}

async function scoreOf(program: Program): Promise<unknown> {
  const [line] = await program.output(/^\{.*\}$/m, { timeoutMs: 110_000 });
  return JSON.parse(line) as unknown;
}

export async function splicedAt(chain: Chain, node: string): Promise<number> {
  return (await chain.stats(node)).connections.byReason['spliced'] ?? 0;
}

/** Runs {@link startDuplex} to its end, with something done when the first of its connections are spliced and others are still to be. */
export async function transfer(
  chain: Chain,
  destination: string,
  whenSpliced?: () => Promise<unknown>,
): Promise<void> {
  const program = startDuplex(chain, destination);
  await program.while(async () => (await splicedAt(chain, 'p1')) > 0, {
    what: 'a connection to be spliced',
    timeoutMs: 30_000,
  });
  await whenSpliced?.();
  program.signal('SIGHUP');
  expect(await scoreOf(program)).toMatchObject(WHOLE);
}

/** Sets the MTU of the link between two neighbours, at both ends. */
export async function narrow(
  chain: Chain,
  [from, to]: readonly [string, string],
  mtu: number,
): Promise<void> {
  const script = `ip -o route get "$1" | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | xargs -I{} ip link set {} mtu "$2"`;
  for (const [host, towards] of [
    [from, ORIGIN],
    [to, '198.18.1.2'],
  ] as const) {
    await chain.host(host).must('sh', ['-c', script, 'sh', towards, String(mtu)]);
  }
}

/** Lets a host receive no ICMP error about sizes. */
export async function deafen(chain: Chain, host: string): Promise<void> {
  const rules = `table inet deaf { chain input { type filter hook input priority 0;
    icmp type destination-unreachable drop
    icmpv6 type packet-too-big drop
    }
  }
`;
  await chain.host(host).must('nft', ['-f', '-'], { input: rules });
}
