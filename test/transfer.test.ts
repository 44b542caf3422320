/** Bulk data and many connections through a chain of two nodes: every byte arrives, whatever the rule. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain } from './chain.js';

const MIB = 1024 * 1024;
/** test/transfer.long.test.ts moves more. */
const BULK = 256 * MIB;
const OVER_CACHE = 256 * MIB + 1;
const PATIENT = { timeoutMs: 150_000 };

let chain: Chain;

beforeAll(async () => {
  chain = await standChain();
});
afterAll(closeAll);

const shell = (script: string): string[] => ['sh', '-c', script];
const produce = (seed: string, length: number, prefix = ''): string =>
  `${process.execPath} ${fixture('content.mjs')} '${seed}' ${length} ${prefix}`;

test(
  'action relay: bulk down, by SHA-256, tunnelled on both legs',
  async () => {
    const fetching = chain.must(
      'c1',
      shell(`echo GET ${BULK} | busybox nc ${ORIGIN} 9000 | sha256sum`),
      PATIENT,
    );
    const row = await waitFor(async () => (await chain.conns('p1')).find(({ nextHop }) => nextHop !== null), {
      what: 'the transfer to show in conns',
    });
    expect(row).toMatchObject({
      destination: `${ORIGIN}:9000`,
      via: 'tunnel',
      nextHop: chain.host('p2').address,
      action: 'relay',
      reason: 'tunnelled',
    });
    expect(row.client).toMatch(/^198\.18\.1\.2:/);
    expect((await fetching).split(' ')[0]).toBe(contentHash(`bulk ${BULK}`, BULK));
  },
  PATIENT.timeoutMs,
);

test(
  'action relay: bulk up, by SHA-256',
  async () => {
    const script = `${produce('up', BULK, 'PUT')} | busybox nc ${ORIGIN} 9000`;
    expect(await chain.must('c1', shell(script), PATIENT)).toBe(`${contentHash('up', BULK)} ${BULK}\n`);
  },
  PATIENT.timeoutMs,
);

/** Starts {@link COUNT} connections of c1, waits until every node holds them all, lets them ask, and gives the score. */
async function swarm(port: number, question: readonly string[], nodes: readonly string[]): Promise<unknown> {
  const command = [process.execPath, fixture('swarm.mjs'), ORIGIN, String(port), String(COUNT), ...question];
  const program = chain.spawn('c1', command, { label: 'swarm' });
  await program.output(/^connected$/m, { timeoutMs: 60_000 });
  for (const node of nodes) {
    await program.while(async () => (await chain.status(node)).connections === COUNT, {
      what: `${node} to hold ${COUNT} connections`,
    });
  }
  program.signal('SIGUSR2');
  const [line] = await program.output(/^\{.*\}$/m, { timeoutMs: 60_000 });
  return JSON.parse(line);
}

const COUNT = 1000;
const ALL_RIGHT = { right: COUNT, wrong: 0, failed: 0, errors: {} };

test('1,000 concurrent connections through both nodes, relayed, every body right', async () => {
  expect(await swarm(9000, ['bulk', '100003'], ['p1', 'p2'])).toEqual(ALL_RIGHT);
  const { byReason } = (await chain.stats('p1')).connections;
  expect(byReason['tunnelled']).toBeGreaterThanOrEqual(COUNT);
});

test('1,000 concurrent connections for 50 objects through the caches, every body right', async () => {
  expect(await swarm(80, ['http', '/bytes/', '50021', '50'], ['p1'])).toEqual(ALL_RIGHT);
  const asked = (await chain.requests()).filter(({ path }) => path.startsWith('/bytes/500'));
  expect(new Set(asked.map(({ path }) => path)).size).toBe(50);
  expect(asked).toHaveLength(50);
});

test('action cache: a body larger than the cache goes up and down, by SHA-256', async () => {
  const file = `/bytes/${OVER_CACHE}`;
  const down = `curl -sSf http://${ORIGIN}${file} | sha256sum`;
  expect((await chain.must('c1', shell(down))).split(' ')[0]).toBe(contentHash(file, OVER_CACHE));
  const up = `${produce('up', OVER_CACHE)} | curl -sSf -T - -X POST http://${ORIGIN}/upload`;
  expect(await chain.must('c1', shell(up))).toBe(`${contentHash('up', OVER_CACHE)} ${OVER_CACHE}\n`);
  expect(await chain.requests(file)).toHaveLength(1);
  expect((await chain.requests('/upload')).map(({ received }) => received)).toEqual([OVER_CACHE]);
  const { cache } = await chain.status('p1');
  expect(cache['bytes']).toBeLessThan(256 * MIB);
});
