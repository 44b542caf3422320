/** What a node may once it runs, thread by thread, and that everything it does later still works. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CAP, capabilitiesOf, capabilitySet } from '../host/capabilities.js';
import { tpotNodeCommand } from '../netns/host.js';
import { socketPath } from '../node/admin.js';
import { neededCapabilities } from '../node/confine.js';
import { type Chain, closeAll, fixture, ORIGIN, standChain, traces } from './chain.js';

const RULES = [
  { match: { dport: [80] }, action: 'cache' },
  { match: { dport: [22] }, action: 'splice' },
  { action: 'relay' },
];

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({
    nodes: { p1: { edge: true, rules: RULES }, p2: { rules: [{ match: { dport: [80] }, action: 'relay' }] } },
  });
});
afterAll(closeAll);

const expected = (): bigint => {
  const { netAdmin, netRaw, sysNice, bpf, perfmon, dacOverride } = CAP;
  const file = `${chain.net.directory}/p1.yaml`;
  const needed = neededCapabilities({ source: 'node' }, [process.execPath, file]);
  // What follows from the modes of this machine's folders is not what is tested here, beyond that it is no more.
  expect(
    needed & ~capabilitySet([netAdmin, netRaw, sysNice, bpf, perfmon, dacOverride, CAP.dacReadSearch]),
  ).toBe(0n);
  return needed;
};

test('every thread has the few capabilities that are needed, can get no others, and no new privileges', () => {
  const { pid } = chain.net.node('p1');
  const tasks = readdirSync(`/proc/${pid}/task`);
  expect(tasks.length).toBeGreaterThan(4);
  for (const task of tasks) {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    const found = capabilitiesOf(status);
    expect(found.effective & ~expected()).toBe(0n);
    expect(found.bounding).toBe(found.effective);
    expect(status).toMatch(/^CapPrm:\s*([0-9a-f]+)\nCapEff:\s*\1\nCapBnd:\s*\1\nCapAmb:\s*0+$/m);
    expect(status).toMatch(/^CapInh:\s*0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
  }
});

test('it still caches, splices, reloads, follows new interfaces, and hears root only', async () => {
  const node = chain.net.node('p1');
  for (const client of ['c1', 'c2']) {
    await chain.host(client).must('curl', ['-sSf', '-o', '/dev/null', `http://${ORIGIN}/bytes/1001`]);
  }
  expect(await chain.requests('/bytes/1001')).toHaveLength(1);

  const talker = chain
    .host('c1')
    .spawn(process.execPath, [fixture('talker.mjs'), ORIGIN, '22'], { label: 'talker' });
  await talker.while(async () => (await chain.conns('p1')).some(({ state }) => state === 'spliced'), {
    what: 'a splice',
  });
  await talker.stop();

  await chain.host('p1').must('ip', ['link', 'add', 'late0', 'type', 'veth', 'peer', 'name', 'late1']);
  await node.while(() => /event=interface-attached interface=late0/.test(node.stderr()), { what: 'late0' });

  const name = chain.net.nodeName('p1');
  const tpotNode = (...args: string[]) =>
    chain.host('p1').run(tpotNodeCommand[0], [tpotNodeCommand[1], ...args]);
  expect(await tpotNode('reload', name)).toMatchObject({ code: 0 });
  // A machine without CAP_SYS_RESOURCE has the same limit of open files before and after.
  expect(node.stderr().replaceAll(/^.*open-files-limit.*$/gm, '')).not.toMatch(
    /EPERM|EACCES|privileges-kept/,
  );

  const stranger = [
    '-u',
    'nobody',
    '--',
    'curl',
    '-sS',
    '--unix-socket',
    socketPath(name),
    'http://node/status',
  ];
  expect((await chain.host('p1').run('runuser', stranger)).code).toBe(7); // CURLE_COULDNT_CONNECT
});

// A container may have no tun device.
test.skipIf(!existsSync('/dev/net/tun'))(
  'it follows one without an Ethernet header, whose programs are loaded only then',
  async () => {
    const node = chain.net.node('p1');
    await chain.host('p1').must('ip', ['tuntap', 'add', 'late2', 'mode', 'tun']);
    await node.while(() => /event=interface-attached interface=late2/.test(node.stderr()), { what: 'late2' });
  },
);

test("the node's own listener serves nobody that no SYN of ours led to it", async () => {
  const listening = await chain.host('p1').must('ss', ['-Hltn4']);
  const port = /127\.0\.0\.1:(\d+)/.exec(listening)?.[1] ?? '';
  const said = await chain.host('p1').run('curl', ['-sS', '-m', '10', `http://127.0.0.1:${port}/`]);
  // CURLE_GOT_NOTHING, or the reset, which curl may see before it sees that it was connected.
  expect([7, 52, 56]).toContain(said.code);
  expect(await chain.counter('p1', 'drop-accept-unknown')).toBe(1);
});

test('`down` removes everything', async () => {
  const name = chain.net.nodeName('p2');
  const down = await chain.host('p2').run(tpotNodeCommand[0], [tpotNodeCommand[1], 'down', '--name', name]);
  expect(down).toMatchObject({ code: 0 });
  expect(await traces(chain.net, 'p2')).toEqual([]);
});
