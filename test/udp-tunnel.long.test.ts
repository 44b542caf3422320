/** As udp-tunnel.test.ts: every way to be stopped, both families, offloads on and off, nodes that take no UDP. */
import { afterEach, describe, expect, test } from 'vitest';
import {
  expectBulk,
  FETCHED,
  fetchFrom,
  kindsOf,
  ORIGIN_V6,
  SILENTLY,
  standPath,
  stopTunnels,
  under,
  WITH_ICMP,
} from './blocked-path.js';
import { closeAll, ORIGIN } from './chain.js';

afterEach(closeAll);

const FAMILIES = [
  ['IPv4', ORIGIN],
  ['IPv6', ORIGIN_V6],
] as const;
const WAYS = [
  ['in silence', SILENTLY],
  ['with ICMP', WITH_ICMP],
] as const;

describe.each(FAMILIES)('%s', (_, origin) => {
  test.each(WAYS)('IP in IP is stopped %s: in UDP', async (__, how) => {
    const chain = await standPath({ nodes: { p1: {} } });
    await stopTunnels(chain.net, 'r1', how);
    const { lines, link } = await under(chain, [fetchFrom(origin), fetchFrom(origin)]);
    expect(lines).toEqual([FETCHED, FETCHED]);
    expect(kindsOf(link)).toEqual([
      { ip: true, udp: true },
      { ip: false, udp: true },
    ]);
  });

  test.each(WAYS)('UDP is stopped as well, %s: plain, through the node', async (__, how) => {
    const chain = await standPath({ nodes: { p1: {} } });
    await stopTunnels(chain.net, 'r1', how, { udp: true });
    const { lines, link } = await under(chain, [fetchFrom(origin)]);
    expect(lines).toEqual([FETCHED]);
    expect(kindsOf(link)).toEqual([{ ip: true, udp: true }]);
    expect((await chain.status('p1')).counters).toMatchObject({ taken: 1, 'taken-reply-stripped': 1 });
  });

  test.each([
    ['on', true],
    ['off', false],
  ])('bulk data in UDP on both legs, offloads %s', async (__, offload) => {
    const chain = await standPath({ offload });
    for (const router of ['r1', 'r2'] as const) await stopTunnels(chain.net, router, WITH_ICMP);
    await expectBulk(chain, origin, offload ? 256 : 32);
  });
});

test('a node that takes no UDP says so over IPv4, and its kernel does over IPv6', async () => {
  const chain = await standPath({ nodes: { p1: { udpEncapsulation: false } } });
  await stopTunnels(chain.net, 'r1', SILENTLY);
  const { lines, link } = await under(chain, [fetchFrom(ORIGIN), fetchFrom(ORIGIN_V6)]);
  expect(lines).toEqual([FETCHED, FETCHED]);
  expect(kindsOf(link)).toEqual([
    { ip: true, udp: false },
    { ip: true, udp: true },
  ]);
  const { counters, kernel } = await chain.status('p1');
  expect(counters).toMatchObject({ 'taken-reply-stripped': 2 });
  expect(kernel['udpPort']).toBe('none');
});
