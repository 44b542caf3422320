/** Thousands of hand-overs: over IPv6, and where packets are lost, doubled and reordered. */
import { afterEach, expect, test } from 'vitest';
import { closeAll, fixture, ORIGIN_V6, standChain } from './chain.js';
import { expectRightThroughWires } from './impaired.js';

const SPLICE = { edge: true, rules: [{ action: 'splice' }] };
const CONNECTIONS = 250;

afterEach(closeAll);

test.each([
  { what: 'lossy', impairment: { lost: 10, doubled: 0, late: 0 } },
  { what: 'doubling', impairment: { lost: 0, doubled: 50, late: 0 } },
  { what: 'reordering', impairment: { lost: 0, doubled: 0, late: 50 } },
  { what: 'all of it', impairment: { lost: 5, doubled: 20, late: 30 } },
])(
  'over wires that are $what, every byte is right, tunnelled and edge, IPv4 and IPv6',
  async ({ impairment }) => {
    await expectRightThroughWires(impairment, CONNECTIONS, 120_000);
  },
  900_000,
);

test('over IPv6 through two nodes, tunnelled and edge', async () => {
  const nodes = {
    p1: { ...SPLICE, address: ['198.18.1.1', '2001:db8:1::1'] },
    p2: { ...SPLICE, address: ['198.18.3.1', '2001:db8:3::1'] },
  };
  const chain = await standChain({ v6: true, nodes });
  const duplex = [fixture('duplex.mjs'), ORIGIN_V6, '22', String(CONNECTIONS), '200000', '25', '4'];
  const scores = await Promise.all([
    chain.must('c1', [process.execPath, ...duplex], { timeoutMs: 400_000 }),
    chain.host('c2').must(process.execPath, duplex, { timeoutMs: 400_000 }),
  ]);
  for (const score of scores) {
    console.log(score);
    expect(JSON.parse(score)).toMatchObject({ right: CONNECTIONS, wrong: 0, failed: 0 });
  }
  for (const node of ['p1', 'p2']) {
    const { byReason } = (await chain.stats(node)).connections;
    // At P1 the tunnelled ones: an edge client's segments are larger than P2's tunnel takes (`relayed-mss`).
    expect(byReason['spliced']).toBeGreaterThan(CONNECTIONS / 4);
  }
}, 900_000);
