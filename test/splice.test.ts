/** Connections that leave user space, over real namespaces: client – P1 – P2 – origin. */
import { afterEach, expect, test } from 'vitest';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const SPLICE = { rules: [{ action: 'splice' }] };

afterEach(closeAll);

async function duplex(chain: Chain, args: readonly (string | number)[]): Promise<unknown> {
  const command = [process.execPath, fixture('duplex.mjs'), ORIGIN, '22', ...args.map(String)];
  return JSON.parse(await chain.must('c1', command, { timeoutMs: 110_000 }));
}

test('thousands of hand-overs with data under way in both directions lose nothing', async () => {
  const chain = await standChain({ nodes: { p1: SPLICE, p2: SPLICE } });
  const score = await duplex(chain, [200, 200_000, 20]);
  console.log(score, JSON.stringify(await chain.stats('p1')), JSON.stringify((await chain.stats('p2')).connections), (await chain.conns('p1')).slice(0, 2));
  expect(score).toMatchObject({ right: 200, wrong: 0, failed: 0 });
});
