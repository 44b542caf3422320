/** A node that may open few files: what it cannot carry passes by, and running out of them is no crash. */
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain } from './chain.js';

let chain: Chain;
let pid = 0;
beforeAll(async () => {
  chain = await standChain({
    nodes: { p1: { rules: [{ action: 'relay' }], limits: { connections: 1000 } } },
  });
  ({ pid } = await chain.status('p1'));
});
afterAll(closeAll);

let lowest = Infinity;

/** Lets the node open so many files more than it has open now; the node has seen it when it says so. */
async function leave(more: number): Promise<void> {
  // A limit that was lowered is not to be raised again, not even by every root.
  const limit = Math.min(lowest - 1, readdirSync(`/proc/${pid}/fd`).length + more);
  lowest = limit;
  await chain.host('p1').must('prlimit', ['--pid', String(pid), `--nofile=${limit}:${limit}`]);
  const node = chain.net.node('p1');
  const said = (): boolean => node.stderr().includes(`event=open-files-limit limit=${limit} `);
  // Where the node may raise the limit itself, it does, and there is nothing to see.
  await node.while(said, { what: 'the node to notice its new limit', timeoutMs: 10_000 });
}

/** One connection after the other, all kept open; then one line and its echo on each. Prints how many were right. */
const SCRIPT = `
import socket, sys
count = int(sys.argv[1])
def line(f): return f.readline()
open_ones = []
for i in range(count):
    s = socket.create_connection(('${ORIGIN}', 22), 20)
    f = s.makefile('rwb')
    assert f.readline() == b'SSH-2.0-tpot-lab\\r\\n'
    open_ones.append(f)
right = 0
for i, f in enumerate(open_ones):
    f.write(b'line %d\\n' % i); f.flush()
    right += f.readline() == b'line %d\\n' % i
print(right)
`;

test('at its limit of open files SYNs pass by: nobody is refused', async () => {
  await leave(100);
  expect(await chain.must('c1', ['python3', '-c', SCRIPT, '100'])).toBe('100\n');
  const counters = (await chain.status('p1')).counters;
  expect(counters['taken']).toBeGreaterThan(10);
  expect(counters['pass-limit']).toBe(100 - (counters['taken'] ?? 0));
  expect((await chain.stats('p1')).connections.byReason['leg-no-descriptors']).toBeUndefined();
});

/** A hundred connections that begin at once, under a limit that leaves so many descriptors. */
async function burst(more: number): Promise<void> {
  await waitFor(async () => (await chain.conns('p1')).length === 0, {
    what: 'the connections before to end',
  });
  await leave(more);
  const what = [ORIGIN, '9000', '100', 'bulk', '1000'];
  const swarm = chain.spawn('c1', [process.execPath, fixture('swarm.mjs'), ...what]);
  await swarm.output(/^connected$/m, { timeoutMs: 60_000 });
  swarm.signal('SIGUSR2');
  await swarm.output(/^\{.*"wrong":0.*\}$/m, { timeoutMs: 60_000 });
}

test('a burst beyond it costs connections, never the node: it says why, lets pass, and takes again', async () => {
  const legless = async (): Promise<number> =>
    (await chain.stats('p1')).connections.byReason['leg-no-descriptors'] ?? 0;
  // The last descriptor goes to a client or to a leg; where a client could not have one, the kernel's queue ends it unseen.
  for (let more = 20; more > 14 && (await legless()) === 0; more--) await burst(more);
  expect(await legless()).toBeGreaterThan(0);
  expect(chain.net.node('p1').stderr()).toMatch(/event=no-descriptors/);
  const taken = await chain.counter('p1', 'taken');
  const fetch = (): Promise<string> =>
    chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`]);
  await waitFor(async () => (await fetch()) !== '' && (await chain.counter('p1', 'taken')) > taken, {
    what: 'the node to take again',
  });
});
