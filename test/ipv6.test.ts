/** The whole chain over IPv6: requests, IPv6 replies, IPv6-in-IPv6 tunnels, cache and relay. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { checkOptionPlaces, checkPlainLeg, checkTunnelledLeg } from '../netns/checks.js';
import { contentHash } from '../netns/content.js';
import { captureOf } from '../netns/labs/common.js';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, fixture, HOPS, ORIGIN, ORIGIN_V6, standChain } from './chain.js';

const ADDRESSES = { p1: '2001:db8:1::1', p2: '2001:db8:3::1' };
const URL = `http://[${ORIGIN_V6}]`;
const BULK = 64 * 1024 * 1024;

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({
    v6: true,
    offload: false,
    // P1 has both families, P2 speaks IPv6 only.
    nodes: { p1: { address: ['198.18.1.1', ADDRESSES.p1] }, p2: { address: ADDRESSES.p2 } },
  });
});
afterAll(closeAll);

const sum = async (client: string, command: string): Promise<string> =>
  (await chain.must(client, ['sh', '-c', `${command} | sha256sum`])).split(' ')[0] ?? '';

test('fetch through both caches, then from the first', async () => {
  const path = '/bytes/300017';
  const capture = await startCapture(chain.net);
  const expected = contentHash(path, 300_017);
  expect(await sum('c1', `curl -gsSf -m 20 ${URL}${path}`)).toBe(expected);
  expect(await sum('c2', `curl -gsSf -m 20 ${URL}${path}`)).toBe(expected);
  expect(await chain.requests(path)).toHaveLength(1);
  expect((await chain.requests(path))[0]?.peer).toBe('2001:db8:4::2');
  const links = await capture.stop();
  const leg = (source: string, hops: number): { source: string; destination: string; hops: number[] } => ({
    source,
    destination: ORIGIN_V6,
    hops: [hops],
  });
  const checks = [
    ...checkTunnelledLeg(captureOf(links, 'c1-p1'), { ...leg('2001:db8:1::2', HOPS), node: ADDRESSES.p1 }),
    ...checkTunnelledLeg(captureOf(links, 'c2-p1'), { ...leg('2001:db8:2::2', HOPS), node: ADDRESSES.p1 }),
    ...checkTunnelledLeg(captureOf(links, 'p1-p2'), {
      ...leg('2001:db8:3::2', HOPS - 1),
      node: ADDRESSES.p2,
    }),
    ...checkPlainLeg(captureOf(links, 'p2-origin'), leg('2001:db8:4::2', HOPS - 2)),
    checkOptionPlaces(links.values()),
  ];
  expect(checks.filter(({ ok }) => !ok)).toEqual([]);
});

test('bulk down and up through the relays', async () => {
  const nc = `busybox nc ${ORIGIN_V6} 9000`;
  expect(await sum('c1', `echo GET ${BULK} | ${nc}`)).toBe(contentHash(`bulk ${BULK}`, BULK));
  const produce = `${process.execPath} ${fixture('content.mjs')} up6 ${BULK} PUT`;
  expect(await chain.must('c1', ['sh', '-c', `${produce} | ${nc}`])).toBe(
    `${contentHash('up6', BULK)} ${BULK}\n`,
  );
  expect((await chain.stats('p1')).connections.byReason['tunnelled']).toBeGreaterThanOrEqual(3);
});

test('conns shows IPv6 endpoints and the next hop', async () => {
  const program = chain.spawn('c1', [process.execPath, fixture('listener.mjs'), ORIGIN_V6, '22']);
  await program.output(/SSH-2\.0/);
  const row = await waitFor(async () => (await chain.conns('p1')).find(({ state }) => state === 'relaying'));
  expect(row).toMatchObject({ destination: `[${ORIGIN_V6}]:22`, nextHop: ADDRESSES.p2, via: 'tunnel' });
  expect(row.client).toMatch(/^\[2001:db8:1::2\]:\d+$/);
  await program.stop();
});

test('IPv4 beside it: taken by the node with an IPv4 address, passed by the one without', async () => {
  const before = await chain.counter('p2', 'taken');
  expect(await sum('c1', `curl -sSf -m 20 http://${ORIGIN}/bytes/70001`)).toBe(
    contentHash('/bytes/70001', 70_001),
  );
  expect(await chain.counter('p2', 'taken')).toBe(before);
  expect((await chain.stats('p1')).connections.byReason['plain-no-reply']).toBe(1);
});

test('no node on the path: plain TCP over IPv6', async () => {
  const path = '/bytes/90001';
  const before = await chain.counter('p1', 'taken');
  expect(
    (await chain.must('c1', ['sh', '-c', `curl -gsSf ${URL}${path} | sha256sum`], { hops: 0 })).split(' ')[0],
  ).toBe(contentHash(path, 90_001));
  expect(await chain.counter('p1', 'taken')).toBe(before);
});
