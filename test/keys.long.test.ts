/** Keyed requests and replies between clients and nodes that share a key, and those that do not. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCapture, type LinkCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand } from '../netns/host.js';
import type { Trace } from '../client-shim/trace.js';
import type { Check } from '../doctor/check.js';
import { type Chain, closeAll, fixture, HOPS, ORIGIN, standChain } from './chain.js';
import { synAcksFrom, synsTo, tunnelled } from './packets.js';

const directory = mkdtempSync(join(tmpdir(), 'tpot-keys-'));
const secret = {
  old: randomBytes(16),
  next: randomBytes(16),
  foreign: randomBytes(16),
  lost: randomBytes(16),
};

/** A file with these keys, in this order. */
function keyFile(name: string, ...ids: (keyof typeof secret)[]): string {
  const file = join(directory, name);
  writeFileSync(file, ids.map((id) => `${id} ${secret[id].toString('hex')}\n`).join(''), { mode: 0o600 });
  return file;
}

const p1Keys = keyFile('p1', 'old');
const oldClient = keyFile('old', 'old');
const newClient = keyFile('new', 'next');
const lostClient = keyFile('lost', 'lost');
const foreignClient = keyFile('foreign', 'foreign');
let chain: Chain;

beforeAll(async () => {
  const rules = [{ action: 'relay' }];
  chain = await standChain({
    nodes: {
      p1: { rules, keys: { file: p1Keys, require: true } },
      p2: { rules, keys: { file: keyFile('p2', 'foreign'), require: true } },
    },
  });
});
afterAll(async () => {
  await closeAll();
  rmSync(directory, { recursive: true });
});

/** One download of c1; what the link to P1 saw of it. */
async function fetch(file?: string): Promise<LinkCapture | undefined> {
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  const command = ['sh', '-c', `curl -sSf -m 20 http://${ORIGIN}/bytes/50001 | sha256sum`];
  const sum = await chain.must('c1', command, file === undefined ? {} : { keyFile: file });
  expect(sum.split(' ')[0]).toBe(contentHash('/bytes/50001', 50_001));
  return (await capture.stop()).get('c1-p1');
}

async function counted(node: string, code: string, act: () => Promise<unknown>): Promise<number> {
  const before = await chain.counter(node, code);
  await act();
  return (await chain.counter(node, code)) - before;
}

test('a client and a node with the same key: tunnelled; the node behind, with another one, passes', async () => {
  let link: LinkCapture | undefined;
  const passed = await counted('p2', 'pass-unkeyed', async () => {
    link = await fetch(oldClient);
  });
  expect(passed).toBe(1);
  expect(synsTo(link, ORIGIN)).toMatchObject([
    { request: { hops: HOPS, mac: expect.any(Number) as number } },
  ]);
  expect(synAcksFrom(link, ORIGIN)).toMatchObject([
    { reply: { udpPort: 6080, mac: expect.any(Number) as number } },
  ]);
  expect(tunnelled(link).length).toBeGreaterThan(2);
  const { connections } = await chain.stats('p1');
  expect(connections.byReason).toMatchObject({ 'plain-no-reply': 1 });
});

test.each([
  ['no key', undefined],
  ['another key', lostClient],
])('a client with %s: every node passes it, at once, and it is plain TCP', async (_, file) => {
  let link: LinkCapture | undefined;
  const passed = await counted('p1', 'pass-unkeyed', async () => {
    link = await fetch(file);
  });
  expect(passed).toBe(1);
  expect(synsTo(link, ORIGIN).length).toBe(1);
  expect(synAcksFrom(link, ORIGIN)).toMatchObject([{ reply: undefined }]);
  expect(tunnelled(link)).toEqual([]);
});

test('a new key: nodes learn it first, then clients change, and nobody is left out meanwhile', async () => {
  const [program, launcher] = tpotNodeCommand;
  const reload = (): Promise<string> =>
    chain.host('p1').must(program, [launcher, 'reload', chain.net.nodeName('p1'), '--json']);
  keyFile('p1', 'next', 'old');
  const report = await reload();
  expect(JSON.parse(report)).toMatchObject({ reloaded: true, changes: [{ key: 'keys' }], needsRestart: [] });
  for (const value of Object.values(secret)) expect(report).not.toContain(value.toString('hex'));
  for (const file of [oldClient, newClient]) expect(tunnelled(await fetch(file)).length).toBeGreaterThan(2);
  keyFile('p1', 'next');
  await reload();
  expect(tunnelled(await fetch(oldClient))).toEqual([]);
  expect(tunnelled(await fetch(newClient)).length).toBeGreaterThan(2);
});

test('a file that others may read is refused, by nodes and clients', async () => {
  const [program, launcher] = tpotNodeCommand;
  chmodSync(lostClient, 0o640);
  const run = await chain.host('c1').run(program, [launcher, 'run', '--key-file', lostClient, '--', 'true']);
  expect(run.code).not.toBe(0);
  expect(run.stderr).toMatch(/others than its owner may read it \(mode 0640\)[^]*chmod 600/);
  chmodSync(p1Keys, 0o644);
  const reload = await chain.host('p1').run(program, [launcher, 'reload', chain.net.nodeName('p1')]);
  expect(reload).toMatchObject({ code: 78 });
  expect(reload.stderr).toMatch(/others than its owner may read it/);
  chmodSync(lostClient, 0o600);
});

test('trace and doctor see nodes that require a key with it, and not without', async () => {
  const [program, launcher] = tpotNodeCommand;
  const ask = async (command: string, ...args: string[]): Promise<unknown> => {
    const { stdout } = await chain.host('c1').run(program, [launcher, command, '--json', ...args]);
    return JSON.parse(stdout);
  };
  const named = async (...args: string[]): Promise<string[]> =>
    ((await ask('trace', ORIGIN, ...args)) as Trace).hops.map(({ address }) => address);
  expect(await named()).toEqual([]);
  expect(await named('--key-file', newClient)).toEqual([chain.host('p1').address]);
  expect(await named('--key-file', foreignClient)).toEqual([chain.host('p2').address]);
  const optionCheck = async (...args: string[]): Promise<Check | undefined> =>
    ((await ask('doctor', '--toward', ORIGIN, ...args)) as Check[]).find(
      ({ name }) => name === 'toward-option',
    );
  expect(await optionCheck()).toMatchObject({ status: 'warn' });
  expect(await optionCheck('--key-file', newClient)).toMatchObject({
    status: 'ok',
    found: expect.stringContaining(chain.host('p1').address) as string,
  });
  for (const command of [
    ['trace', ORIGIN],
    ['doctor', '--toward', ORIGIN],
  ]) {
    const refused = await chain
      .host('c1')
      .run(program, [launcher, ...command, '--key-file', '/nonexistent/keys']);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('/nonexistent/keys');
  }
});

test('a reply that somebody on the path made up: dropped, and the connection is plain and right', async () => {
  // No keyed SYN gets beyond P1, so that what comes first is the false node's answer.
  const rules = `table ip tpot_test {
  chain forward {
    type filter hook forward priority 0; policy accept;
    tcp flags & (syn | ack) == syn tcp option 253 exists counter drop
  }
}
`;
  await chain.host('p1').must('nft', ['-f', '-'], { input: rules });
  const peer = chain.host('p1').spawn(process.execPath, [fixture('false-node.mjs'), 'to-c1', '198.18.1.1']);
  await peer.output(/listening/);
  const link = await fetch(lostClient);
  await peer.stop();
  await chain.host('p1').must('nft', ['delete', 'table', 'ip', 'tpot_test']);
  expect(peer.stdout()).toMatch(/answered/);
  expect(synsTo(link, ORIGIN).map(({ request }) => request?.hops)).toEqual([HOPS, undefined]);
  expect(synAcksFrom(link, ORIGIN).map(({ reply }) => reply !== undefined)).toEqual([true, false]);
  expect(tunnelled(link)).toEqual([]);
});
