/**
 * Paths on which IP in IP does not pass: tunnels go on in UDP, by themselves. More families, offloads and ways to be
 * stopped are in udp-tunnel.long.test.ts; where UDP does not pass either, in tunnel-path.test.ts.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  ADDRESSES,
  expectBulk,
  FETCHED,
  fetchFrom,
  grownSince,
  kindsOf,
  ORIGIN_V6,
  SILENTLY,
  standPath,
  stopTunnels,
  under,
  WITH_ICMP,
} from './blocked-path.js';
import { type Chain, closeAll, fixture, ORIGIN } from './chain.js';

let chain: Chain;

beforeAll(async () => {
  const rules = [
    { match: { dport: [80] }, action: 'cache' },
    { match: { dport: [22] }, action: 'splice' },
  ];
  const config = { rules: [...rules, { action: 'relay' }] };
  chain = await standPath({ nodes: { p1: config, p2: config } });
});
afterAll(closeAll);

test.each([
  ['dropped in silence', 'IPv4', SILENTLY, ORIGIN],
  ['refused with ICMP', 'IPv6', WITH_ICMP, ORIGIN_V6],
])(
  'IP in IP is %s, %s: the tunnel goes on in UDP, and further ones begin there',
  async (_, __, how, origin) => {
    await stopTunnels(chain.net, 'r1', how);
    const before = (await chain.status('p1')).counters;
    const { lines, link } = await under(chain, [fetchFrom(origin), fetchFrom(origin)]);
    expect(lines).toEqual([FETCHED, FETCHED]);
    expect(kindsOf(link)).toEqual([
      { ip: true, udp: true },
      { ip: false, udp: true },
    ]);
    const grown = await grownSince(chain, 'p1', before);
    expect(grown).toMatchObject({ taken: 2, established: 2 });
    expect(grown['decap-udp-ok']).toBeGreaterThan(4);
    expect(Object.keys(grown)).not.toContain('decap-ok');
    expect(Object.keys(grown)).not.toContain('taken-reply-stripped');
  },
);

const DUPLEX = { connections: 40, bytes: 100_000, concurrent: 10, pauseMs: 4 };

async function duplex(): Promise<unknown> {
  const args = [ORIGIN, '22', ...Object.values(DUPLEX).map(String)];
  const program = chain.spawn('c1', [process.execPath, fixture('duplex.mjs'), ...args], { label: 'duplex' });
  return JSON.parse((await program.output(/^\{.*\}$/m, { timeoutMs: 60_000 }))[0]);
}

const ALL_RIGHT = { right: DUPLEX.connections, wrong: 0, failed: 0, errors: {} };
const reasons = async (node: string): Promise<Readonly<Record<string, number>>> =>
  (await chain.stats(node)).connections.byReason;

test('a tunnel in UDP and one by IP in IP are not joined, and all bytes are right', async () => {
  expect(await duplex()).toMatchObject(ALL_RIGHT);
  const { 'relayed-tunnels': judged = 0, spliced = 0 } = await reasons('p1');
  expect(judged).toBeGreaterThan(0); // the others ended before it was their turn
  expect(spliced).toBe(0);
});

test('tunnels in UDP on both legs are joined, and all bytes are right', async () => {
  await stopTunnels(chain.net, 'r2', WITH_ICMP);
  const before = { p1: (await chain.status('p1')).counters, p2: (await chain.status('p2')).counters };
  const refused = (await reasons('p1'))['relayed-tunnels'];
  const spliced = async (node: string): Promise<number> => (await reasons(node))['spliced'] ?? 0;
  const fewest = async (): Promise<number> => Math.min(await spliced('p1'), await spliced('p2'));
  // How many find an idle instant before they end depends on the machine.
  for (let round = 0; round < 5 && (await fewest()) <= DUPLEX.connections / 4; round++) {
    expect(await duplex()).toMatchObject(ALL_RIGHT);
  }
  expect(await fewest()).toBeGreaterThan(DUPLEX.connections / 4);
  for (const node of ['p1', 'p2'] as const) {
    const grown = await grownSince(chain, node, before[node]);
    expect(grown['splice-forwarded']).toBeGreaterThan(100);
    expect(Object.keys(grown).filter((code) => /^drop-splice-(?!hold)|failed$/.test(code))).toEqual([]);
  }
  expect((await reasons('p1'))['relayed-tunnels']).toBe(refused); // no more than before
});

test.each([
  ['IPv4', ORIGIN],
  ['IPv6', ORIGIN_V6],
])('bulk data in UDP on both legs, %s: every byte arrives, up and down', async (_, origin) => {
  await stopTunnels(chain.net, 'r2', WITH_ICMP);
  await expectBulk(chain, origin, 16);
  expect((await reasons('p1'))['tunnelled-udp']).toBeGreaterThan(2);
});

test('`status` names the nodes that are reached in UDP', async () => {
  const { udpNodes, kernel } = await chain.status('p1');
  expect(udpNodes.map(({ node }) => node).sort()).toEqual([...ADDRESSES.p2]);
  expect(kernel['udpPort']).toBe(6080);
});
