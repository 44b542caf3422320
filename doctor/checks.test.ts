import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import type { ProbeAnswer } from '../client-shim/prober.js';
import { iptablesFindings, nftFindings } from './firewall.js';
import { checkInterface, checkOwnAddress } from './interfaces.js';
import { checkFeature, checkPrivileges, checkRelease } from './kernel.js';
import { checkSettings } from './settings.js';
import { checkOption } from './toward.js';

describe('kernel', () => {
  it.each([
    ['6.18.44-fc-v657', 'ok'],
    ['5.15.0', 'ok'],
    ['6.1.0-56-amd64', 'ok'],
    ['5.14.21', 'fail'],
    ['4.19.0-5.15', 'fail'],
  ])('%s is %s', (text, status) => {
    const check = checkRelease(text);
    expect(check).toMatchObject({ status, found: `Linux ${text}` });
    if (status === 'fail') expect(check.mend).toContain('5.15');
  });

  it('a missing feature names the first kernel that has it', () => {
    const feature = { name: 'sk-assign', what: 'bpf_sk_assign', minimumKernel: '5.7' };
    expect(checkFeature({ ...feature, present: true })).toMatchObject({ status: 'ok', mend: null });
    expect(checkFeature({ ...feature, present: false })).toMatchObject({
      status: 'fail',
      found: 'bpf_sk_assign: missing',
      mend: expect.stringContaining('Linux 5.7 or later') as string,
    });
    expect(checkFeature({ ...feature, present: undefined }).status).toBe('fail');
  });

  it('privileges: root with what it takes', () => {
    const status = (capabilities: string): string => `Name:\tnode\nCapEff:\t${capabilities}\n`;
    expect(checkPrivileges(0, status('000001ffffffffff')).status).toBe('ok');
    expect(checkPrivileges(1000, status('0000000000000000'))).toMatchObject({ status: 'fail' });
    const container = checkPrivileges(0, status('00000000a80425fb'));
    expect(container.found).toBe('root without CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF');
    expect(container.mend).toContain('--cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add BPF');
  });
});

describe('settings', () => {
  const good: Readonly<Record<string, string>> = {
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/eth0/rp_filter': '0',
    'ipv4/ip_forward': '1',
    'ipv6/conf/all/forwarding': '1',
    'ipv4/conf/all/accept_local': '0',
    'ipv4/tcp_syncookies': '1',
    'ipv4/tcp_max_syn_backlog': '512',
    'core/somaxconn': '4096',
  };
  const checked = (changes: Record<string, string>) => {
    const values = { ...good, ...changes };
    const checks = checkSettings(['eth0'], (path) => values[path]);
    return Object.fromEntries(checks.map((check) => [check.name, check]));
  };

  it('that are good', () => {
    expect(Object.values(checked({})).map(({ status }) => status)).toEqual(['ok', 'ok', 'ok', 'ok']);
  });

  it.each<[string, string, Record<string, string>]>([
    ['rp-filter', 'net.ipv4.conf.eth0.rp_filter=2', { 'ipv4/conf/eth0/rp_filter': '1' }],
    ['rp-filter', 'net.ipv4.conf.all.rp_filter=2', { 'ipv4/conf/all/rp_filter': '1' }],
    ['ip-forward', 'net.ipv4.ip_forward=1', { 'ipv4/ip_forward': '0' }],
    ['syn-queue', 'net.ipv4.tcp_syncookies=1', { 'ipv4/tcp_syncookies': '0' }],
    ['syn-queue', 'net.core.somaxconn=4096', { 'core/somaxconn': '128' }],
  ])('%s warns, and says %s', (name, mend, changes) => {
    const check = checked(changes)[name];
    expect(check?.status).toBe('warn');
    expect(check?.mend).toContain(mend);
  });

  it('loose for all overrules strict for one', () => {
    const loose = { 'ipv4/conf/all/rp_filter': '2', 'ipv4/conf/eth0/rp_filter': '1' };
    expect(checked(loose)['rp-filter']?.status).toBe('ok');
  });
});

describe('interfaces', () => {
  const link = { name: 'eth0', index: 2, loopback: false, ethernet: true, mtu: 1500, addresses: [] };
  const ethtool =
    'tcp-segmentation-offload: on\ngeneric-segmentation-offload: off [fixed]\ngeneric-receive-offload: on\n';

  it('say what they are', () => {
    const check = checkInterface(link, ethtool);
    expect(check).toMatchObject({ name: 'interface:eth0', status: 'ok' });
    expect(check.found).toBe(
      'Ethernet; MTU 1500: 1432 bytes a segment in an IPv4 tunnel; tso on, gso off, gro on',
    );
    expect(checkInterface({ ...link, ethernet: false }, undefined).found).toMatch(
      /^no Ethernet header.*ethtool/,
    );
  });

  it('need what every host must take; segments in tunnels fit that', () => {
    const six = [ip('2001:db8::1')];
    expect(checkInterface({ ...link, mtu: 1279 }, ethtool).status).toBe('ok');
    expect(checkInterface({ ...link, mtu: 1279, addresses: six }, ethtool).status).toBe('warn');
    expect(checkInterface({ ...link, mtu: 1280, addresses: six }, ethtool).status).toBe('ok');
    expect(checkInterface({ ...link, mtu: 1000, addresses: [ip('fe80::1')] }, ethtool).status).toBe('ok');
    expect(checkInterface({ ...link, mtu: 575 }, ethtool).mend).toContain('ip link set eth0 mtu 576');
  });

  it('an address to announce', () => {
    expect(checkOwnAddress({ 4: ip('198.18.0.1') })).toMatchObject({ status: 'ok', found: '198.18.0.1' });
    expect(checkOwnAddress({}).status).toBe('fail');
  });
});

describe('iptables rules', () => {
  it.each([
    '-A FORWARD -p ipencap -j DROP',
    '-A FORWARD -p 4 -j REJECT --reject-with icmp-port-unreachable',
    '-A FORWARD -p tcp -m tcp --tcp-option 253 -j DROP',
    '-A FORWARD -p udp -m udp --dport 6080 -j DROP',
    '-A FORWARD -m conntrack --ctstate INVALID -j DROP',
  ])('%s', (line) => {
    const found = iptablesFindings(`*filter\n${line}\nCOMMIT\n`);
    expect(found.map(({ what }) => what)).toEqual([`iptables: ${line}`]);
    expect(found[0]?.mend).toContain(line.includes('INVALID') ? 'be_liberal=1' : 'Let IP protocols 4');
  });

  it('others are left alone', () => {
    const saved =
      ':FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp --dport 25 -j DROP\n-A FORWARD -p ipencap -j ACCEPT\n';
    expect(iptablesFindings(saved)).toEqual([]);
  });
});

it('no nftables rules, no findings', () => {
  expect(nftFindings('{"nftables":[{"metainfo":{"version":"1.0.6"}}]}')).toEqual([]);
});

it.each([
  ['reply-none', 'warn'],
  ['request-omitted-retries', 'fail'],
  ['request-omitted-untrusted', 'fail'],
  ['request-omitted-local', 'warn'],
])('an answer with %s is a %s', (reason, status) => {
  const answer: ProbeAnswer = {
    asked: true,
    reason,
    node: undefined,
    capabilities: 0,
    error: undefined,
    milliseconds: 1,
    localPort: 1,
  };
  expect(checkOption(answer)).toMatchObject({ name: 'toward-option', status });
});
