/** Spliced connections whose legs take segments of different size, and paths that become narrow, in every combination. */
import { afterEach, expect, test } from 'vitest';
import { closeAll, ORIGIN } from './chain.js';
import { deafen, LINE_ORIGIN_V6, narrow, splicedAt, standLine, transfer } from './line.js';

afterEach(closeAll);

test.each([
  ['to be cut up later', ORIGIN, true],
  ['to be cut up later, IPv6', LINE_ORIGIN_V6, true],
  ['alone', ORIGIN, false],
  ['alone, IPv6', LINE_ORIGIN_V6, false],
])(
  'a plain leg into a tunnel: what is too large is made to fit, segments %s',
  async (_, destination, offload) => {
    const chain = await standLine({ offload, tunnel: true });
    await transfer(chain, destination);
    expect(await splicedAt(chain, 'p2')).toBeGreaterThan(0);
    const { 'splice-told': told = 0, 'splice-resized': resized = 0 } = (await chain.status('p1')).counters;
    expect(told + resized).toBeGreaterThan(0);
  },
);

test.each([
  ['IPv4', ORIGIN, false],
  ['IPv6', LINE_ORIGIN_V6, false],
  ['segments to be cut up later', ORIGIN, true],
])('a client that hears no ICMP has its segments cut up, %s', async (_, destination, offload) => {
  const chain = await standLine({ offload, tunnel: true });
  await deafen(chain, 'c1');
  await transfer(chain, destination);
  expect(await chain.counter('p1', 'splice-resized')).toBeGreaterThan(0);
});

test.each([
  ['1280 beyond the next node', 1280, ['r3', 'origin'], ORIGIN, true, true],
  ['1280 beyond the next node, IPv6, segments alone', 1280, ['r3', 'origin'], LINE_ORIGIN_V6, false, true],
  ['1280 in the tunnel', 1280, ['r1', 'r2'], ORIGIN, true, true],
  ['1280 in the tunnel, segments alone', 1280, ['r1', 'r2'], ORIGIN, false, true],
  ['1400 in the tunnel, IPv6', 1400, ['r1', 'r2'], LINE_ORIGIN_V6, true, true],
  ['1400 in the tunnel, IPv6, segments alone', 1400, ['r1', 'r2'], LINE_ORIGIN_V6, false, true],
  ['1280 beyond the node, segments alone', 1280, ['r1', 'r2'], ORIGIN, false, false],
  ['1280 beyond the node, IPv6', 1280, ['r1', 'r2'], LINE_ORIGIN_V6, true, false],
  ['576 beyond the node', 576, ['r1', 'r2'], ORIGIN, true, false],
  ['576 beyond the node, segments alone', 576, ['r1', 'r2'], ORIGIN, false, false],
  ['576 in the tunnel', 576, ['r1', 'r2'], ORIGIN, true, true],
  ['1280 before the node, segments alone', 1280, ['c1', 'r0'], ORIGIN, false, false],
  ['1280 before the node, IPv6', 1280, ['c1', 'r0'], LINE_ORIGIN_V6, true, false],
] as const)(
  'a link that has become narrow carries on: %s',
  async (_, mtu, link, destination, offload, tunnel) => {
    const chain = await standLine({ offload, tunnel });
    await transfer(chain, destination, () => narrow(chain, link, mtu));
    expect(await chain.counter('p1', 'splice-told')).toBeGreaterThan(0);
  },
);
