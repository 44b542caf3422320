/** `tpot-node doctor` in namespaces that are well, and in ones that are not. */
import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { Check } from '../doctor/check.js';
import { nftFindings } from '../doctor/firewall.js';
import { tryCommand } from '../host/exec.js';
import { ownCgroup } from '../host/mounts.js';
import { tpotNodeCommand } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, ORIGIN, ORIGIN_V6, standChain } from './chain.js';

afterEach(closeAll);

interface Diagnosis {
  readonly code: number | undefined;
  readonly checks: Readonly<Record<string, Check>>;
}

async function doctor(chain: Chain, host: string, ...args: string[]): Promise<Diagnosis> {
  const [program, launcher] = tpotNodeCommand;
  const { code, stdout, stderr } = await chain
    .host(host)
    .run(program, [launcher, 'doctor', '--json', ...args]);
  if (stdout === '') throw new Error(stderr);
  const checks = JSON.parse(stdout) as Check[];
  expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length);
  for (const { status, mend } of checks) expect(mend === null).toBe(status === 'ok');
  expect(code).toBe(checks.some(({ status }) => status === 'fail') ? 1 : 0);
  return { code, checks: Object.fromEntries(checks.map((check) => [check.name, check])) };
}

/** A table with one chain; rules one per line. */
const table = (hook: string, policy: string, ...rules: string[]): string => `table inet seen {
  chain c {
    type filter hook ${hook} priority 0; policy ${policy};
    ${rules.join('\n    ')}
  }
}`;

test('a path with a node: everything is tried, nothing fails, nothing stays', async () => {
  const chain = await standChain({ v6: true });
  const leftovers = (): string[] =>
    readdirSync(ownCgroup()).filter((name) => /^tpot-(probe|doctor)/.test(name));
  const before = leftovers();
  const { code, checks } = await doctor(chain, 'c1', '--toward', ORIGIN);
  expect(code).toBe(0);
  for (const name of ['privileges', 'kernel', 'header-options', 'sk-assign', 'socket-storage', 'programs']) {
    expect(checks[name]?.status).toBe('ok');
  }
  for (const name of ['cgroup-attach', 'interface-attach', 'cgroup2', 'bpffs', 'rp-filter', 'own-address']) {
    expect(checks[name]?.status).toBe('ok');
  }
  expect(checks['interface:to-p1']?.found).toContain('MTU 1500');
  expect(checks['firewall']?.status).toBe('ok');
  expect(checks['toward-connect']?.status).toBe('ok');
  expect(checks['toward-option']).toMatchObject({
    status: 'ok',
    found: expect.stringContaining(chain.host('p1').address) as string,
  });
  expect(checks['toward-tunnel']?.status).toBe('ok');
  const six = await doctor(chain, 'c1', '--toward', `[${ORIGIN_V6}]:80`);
  // The node announces its one address, which is IPv4: it takes no IPv6.
  expect(six.checks['toward-option']?.status).toBe('warn');
  // Others try, too, at the same time; what is ours would stay.
  const left = leftovers().filter((name) => !before.includes(name));
  await waitFor(() => left.every((name) => !leftovers().includes(name)), { what: 'nothing to stay' });
  const links = JSON.parse(await chain.host('c1').must('tc', ['-j', 'qdisc', 'show'])) as { kind: string }[];
  expect(links.filter(({ kind }) => kind === 'clsact')).toEqual([]);
  // No node was made to open a connection for it.
  expect((await chain.stats('p1')).connections.byReason).toEqual({ taken: 1, trace: 1 });
});

test('for people: a line a check, and below it what to do', async () => {
  const chain = await standChain({ nodes: {} });
  await chain.host('p1').must('sysctl', ['-qw', 'net.ipv4.conf.to-c1.rp_filter=1']);
  const [program, launcher] = tpotNodeCommand;
  const said = await chain.host('p1').must(program, [launcher, 'doctor', '--toward', ORIGIN]);
  expect(said).toMatch(/^ok {4}privileges +root/);
  expect(said).toMatch(/\nwarn {2}rp-filter +.*strict on to-c1.*\n +mend: sysctl -w .*to-c1\.rp_filter=2\n/);
  expect(said).toMatch(/\nwarn {2}toward-option +.*no node takes it.*\n +mend: /);
  expect(said).toMatch(/\n\d+ ok, \d+ to be warned of, 0 failed\n$/);
});

test('without root it says so and tries nothing', async () => {
  const chain = await standChain({ nodes: {} });
  const [program, launcher] = tpotNodeCommand;
  const args = [
    '--reuid',
    '65534',
    '--clear-groups',
    // Permission to read this checkout, wherever it lies.
    '--inh-caps',
    '+dac_read_search',
    '--ambient-caps',
    '+dac_read_search',
    program,
    launcher,
    'doctor',
    '--json',
    '--toward',
    ORIGIN,
  ];
  const { code, stdout } = await chain.host('c1').run('setpriv', args);
  const checks = JSON.parse(stdout) as Check[];
  expect(code).toBe(1);
  expect(checks.filter(({ status }) => status === 'fail').map(({ name }) => name)).toContain('privileges');
  expect(checks.find(({ name }) => name === 'toward-connect')?.status).toBe('warn');
});

describe('a path that is not well', () => {
  test('the option is dropped', async () => {
    const chain = await standChain({ nodes: { p2: {} } });
    await chain.host('p1').must('nft', [table('forward', 'accept', 'tcp option 253 exists drop')]);
    const { code, checks } = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(code).toBe(1);
    expect(checks['toward-connect']?.status).toBe('ok');
    expect(checks['toward-option']).toMatchObject({
      status: 'fail',
      found: expect.stringContaining('drops the option') as string,
    });
  });

  test.each([
    ['protocol 4', ['ip protocol 4 drop'], 'warn', 'tunnels go on in UDP'],
    ['protocol 4 and UDP', ['ip protocol 4 drop', 'udp dport 6080 drop'], 'fail', 'and so is UDP'],
  ])('dropped: %s', async (_, rules, status, found) => {
    const chain = await standChain({ nodes: { p2: {} } });
    await chain.host('p1').must('nft', [table('forward', 'accept', ...rules)]);
    const { checks } = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(checks['toward-option']?.status).toBe('ok');
    expect(checks['toward-tunnel']).toMatchObject({
      status,
      found: expect.stringContaining(found) as string,
    });
  });

  test('nobody listens; nobody answers; no route', async () => {
    const chain = await standChain({ nodes: {} });
    const refused = await doctor(chain, 'c1', '--toward', `${ORIGIN}:81`);
    expect(refused.checks['toward-connect']).toMatchObject({ status: 'fail' });
    expect(refused.checks['toward-connect']?.found).toContain('refused');
    await chain.host('origin').must('nft', [table('input', 'accept', 'tcp dport 80 drop')]);
    const silent = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(silent.checks['toward-connect']?.found).toContain('no answer');
    await chain.host('c1').must('ip', ['route', 'delete', 'default']);
    const lost = await doctor(chain, 'c1', '--toward', ORIGIN);
    expect(lost.checks['toward-connect']?.found).toContain('ENETUNREACH');
  });
});

const RULES: readonly [hook: string, policy: string, rules: string[], finding: string | undefined][] = [
  ['forward', 'accept', ['ip protocol 4 drop'], 'protocol 4 or 41'],
  ['forward', 'accept', ['meta l4proto { 4, 41, 47 } drop'], 'protocol 4 or 41'],
  ['forward', 'accept', ['ip6 nexthdr 41 reject'], 'protocol 4 or 41'],
  ['forward', 'accept', ['meta l4proto != { 6, 17, 1 } drop'], 'protocol 4 or 41'],
  ['forward', 'accept', ['udp dport { 53, 6000-6100 } drop'], 'UDP port 6080'],
  ['forward', 'accept', ['udp dport 53 drop'], undefined],
  ['forward', 'accept', ['tcp option 253 exists drop'], 'TCP options it does not know'],
  ['forward', 'accept', ['ct state invalid drop'], 'state invalid'],
  ['input', 'accept', ['ct state invalid drop'], undefined],
  ['forward', 'drop', ['ct state established,related accept', 'iifname "to-c1" accept'], 'state invalid'],
  [
    'forward',
    'drop',
    ['ct state established,related accept', 'meta l4proto { 4, 41 } accept'],
    'state invalid',
  ],
  ['forward', 'drop', ['tcp dport 80 accept'], 'accepts no protocol 4'],
  ['input', 'drop', ['tcp dport 22 accept'], 'accepts no mark 0x54000000'],
  ['forward', 'drop', ['meta l4proto { 4, 6 } accept'], undefined],
  ['forward', 'drop', ['accept'], undefined],
  ['input', 'accept', ['tcp dport 22 accept', 'counter drop'], 'accepts no mark 0x54000000'],
  ['forward', 'accept', ['meta l4proto { 4, 6 } accept', 'reject'], undefined],
  ['input', 'drop', ['meta mark and 0xff000000 == 0x54000000 accept'], undefined],
  [
    'forward',
    'accept',
    ['tcp dport 25 drop', 'tcp option maxseg size 1-500 drop', 'ip protocol 4 accept'],
    undefined,
  ],
];

test('rules as nft lists them', async () => {
  const chain = await standChain({ nodes: {} });
  const p1 = chain.host('p1');
  for (const [hook, policy, rules, finding] of RULES) {
    await p1.must('nft', [table(hook, policy, ...rules)]);
    const found = nftFindings(await p1.must('nft', ['-j', 'list', 'ruleset'])).map(({ what }) => what);
    const what = `${hook}, policy ${policy}: ${rules.join('; ')}`;
    expect(found, what).toHaveLength(finding === undefined ? 0 : 1);
    if (finding !== undefined) expect(found[0], what).toContain(finding);
    await p1.must('nft', ['delete', 'table', 'inet', 'seen']);
  }
  // The same through the command, and what takes one of them back.
  await p1.must('nft', [table('forward', 'accept', 'ct state invalid drop')]);
  expect((await doctor(chain, 'p1')).checks['firewall']).toMatchObject({
    status: 'warn',
    mend: expect.stringMatching(/^sysctl -w net\.netfilter\.nf_conntrack_tcp_be_liberal=1/) as string,
  });
  await p1.must('sysctl', ['-qw', 'net.netfilter.nf_conntrack_tcp_be_liberal=1']);
  expect((await doctor(chain, 'p1')).checks['firewall']?.status).toBe('ok');
});

test('a node whose input chain drops its connections: seen, and mended as doctor says', async () => {
  const chain = await standChain({ nodes: { p1: {} } });
  const p1 = chain.host('p1');
  await p1.must('nft', [
    'table inet filter { chain input { type filter hook input priority 0; policy drop; }; }',
  ]);
  expect((await doctor(chain, 'c1', '--toward', ORIGIN)).checks['toward-option']?.status).toBe('fail');
  const mend = (await doctor(chain, 'p1')).checks['firewall']?.mend ?? '';
  await p1.must('sh', ['-c', /nft insert rule .*$/.exec(mend)?.[0] ?? 'false']);
  const after = await doctor(chain, 'c1', '--toward', ORIGIN);
  expect([after.checks['toward-option']?.status, after.checks['toward-tunnel']?.status]).toEqual([
    'ok',
    'ok',
  ]);
});

test('a link that is too narrow, and no address at all', async () => {
  const chain = await standChain({ nodes: {}, v6: true });
  await chain.host('c1').must('ip', ['link', 'set', 'to-p1', 'mtu', '500']);
  const narrow = await doctor(chain, 'c1');
  expect(narrow.checks['interface:to-p1']).toMatchObject({ status: 'warn' });
  await chain.host('c1').must('ip', ['address', 'flush', 'dev', 'to-p1']);
  expect((await doctor(chain, 'c1')).checks['own-address']).toMatchObject({ status: 'fail' });
});

test('with cgroup v1 alone: nothing is mounted over it, and nothing stays mounted', async () => {
  const [program, launcher] = tpotNodeCommand;
  const script = `
    awk '$3 ~ /^cgroup/ { print $2 }' /proc/self/mounts | xargs -n 1 umount -l
    mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory || exit 9
    "$@" >&2
    ls /sys/fs/cgroup; grep -c cgroup2 /proc/self/mounts`;
  // In a mount namespace of its own, so that the machine's stays as it is.
  const args = ['-m', 'sh', '-c', script, 'sh', program, launcher, 'doctor', '--json'];
  const { stdout, stderr } = await tryCommand('unshare', args);
  expect(stdout).toBe('memory\n0\n');
  const checks = JSON.parse(stderr) as Check[];
  const named = (name: string): Check | undefined => checks.find((check) => check.name === name);
  expect(named('cgroup2')).toMatchObject({
    status: 'warn',
    found: expect.stringContaining('not mounted') as string,
  });
  expect(named('cgroup-attach')?.status).toBe('ok');
});
