/** Thousands of hand-overs with data under way in both directions, on both nodes of a chain. */
import { afterEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain } from './chain.js';

const SPLICE = { rules: [{ action: 'splice' }] };
const CONNECTIONS = 3000;

afterEach(closeAll);

test.each([
  { what: 'on sound links', loss: undefined },
  { what: 'where one packet in a hundred is lost', loss: 1 },
])(
  '$what, every byte of both directions is right and nothing is reset',
  async ({ loss }) => {
    const chain = await standChain({
      nodes: { p1: SPLICE, p2: SPLICE },
      ...(loss === undefined ? {} : { loss }),
    });
    const args = [ORIGIN, '22', String(CONNECTIONS), '150000', '25', '6'];
    const command = [process.execPath, fixture('duplex.mjs'), ...args];
    const score = JSON.parse(await chain.must('c1', command, { timeoutMs: 550_000 })) as Record<
      string,
      unknown
    >;
    expect(score).toMatchObject({ right: CONNECTIONS, wrong: 0, failed: 0, errors: {} });
    for (const node of ['p1', 'p2']) {
      const { byReason } = (await chain.stats(node)).connections;
      console.log(loss ?? 0, node, byReason, score);
      expect(byReason['spliced']).toBeGreaterThan(CONNECTIONS / 2);
      await waitFor(async () => (await chain.conns(node)).length === 0, {
        what: 'ended connections to be forgotten',
        timeoutMs: 120_000,
      });
    }
  },
  600_000,
);
