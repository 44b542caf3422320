/**
 * Narrow links under tunnels in UDP: PPPoE (1492), the least of IPv6 (1280), and routers that drop what is too large without a
 * word. Bulk data both ways; ICMP errors about the UDP form become errors about the segment. Lab `mtu` shows the rest.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { ADDRESSES, expectBulk, ORIGIN_V6, standPath, stopTunnels, WITH_ICMP } from './blocked-path.js';
import { type Chain, closeAll, ORIGIN } from './chain.js';
import { LINE_ORIGIN_V6, narrow, standLine, transfer } from './line.js';
import { setMiddlebox, SYN, SYN_ACK } from '../netns/middlebox.js';

afterEach(closeAll);

const SILENT = ['icmp type destination-unreachable icmp code 4 drop', 'icmpv6 type packet-too-big drop'];

/** Both legs in UDP. */
async function standUdp(offload: boolean): Promise<Chain> {
  const rules = [{ action: 'relay' }];
  const chain = await standPath({ nodes: { p1: { rules }, p2: { rules } }, offload });
  for (const router of ['r1', 'r2'] as const) await stopTunnels(chain.net, router, WITH_ICMP);
  return chain;
}

/** And the link of each that has a router at its near end as narrow as that, which the node at the other end sees. */
async function standNarrow(mtu: number): Promise<Chain> {
  const chain = await standUdp(true);
  await narrow(chain, ['r1', 'p1'], mtu);
  await narrow(chain, ['r2', 'p2'], mtu);
  return chain;
}

/** What leads to the node carries no more than that, as a link further on would, whose ends advertise no segment size. */
async function narrowWay(chain: Chain, router: 'r1' | 'r2', node: 'p1' | 'p2', mtu: number): Promise<void> {
  for (const address of ADDRESSES[node]) {
    const device = `$(ip -o route get ${address} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')`;
    await chain.host(router).must('sh', ['-c', `ip route add ${address} dev ${device} mtu lock ${mtu}`]);
  }
}

/** No router says that a packet is too large, and each sets the MSS of what passes to what its narrow link carries. */
async function silence(chain: Chain, mtu: number): Promise<void> {
  for (const host of ['r1', 'r2', 'p1', 'p2']) await setMiddlebox(chain.net, host, SILENT, 'output');
  const clamps = [
    ['ipv4', mtu - 40],
    ['ipv6', mtu - 60],
  ].flatMap(([family, size]) =>
    [SYN, SYN_ACK].map(
      (flags) =>
        `meta nfproto ${family} ${flags} tcp option maxseg size > ${size} tcp option maxseg size set ${size}`,
    ),
  );
  for (const router of ['r1', 'r2']) await setMiddlebox(chain.net, router, clamps, 'forward');
}

const FAMILIES = [
  ['IPv4', ORIGIN],
  ['IPv6', ORIGIN_V6],
] as const;

describe.each(FAMILIES)('%s, tunnels in UDP on both legs: bulk data both ways', (family, origin) => {
  test.each([
    [1492, true],
    [1492, false],
    [1280, true],
    [1280, false],
  ])('through routers that let %i bytes pass and say so, offloads %s', async (mtu, offload) => {
    const chain = await standUdp(offload);
    await narrowWay(chain, 'r1', 'p1', mtu);
    await narrowWay(chain, 'r2', 'p2', mtu);
    await expectBulk(chain, origin, 8);
    // Over IPv6 segments in a tunnel fit 1280 bytes from the start (rule 9), so that nobody has to be told.
    const translated = await chain.counter('p1', 'icmp-translated');
    if (family === 'IPv4') expect(translated).toBeGreaterThan(0);
    else expect(translated).toBe(0);
  });

  test('through links of 1492 bytes whose routers are silent and set the MSS', async () => {
    const chain = await standNarrow(1492);
    await silence(chain, 1492);
    await expectBulk(chain, origin, 8);
    expect(await chain.counter('p1', 'icmp-translated')).toBe(0);
  });

  test('through links of 1280 bytes whose routers are silent, when the ends probe', async () => {
    const chain = await standNarrow(1280);
    for (const host of ['c1', 'p1', 'p2', 'origin']) {
      await chain.host(host).must('sysctl', ['-qw', 'net.ipv4.tcp_mtu_probing=1']);
    }
    for (const host of ['r1', 'r2', 'p1', 'p2']) await setMiddlebox(chain.net, host, SILENT, 'output');
    await expectBulk(chain, origin, 2);
  });
});

test.each([
  ['1280', 1280, ORIGIN, true],
  ['1280, segments alone', 1280, ORIGIN, false],
  ['576', 576, ORIGIN, true],
  ['1400, IPv6, an edge client', 1400, LINE_ORIGIN_V6, true],
  ['1400, IPv6, an edge client, segments alone', 1400, LINE_ORIGIN_V6, false],
])(
  'a link under a tunnel in UDP that becomes narrow carries spliced connections on: %s',
  async (_, mtu, destination, offload) => {
    const chain = await standLine({ offload, tunnel: true });
    await setMiddlebox(chain.net, 'r1', [
      'ip protocol 4 reject with icmpx admin-prohibited',
      'ip6 nexthdr 41 reject with icmpx admin-prohibited',
    ]);
    await transfer(chain, destination, () => narrow(chain, ['r1', 'r2'], mtu));
    const { counters } = await chain.status('p1');
    expect(counters).toMatchObject({ 'encap-udp-ok': expect.any(Number) as number });
    expect(counters['splice-told']).toBeGreaterThan(0);
  },
);
