/** Nodes that are stopped, killed, started again, and nodes that share a namespace. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { pinDirectory } from '../host/mounts.js';
import { startCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand, type Program, type RunResult } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { askNode } from '../node/admin-client.js';
import type { NodeStatus } from '../node/node.js';
import { type Chain, closeAll, ORIGIN, standChain, traces } from './chain.js';
import { synAcksFrom, synsTo, tunnelled } from './packets.js';

const GATED = 4 * 1024 * 1024;
const RELAY = [{ action: 'relay' }];

afterEach(closeAll);

const tpotNode = (chain: Chain, host: string, ...args: string[]): Promise<RunResult> =>
  chain.host(host).run(tpotNodeCommand[0], [tpotNodeCommand[1], ...args]);

/** A fetch of c1 with one SYN, nothing of it in a tunnel. */
async function expectPlainFetch(chain: Chain): Promise<void> {
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  expect(await chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/private/x`])).toMatch(
    /^private/,
  );
  const link = (await capture.stop()).get('c1-p1');
  expect(synsTo(link, ORIGIN)).toHaveLength(1);
  expect(synAcksFrom(link, ORIGIN).map(({ reply }) => reply)).toEqual([undefined]);
  expect(tunnelled(link)).toEqual([]);
}

/** A download of c1 through P1 that has had its first half and waits for the gate. */
async function gatedDownload(chain: Chain): Promise<{ program: Program; file: string }> {
  const file = join(chain.net.directory, 'gated');
  const program = chain.spawn('c1', ['curl', '-sSN', '-o', file, `http://${ORIGIN}/gated/${GATED}`]);
  await program.while(async () => ((await chain.conns('p1'))[0]?.bytesOut ?? 0) >= GATED / 2, {
    what: 'half the download',
  });
  return { program, file };
}

async function openGate(chain: Chain): Promise<void> {
  await chain.host('p2').must('curl', ['-sSf', `http://${ORIGIN}/gate/open`]);
}

async function sha256(chain: Chain, file: string): Promise<string> {
  return (await chain.host('c1').must('sha256sum', [file])).split(' ')[0] ?? '';
}

describe('kill -9', () => {
  test('no listener is left and SYNs pass; `up` adopts what is pinned and takes again; `down` leaves nothing', async () => {
    const chain = await standChain({ nodes: { p1: { rules: RELAY } } });
    const before = await traces(chain.net, 'p1');
    // The ground that `toEqual([])` below stands on: each kind of trace is found while there is one.
    for (const kind of ['ss: LISTEN', 'ip: 5450:', 'ip: local default', pinDirectory(), '6 programs on']) {
      expect(before.filter((line) => line.startsWith(kind))).not.toEqual([]);
    }
    expect(before.join('\n')).toMatch(/tpot-node\.p1-\w+$[^]*p1-\w+\.sock$/m);
    await chain.net.node('p1').stop('SIGKILL');
    const left = await traces(chain.net, 'p1');
    expect(left.filter((line) => line.startsWith('ss: LISTEN'))).toEqual([]);
    expect(left.filter((line) => line.startsWith(pinDirectory()))).not.toEqual([]);
    await expectPlainFetch(chain);
    const [node] = chain.net.spec.nodes ?? [];
    const again = await chain.net.startNode(node ?? { host: 'p1' });
    expect(again.stderr()).toMatch(/event=pins-adopted/);
    await chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/private/y`]);
    expect((await chain.stats('p1')).connections.byReason['taken']).toBe(1);
    const down = await tpotNode(chain, 'p1', 'down', '--name', chain.net.nodeName('p1'));
    expect(down).toMatchObject({ code: 0, stdout: `tpot-node ${chain.net.nodeName('p1')} stopped\n` });
    expect(await traces(chain.net, 'p1')).toEqual([]);
    await expectPlainFetch(chain);
  });

  test('connections under way end at once, they do not hang', async () => {
    const chain = await standChain({ nodes: { p1: { rules: RELAY }, p2: { rules: RELAY } } });
    const { program } = await gatedDownload(chain);
    await chain.net.node('p1').stop('SIGKILL');
    expect((await program.exited).code).toBe(56); // curl was reset: a FIN could be taken for the end of the data
    await waitFor(async () => (await chain.conns('p2')).length === 0, { what: 'the leg to end at p2' });
  });

  test('pins of another layout are removed by the next `up`', async () => {
    const chain = await standChain({ nodes: { p1: {} } });
    const pins = pinDirectory('nodes', chain.net.nodeName('p1'));
    await chain.net.node('p1').stop('SIGKILL');
    const [version = ''] = readdirSync(pins);
    await chain.host('p1').must('mv', [join(pins, version), join(pins, 'v0')]);
    const [node] = chain.net.spec.nodes ?? [];
    await chain.net.startNode(node ?? { host: 'p1' });
    expect(readdirSync(pins)).toEqual([version]);
    await chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`]);
    expect(await chain.counter('p1', 'taken')).toBe(1);
  });
});

describe('drain', () => {
  test('SIGTERM: new SYNs pass, the transfer under way finishes, exit 0, nothing is left', async () => {
    const chain = await standChain({ nodes: { p1: { rules: RELAY, drainTimeout: '60s' } } });
    const { program, file } = await gatedDownload(chain);
    const node = chain.net.node('p1');
    node.signal('SIGTERM');
    await node.while(async () => (await chain.status('p1')).state === 'draining', { what: 'draining' });
    await expectPlainFetch(chain);
    expect(await chain.counter('p1', 'pass-draining')).toBe(1);
    expect((await chain.conns('p1')).map(({ state }) => state)).toEqual(['relaying']);
    await openGate(chain);
    expect(await program.exited).toEqual({ code: 0, signal: undefined });
    expect(await sha256(chain, file)).toBe(contentHash(`/gated/${GATED}`, GATED));
    expect(await node.exited).toEqual({ code: 0, signal: undefined });
    expect(await traces(chain.net, 'p1')).toEqual([]);
  });

  test('the same through the cache: the response under way is finished', async () => {
    const chain = await standChain({ nodes: { p1: { drainTimeout: '60s' } } });
    const { program, file } = await gatedDownload(chain);
    const node = chain.net.node('p1');
    node.signal('SIGTERM');
    await node.while(async () => (await chain.status('p1')).state === 'draining', { what: 'draining' });
    await openGate(chain);
    expect((await program.exited).code).toBe(0);
    expect(await sha256(chain, file)).toBe(contentHash(`/gated/${GATED}`, GATED));
    expect((await node.exited).code).toBe(0);
  });

  test('drainTimeout: what has not ended by then is reset, exit 0, nothing is left', async () => {
    const chain = await standChain({ nodes: { p1: { rules: RELAY, drainTimeout: '500ms' } } });
    const { program } = await gatedDownload(chain);
    const node = chain.net.node('p1');
    const started = performance.now();
    node.signal('SIGTERM');
    expect(await node.exited).toEqual({ code: 0, signal: undefined });
    expect(performance.now() - started).toBeGreaterThanOrEqual(500);
    expect(node.stderr()).toMatch(/event=connections-reset connections=1/);
    expect((await program.exited).code).toBe(56); // curl: failure in receiving
    expect(await traces(chain.net, 'p1')).toEqual([]);
  });

  test('a second signal ends the waiting', async () => {
    const chain = await standChain({ nodes: { p1: { rules: RELAY, drainTimeout: '600s' } } });
    await gatedDownload(chain);
    const node = chain.net.node('p1');
    node.signal('SIGINT');
    await node.while(async () => (await chain.status('p1')).state === 'draining', { what: 'draining' });
    node.signal('SIGINT');
    expect(await node.exited).toEqual({ code: 0, signal: undefined });
    expect(await traces(chain.net, 'p1')).toEqual([]);
  });
});

describe('two nodes in one namespace', () => {
  /** Starts one more node in P1, for one port. */
  async function startBeside(
    chain: Chain,
    suffix: string,
    [address, dport]: [string, number],
  ): Promise<{ name: string; node: Program }> {
    const name = `${suffix}-${chain.net.id}`;
    const file = join(chain.net.directory, `${suffix}.yaml`);
    const rules = [{ match: { dport }, action: 'relay' }];
    writeFileSync(file, JSON.stringify({ name, address, rules, drainTimeout: '1s' }));
    const node = chain.host('p1').spawn(tpotNodeCommand[0], [tpotNodeCommand[1], 'up', '--config', file]);
    await node.output(new RegExp(`^tpot-node ${name} ready`, 'm'));
    return { name, node };
  }

  const taken = async (name: string): Promise<number> =>
    ((await askNode(name, '/status')) as NodeStatus).counters['taken'] ?? 0;

  test('each takes what its rules say, and the end of one leaves the other as it was', async () => {
    const chain = await standChain({ nodes: {} });
    const web = await startBeside(chain, 'web', ['198.18.1.1', 80]);
    const bulk = await startBeside(chain, 'bulk', ['198.18.2.1', 9000]);
    const fetch = (): Promise<string> =>
      chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`]);
    const get = (): Promise<string> =>
      chain.must('c1', ['sh', '-c', `echo GET 100001 | timeout 20 busybox nc ${ORIGIN} 9000 | sha256sum`]);
    const hash = contentHash('bulk 100001', 100_001);
    expect([await fetch(), (await get()).split(' ')[0]]).toEqual(['hello, translucent world\n', hash]);
    expect([await taken(web.name), await taken(bulk.name)]).toEqual([1, 1]);
    await web.node.stop();
    expect(existsSync(pinDirectory('nodes', web.name))).toBe(false);
    expect([await fetch(), (await get()).split(' ')[0]]).toEqual(['hello, translucent world\n', hash]);
    expect(await taken(bulk.name)).toBe(2);
    await bulk.node.stop();
    expect([
      ...(await traces(chain.net, 'p1', web.name)),
      ...(await traces(chain.net, 'p1', bulk.name)),
    ]).toEqual([]);
  });

  test('the same name twice: a clear error, and the running node goes on', async () => {
    const chain = await standChain({ nodes: { p1: {} } });
    const name = chain.net.nodeName('p1');
    const second = await tpotNode(chain, 'p1', 'up', '--name', name);
    expect(second.code).toBe(69);
    expect(second.stderr).toMatch(
      new RegExp(`^error: a node named ${name} is running already: process \\d+$`, 'm'),
    );
    expect(second.stderr).toMatch(/^hint: .*down --name/m);
    await chain.must('c1', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`]);
    expect(await chain.counter('p1', 'taken')).toBe(1);
  });
});
