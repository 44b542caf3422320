/** `tpot-node doctor` in namespaces that are well, and in ones that are not. */
import { readdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import type { Check } from '../doctor/check.js';
import { nftFindings } from '../doctor/firewall.js';
import { tryCommand } from '../host/exec.js';
import { ownCgroup } from '../host/mounts.js';
import { tpotNodeCommand } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, ORIGIN, ORIGIN_V6, standChain } from './chain.js';
import { doctor, table } from './diagnosis.js';

afterEach(closeAll);

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
