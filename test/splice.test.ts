/** Connections that leave user space, over real namespaces: client – P1 – P2 – origin. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Program } from '../netns/host.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const SPLICE = { rules: [{ action: 'splice' }] };
const NODES = { p1: SPLICE, p2: SPLICE };
const ENDS_PORT = '7777';
/** More bytes than a test waits for. */
const ENDLESS = 1_000_000_000;

afterEach(closeAll);

interface Score {
  readonly right: number;
  readonly worstStallMs: number;
}

function startDuplex(chain: Chain, args: readonly number[]): Program {
  const command = [process.execPath, fixture('duplex.mjs'), ORIGIN, '22', ...args.map(String)];
  return chain.spawn('c1', command, { label: 'duplex' });
}

async function scoreOf(program: Program): Promise<Score> {
  const [line] = await program.output(/^\{.*\}$/m, { timeoutMs: 110_000 });
  return JSON.parse(line) as Score;
}

async function splicedOf(chain: Chain, node: string): Promise<number> {
  return (await chain.stats(node)).connections.byReason['spliced'] ?? 0;
}

/**
 * Transfers with hardly an idle instant; how many meet one and are spliced before they end depends on the machine, so they
 * are repeated until it was more than `enough` on P1.
 */
async function transfersUntilSpliced(chain: Chain, shape: readonly number[], enough: number): Promise<void> {
  const [count] = shape;
  for (let round = 0; round < 6 && (await splicedOf(chain, 'p1')) <= enough; round++) {
    const score = await scoreOf(startDuplex(chain, shape));
    expect(score).toMatchObject({ right: count, wrong: 0, failed: 0, errors: {} });
  }
  expect(await splicedOf(chain, 'p1')).toBeGreaterThan(enough);
}

describe('hand-overs with data under way in both directions', () => {
  test('lose, double and change nothing', async () => {
    const chain = await standChain({ nodes: NODES });
    await transfersUntilSpliced(chain, [400, 250_000, 25, 4], 200);
    expect(await splicedOf(chain, 'p2')).toBeGreaterThan(0);
    // What met a hand-over went on right after it.
    const sum = async (code: string): Promise<number> =>
      (await chain.counter('p1', code)) + (await chain.counter('p2', code));
    expect(await sum('drop-splice-hold')).toBeGreaterThan(0);
    expect(await sum('splice-held-sent')).toBeGreaterThan(0);
  });

  test('nor where packets are lost', async () => {
    const chain = await standChain({ nodes: NODES, loss: 1 });
    await transfersUntilSpliced(chain, [150, 200_000, 25, 4], 50);
  });
});

describe('a node that ends', () => {
  test('leaves its spliced transfers running, and the next one adopts them', async () => {
    const chain = await standChain({ nodes: NODES });
    const transfers = 100;
    const program = startDuplex(chain, [transfers, ENDLESS, transfers, 30]);
    const onNode = async (node: string): Promise<number> =>
      (await chain.conns(node)).filter(({ state }) => state === 'spliced').length;
    const onP1 = (): Promise<number> => onNode('p1');
    const carried = async (): Promise<number[]> => (await chain.conns('p1')).map(({ bytesOut }) => bytesOut);
    await program.while(async () => (await onP1()) + (await onNode('p2')) === 2 * transfers, {
      what: 'all to be spliced',
      timeoutMs: 30_000,
    });
    program.signal('SIGUSR2');
    await chain.net.node('p1').stop('SIGKILL');
    await chain.net.startNode({ host: 'p1', config: SPLICE });
    expect(await onP1()).toBe(transfers);
    // `down` leaves them running too.
    expect(await chain.net.node('p1').stop('SIGTERM')).toMatchObject({ code: 0 });
    await chain.net.startNode({ host: 'p1', config: SPLICE });
    expect(await onP1()).toBe(transfers);
    const more = Math.max(...(await carried())) + 100_000;
    await program.while(async () => Math.min(...(await carried())) > more, {
      what: 'every transfer to go on',
      timeoutMs: 60_000,
    });
    program.signal('SIGINT');
    const score = await scoreOf(program);
    expect(score).toMatchObject({ right: transfers, wrong: 0, failed: 0, errors: {} });
  });
});

describe('after the hand-over', () => {
  test('data goes on where its sequence numbers come round', async () => {
    const chain = await standChain({ nodes: NODES });
    const server = chain.host('origin').spawn('iperf3', ['-s', '-1', '--forceflush'], { label: 'iperf3' });
    await server.output(/listening on/);
    const client = chain.spawn('c1', ['iperf3', '-c', ORIGIN, '-n', '8G'], { label: 'iperf3' });
    const carried = async (node: string): Promise<number> =>
      Math.max(0, ...(await chain.conns(node)).map((row) => (row.state === 'spliced' ? row.bytesIn : 0)));
    await client.while(async () => (await carried('p1')) > 2 ** 32 && (await carried('p2')) > 2 ** 32, {
      what: '4 GiB to pass through splices',
      timeoutMs: 110_000,
    });
    await client.stop();
  });

  test('urgent data, half-close, keep-alives and resets pass', async () => {
    const chain = await standChain({ nodes: NODES });
    const server = chain
      .host('origin')
      .spawn('python3', [fixture('ends.py'), 'serve', ENDS_PORT], { label: 'ends' });
    await server.output(/^ready$/m);
    // All under one shim, side by side; each prints what it saw.
    const asked = ['urgent', 'half', 'keepalive', 'be-reset', 'reset'];
    const ask = asked.map(
      (what) => `echo "${what}: $(python3 ${fixture('ends.py')} ask ${ORIGIN} ${ENDS_PORT} ${what} 1)" &`,
    );
    const said = await chain.must('c1', ['sh', '-c', `${ask.join(' ')} wait`]);
    expect(said.trim().split('\n').sort()).toEqual([
      'be-reset: reset',
      'half: right',
      'keepalive: alive',
      'reset: sent',
      'urgent: abc ! def',
    ]);
    await server.output(/^reset$/m);
    for (const node of ['p1', 'p2']) expect(await splicedOf(chain, node)).toBe(5);
  });
});
