/** Streams between two nodes that have agreed to transform them, and between nodes that have not. */
import { createHash } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { waitFor } from '../netns/wait.js';
import type { PairStats } from '../node/transforms.js';
import { type Chain, closeAll, ORIGIN, ORIGIN_V6, standChain } from './chain.js';

afterEach(closeAll);

const MIB = 1024 * 1024;
const BOTH = { transforms: { streams: ['dedup', 'zstd'] } };
const shell = (script: string): string[] => ['sh', '-c', script];
const bulk = (length: number): string[] =>
  shell(`echo GET ${length} | busybox nc ${ORIGIN} 9000 | sha256sum`);

/** The sums of the legs from p1 to p2, as p1 has them, once they are closed. */
async function pairOf(chain: Chain): Promise<PairStats | undefined> {
  const { transforms } = await waitFor(
    async () => {
      const stats = await chain.stats('p1');
      return stats.transforms.open === 0 ? stats : undefined;
    },
    { what: 'the transformed legs to end' },
  );
  return transforms.pairs.find(({ direction }) => direction === 'to');
}

test('what is sent again crosses as references, and every byte arrives', async () => {
  const chain = await standChain({ nodes: { p1: BOTH, p2: BOTH } });
  const hash = contentHash(`bulk ${8 * MIB}`, 8 * MIB);
  expect((await chain.must('c1', bulk(8 * MIB))).split(' ')[0]).toBe(hash);
  const once = await pairOf(chain);
  expect(once).toMatchObject({
    node: chain.host('p2').address,
    transforms: ['zstd', 'dedup'],
    connections: 1,
  });
  expect((await chain.must('c2', bulk(8 * MIB))).split(' ')[0]).toBe(hash);
  const twice = await pairOf(chain);
  const [first = 0, both = 0] = [once?.wireReceived, twice?.wireReceived];
  expect(twice?.plainReceived).toBeGreaterThanOrEqual(16 * MIB);
  expect(both - first).toBeLessThan(first / 20);
});

test('text is small on the leg that both transform, through cache and relay; who speaks first does not matter', async () => {
  const chain = await standChain({ nodes: { p1: BOTH, p2: BOTH } });
  const text = Array.from({ length: 200_000 }, (_, line) => `${line + 1}\n`).join('');
  const lines = "Array.from({ length: 200000 }, (_, line) => (line + 1) + '\\n').join('')";
  const serve = `require('net').createServer((s) => s.end(${lines})).listen(7000, () => console.log('up'))`;
  const server = chain.spawn('origin', [process.execPath, '-e', serve]);
  await server.output(/up/);
  const received = await chain.must('c1', shell(`busybox nc ${ORIGIN} 7000 </dev/null | sha256sum`));
  expect(received.split(' ')[0]).toBe(createHash('sha256').update(text).digest('hex'));
  const pair = await pairOf(chain);
  expect(pair?.plainReceived).toBe(text.length);
  expect(pair?.wireReceived).toBeLessThan(text.length / 2);
  expect(await chain.must('c1', shell(`busybox nc ${ORIGIN} 22 </dev/null`))).toContain('SSH-2.0');
  const page = await chain.must('c1', [
    'curl',
    '-sS',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    `http://${ORIGIN}/hello`,
  ]);
  expect(page).toBe('200');
  // The leg of the request is kept for the next one.
  const { pairs } = (await chain.stats('p1')).transforms;
  expect(pairs.find(({ direction }) => direction === 'to')?.connections).toBe(3);
});

test('the reply says what the rule accepts, over IPv6, too', async () => {
  const chain = await standChain({
    nodes: {
      p1: { ...BOTH, address: ['198.18.1.1', '2001:db8:1::1'] },
      p2: {
        ...BOTH,
        address: ['198.18.3.1', '2001:db8:3::1'],
        rules: [{ action: 'relay', transforms: ['zstd'] }],
      },
    },
    v6: true,
  });
  const get = shell(`echo GET ${MIB} | busybox nc ${ORIGIN_V6} 9000 | sha256sum`);
  expect((await chain.must('c1', get)).split(' ')[0]).toBe(contentHash(`bulk ${MIB}`, MIB));
  const pair = await pairOf(chain);
  expect(pair).toMatchObject({ transforms: ['zstd'], connections: 1 });
  expect(pair?.plainReceived).toBe(MIB);
});

test.each([
  ['only the first node can', { p1: BOTH, p2: {} }],
  ['only the second node can', { p1: {}, p2: BOTH }],
])('where %s, nothing is transformed', async (_who, nodes) => {
  const chain = await standChain({ nodes });
  expect((await chain.must('c1', bulk(MIB))).split(' ')[0]).toBe(contentHash(`bulk ${MIB}`, MIB));
  expect((await chain.stats('p1')).transforms.pairs).toEqual([]);
  expect((await chain.stats('p2')).transforms.pairs).toEqual([]);
});
