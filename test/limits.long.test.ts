/** Limits where connections leave for the kernel: what is over them goes on as it can. */
import { afterEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain } from './chain.js';

const LIMIT = 3;
const SWARM = 5;

afterEach(closeAll);

test('a client with as many as it may have is passed by, another one is taken, and what ends makes room', async () => {
  const config = { rules: [{ action: 'splice' }], limits: { perClient: LIMIT } };
  const chain = await standChain({ nodes: { p1: config } });
  const args = [fixture('swarm.mjs'), ORIGIN, '9000', String(SWARM), 'bulk', '1000'];
  const swarm = chain.spawn('c1', [process.execPath, ...args], { label: 'swarm' });
  await swarm.output(/^connected$/m);
  const spliced = async (): Promise<number> =>
    (await chain.conns('p1')).filter(({ state }) => state === 'spliced').length;
  await waitFor(async () => (await spliced()) >= LIMIT, { what: 'all that were taken to be spliced' });
  // Connections that are made side by side may all be taken before one of them counts.
  const beyond = await spliced();
  expect(beyond).toBeLessThanOrEqual(SWARM);

  const fetch = (client: string): Promise<string> =>
    chain.must(client, ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`]);
  const taken = (): Promise<number> => chain.counter('p1', 'taken');
  const passed = (): Promise<number> => chain.counter('p1', 'pass-client-limit');
  const before = { taken: await taken(), passed: await passed() };
  expect(await fetch('c1')).toContain('hello');
  expect([await taken(), await passed()]).toEqual([before.taken, before.passed + 1]);
  expect(await fetch('c2')).toContain('hello');
  expect([await taken(), await passed()]).toEqual([before.taken + 1, before.passed + 1]);

  swarm.signal('SIGUSR2');
  const [line] = await swarm.output(/^\{.*\}$/m, { timeoutMs: 60_000 });
  expect(JSON.parse(line)).toEqual({ right: SWARM, wrong: 0, failed: 0, errors: {} });
  await waitFor(
    async () => {
      const now = await taken();
      await fetch('c1');
      return (await taken()) > now;
    },
    { what: 'room for one more' },
  );
});

test('more connections than may be spliced: the others stay relayed, and all bytes are right', async () => {
  const chain = await standChain({
    nodes: { p1: { rules: [{ action: 'splice' }], limits: { splices: 1 } } },
  });
  const args = [fixture('swarm.mjs'), ORIGIN, '9000', '3', 'bulk', '1000'];
  const swarm = chain.spawn('c1', [process.execPath, ...args], { label: 'swarm' });
  await swarm.output(/^connected$/m);
  const reasons = async (): Promise<Readonly<Record<string, number>>> =>
    (await chain.stats('p1')).connections.byReason;
  await waitFor(async () => (await reasons())['relayed-limit'] === 2, { what: 'two to stay relayed' });
  expect(await reasons()).toMatchObject({ spliced: 1 });
  swarm.signal('SIGUSR2');
  const [line] = await swarm.output(/^\{.*\}$/m, { timeoutMs: 60_000 });
  expect(JSON.parse(line)).toEqual({ right: 3, wrong: 0, failed: 0, errors: {} });
});
