/** 1 GiB each way through two nodes, by each action, and over links that lose packets. */
import { afterEach, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain } from './chain.js';

const GIB = 2 ** 30;
const PATIENT = { timeoutMs: 1_200_000 };
const LOSS_PERCENT = 1;

afterEach(closeAll);

const shell = (script: string): string[] => ['sh', '-c', script];
const produce = (seed: string, prefix = ''): string =>
  `${process.execPath} ${fixture('content.mjs')} '${seed}' ${GIB} ${prefix}`;

async function relayed(chain: Chain): Promise<void> {
  const down = `echo GET ${GIB} | busybox nc ${ORIGIN} 9000 | sha256sum`;
  const sum = await chain.must('c1', shell(down), PATIENT);
  expect(sum.split(' ')[0]).toBe(contentHash(`bulk ${GIB}`, GIB));
  const up = `${produce('up', 'PUT')} | busybox nc ${ORIGIN} 9000`;
  expect(await chain.must('c1', shell(up), PATIENT)).toBe(`${contentHash('up', GIB)} ${GIB}\n`);
}

async function cached(chain: Chain): Promise<void> {
  const down = `curl -sSf http://${ORIGIN}/bytes/${GIB} | sha256sum`;
  const sum = await chain.must('c1', shell(down), PATIENT);
  expect(sum.split(' ')[0]).toBe(contentHash(`/bytes/${GIB}`, GIB));
  const up = `${produce('up')} | curl -sSf -T - -X POST http://${ORIGIN}/upload`;
  expect(await chain.must('c1', shell(up), PATIENT)).toBe(`${contentHash('up', GIB)} ${GIB}\n`);
}

/** Packets that each end of each link threw away: `p1: [1234, 567, 890]`. */
async function lost(chain: Chain): Promise<Record<string, number[]>> {
  const counts: Record<string, number[]> = {};
  for (const { name } of chain.net.hosts) {
    const rules = await chain.host(name).must('nft', ['list', 'ruleset']);
    counts[name] = [...rules.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
  }
  return counts;
}

test('1 GiB up and down through the caches', async () => {
  await cached(await standChain());
});

for (const [action, transfer] of Object.entries({ relay: relayed, cache: cached })) {
  test(`1 GiB up and down with ${LOSS_PERCENT} % loss on every link, action ${action}`, async () => {
    const chain = await standChain({ loss: LOSS_PERCENT });
    await transfer(chain);
    const { c1, p1, p2, origin } = await lost(chain);
    // c2 is idle, so its link loses nothing worth mentioning.
    for (const end of [c1?.[0], p1?.[0], p1?.[2], p2?.[0], p2?.[1], origin?.[0]]) {
      expect(end).toBeGreaterThan(20);
    }
    const { byReason } = (await chain.stats('p1')).connections;
    expect(byReason['tunnelled']).toBeGreaterThanOrEqual(2);
  });
}
