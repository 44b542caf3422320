/** Spliced connections whose legs take segments of different size, and paths that become narrow. */
import { afterEach, expect, test } from 'vitest';
import { closeAll, ORIGIN } from './chain.js';
import { deafen, LINE_ORIGIN_V6, narrow, splicedAt, standLine, transfer } from './line.js';

afterEach(closeAll);

test('a plain leg into a tunnel: both are spliced, and a client that hears no ICMP has its segments cut up', async () => {
  const chain = await standLine({ offload: false, tunnel: true });
  await deafen(chain, 'c1');
  await transfer(chain, ORIGIN);
  expect(await splicedAt(chain, 'p2')).toBeGreaterThan(0);
  expect(await chain.counter('p1', 'splice-resized')).toBeGreaterThan(0);
});

test.each([
  ['1400 in the tunnel, IPv6', 1400, LINE_ORIGIN_V6, true],
  ['576 beyond the node', 576, ORIGIN, false],
])('a link that has become narrow carries on: %s', async (_, mtu, destination, tunnel) => {
  const chain = await standLine({ offload: !tunnel, tunnel });
  await transfer(chain, destination, () => narrow(chain, ['r1', 'r2'], mtu));
  expect(await chain.counter('p1', 'splice-told')).toBeGreaterThan(0);
});

test("the node's own link that has become narrow carries on", async () => {
  const chain = await standLine({ offload: true, tunnel: false });
  await deafen(chain, 'c1'); // what it heard about one connection it would know for all of them
  await transfer(chain, ORIGIN, () => narrow(chain, ['p1', 'r1'], 1300));
  expect(await chain.counter('p1', 'drop-splice-too-big')).toBeGreaterThan(0);
});
