/** A configuration that is read again while the node runs, lists of what it never takes, and one node for an address. */
import { chmodSync, chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand, type RunResult } from '../netns/host.js';
import { type Chain, closeAll, ORIGIN, standChain } from './chain.js';

const GATED = 4 * 1024 * 1024;
const BASE = { edge: true, rules: [{ action: 'relay' }] };

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({ nodes: { p1: BASE } });
});
afterAll(closeAll);

const inP1 = (...args: string[]): Promise<RunResult> =>
  chain.host('p1').run(tpotNodeCommand[0], [tpotNodeCommand[1], ...args]);
const reload = (...flags: string[]): Promise<RunResult> => inP1('reload', chain.net.nodeName('p1'), ...flags);
const file = (name: string): string => join(chain.net.directory, name);

/** Writes P1's configuration anew, with what stands in `more` above what it was started with. */
function configure(more: Record<string, unknown>): void {
  const name = chain.net.nodeName('p1');
  writeFileSync(
    file('p1.yaml'),
    JSON.stringify({ name, address: '198.18.1.1', drainTimeout: '1s', ...BASE, ...more }),
  );
}

const fetch = (): Promise<string> =>
  chain.host('c1').must('curl', ['-sSf', '-m', '20', '-o', '/dev/null', `http://${ORIGIN}/private/x`]);

/** What one fetch of c1 counted. */
async function counted(code: string): Promise<number> {
  const before = await chain.counter('p1', code);
  await fetch();
  return (await chain.counter('p1', code)) - before;
}

test('a bad file changes nothing and says why; a good one holds for new connections and harms no other', async () => {
  const out = file('gated');
  const download = chain.host('c1').spawn('curl', ['-sSN', '-o', out, `http://${ORIGIN}/gated/${GATED}`]);
  await download.while(async () => ((await chain.conns('p1'))[0]?.bytesOut ?? 0) >= GATED / 2, {
    what: 'half the download',
  });

  configure({ rules: [{ action: 'pass' }], hops: 999 });
  const refused = await reload();
  expect(refused).toMatchObject({ code: 78, stdout: '' });
  expect(refused.stderr).toMatch(/^error: \S+p1\.yaml:1:\d+: `hops`: 999 is not valid/);
  expect(chain.net.node('p1').stderr()).toMatch(/event=reload-refused .*hops/);
  expect(await counted('taken-edge')).toBe(1);

  writeFileSync(file('never.list'), `# ours\nto 192.0.2.0/25 80 # the origin\nfrom 2001:db8::/32\n`);
  configure({ bypass: { files: ['never.list'], to: ['* 25'] }, hops: 3, cache: { memory: '1MiB' } });
  const report = await reload('--json');
  expect(report).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(report.stdout)).toMatchObject({
    reloaded: true,
    changes: [
      {
        key: 'bypass',
        removed: [],
        added: ['to 0.0.0.0/0 25', 'to ::/0 25', 'to 192.0.2.0/25 80', 'from 2001:db8::/32'],
      },
      { key: 'hops' },
    ],
    needsRestart: [{ key: 'cache.memory', removed: ['256MiB'], added: ['1MiB'] }],
  });
  expect(chain.net.node('p1').stderr()).toMatch(/event=config-changed key=bypass .*192\.0\.2\.0\/25 80/);
  expect(chain.net.node('p1').stderr()).toMatch(/event=needs-restart key=cache\.memory/);
  expect(await counted('pass-bypass')).toBe(1);

  await chain.host('p2').must('curl', ['-sSf', `http://${ORIGIN}/gate/open`]);
  expect(await download.exited).toMatchObject({ code: 0 });
  const sum = (await chain.host('c1').must('sha256sum', [out])).split(' ')[0];
  expect(sum).toBe(contentHash(`/gated/${GATED}`, GATED));
});

test('SIGHUP reads it again; the most specific prefix and its port decide; without the list it is taken again', async () => {
  const node = chain.net.node('p1');
  const hangUp = async (more: Record<string, unknown>): Promise<void> => {
    configure(more);
    const times = (): number => node.stderr().split('event=reloaded').length;
    const before = times();
    node.signal('SIGHUP');
    await node.while(() => times() > before, { what: 'the reload' });
  };
  await hangUp({ bypass: { to: ['192.0.2.0/24 22', '192.0.2.80/32 443'], from: ['198.18.2.0/24'] } });
  expect(await counted('taken-edge')).toBe(1);
  await hangUp({ bypass: { to: ['192.0.2.0/24 80', '192.0.2.80/32 443'] } });
  expect(await counted('pass-bypass')).toBe(1);
  await hangUp({ bypass: { from: ['198.18.1.0/24'] } });
  expect(await counted('pass-bypass')).toBe(1);
  await hangUp({ edge: false });
  expect(await counted('taken-edge')).toBe(0);
  await hangUp({});
  expect(await counted('taken-edge')).toBe(1);
});

test('a file that others may write, or that belongs to somebody else, is refused with what to do', async () => {
  configure({ bypass: { files: ['never.list'] } });
  chmodSync(file('p1.yaml'), 0o664);
  expect((await reload()).stderr).toMatch(
    /p1\.yaml: others .* may write it \(mode 0664\)\nhint: chmod go-w \S+p1\.yaml\n/,
  );
  chmodSync(file('p1.yaml'), 0o600);
  chownSync(file('never.list'), 65_534, 65_534);
  expect(await reload()).toMatchObject({ code: 78 });
  expect((await reload()).stderr).toMatch(
    /never\.list: belongs to user 65534.*\nhint: chown root \S+never\.list\n/,
  );
  chownSync(file('never.list'), 0, 0);
  writeFileSync(file('never.list'), 'to 192.0.2.0/33\nto 192.0.2.1\nvia 192.0.2.1\n');
  const { stderr } = await reload();
  expect(stderr.match(/never\.list:\d+:1: /g)).toEqual(['never.list:1:1: ', 'never.list:3:1: ']);
  configure({});
  expect(await reload()).toMatchObject({ code: 0 });
});

test('black holes are listed and cleared', async () => {
  const name = ['--name', chain.net.nodeName('p1')];
  expect(await inP1('black-holes', 'ls', ...name, '--json')).toMatchObject({ code: 0, stdout: '[]\n' });
  expect(await inP1('black-holes', 'clear', ...name)).toMatchObject({ code: 0, stdout: '0 cleared\n' });
  expect(await inP1('black-holes', 'clear', '192.0.2.9', ...name, '--json')).toMatchObject({
    code: 1,
    stdout: '{"cleared":0}\n',
  });
  expect(await inP1('black-holes', 'clear', 'nonsense', ...name)).toMatchObject({ code: 2 });
});

test('a second node with the same address is refused, whoever killed the first', async () => {
  const other = ['up', '--name', `q-${chain.net.id}`, '--address', '198.18.1.1'];
  const refused = await inP1(...other);
  expect(refused).toMatchObject({ code: 69, stdout: '' });
  expect(refused.stderr).toMatch(
    /the node p1-\w+ \(process \d+\) announces 198\.18\.1\.1 [^]*hint: Stop it with/,
  );
  await chain.net.node('p1').stop('SIGKILL');
  const second = chain.host('p1').spawn(tpotNodeCommand[0], [tpotNodeCommand[1], ...other], { label: 'q' });
  await second.output(/ready/);
  expect(readFileSync(second.stderrFile, 'utf8')).not.toMatch(/level=error/);
  await second.stop();
});
