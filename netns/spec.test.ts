import { describe, expect, test } from 'vitest';
import { configureLinks, createLinks, lossRules, routeCommands, spreadRules, sysctls } from './commands.js';
import { linkBetween, planLinks, type LinkSpec, type TopologySpec } from './spec.js';

const base: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'r1', role: 'router' },
    { name: 'a', role: 'node' },
    { name: 'b', role: 'node' },
  ],
  links: [
    { between: ['c1', 'r1'] },
    { between: ['r1', 'a'], loss: 1.5, mtu: 1400 },
    { between: ['r1', 'b'] },
  ],
};
const withLinks = (...links: LinkSpec[]): TopologySpec => ({ ...base, links });

describe('planning', () => {
  test('gives addresses and interface names by position', () => {
    const ends = planLinks(base).flatMap((link) => link.ends);
    expect(ends.map((end) => `${end.host} ${end.interface} ${end.address}/${end.length}`)).toEqual([
      'c1 to-r1 198.18.1.2/24',
      'r1 to-c1 198.18.1.1/24',
      'r1 to-a 198.18.2.2/24',
      'a to-r1 198.18.2.1/24',
      'r1 to-b 198.18.3.2/24',
      'b to-r1 198.18.3.1/24',
    ]);
  });

  test('tells two links between the same hosts apart', () => {
    const links = planLinks(withLinks({ between: ['a', 'b'] }, { between: ['b', 'a'], v6: true }));
    expect(links[1]?.ends.map((end) => end.interface)).toEqual(['to-a2', 'to-b2']);
    expect(links[1]?.ends.map((end) => end.v6)).toEqual(['2001:db8:2::2', '2001:db8:2::1']);
  });

  test.each<[string, TopologySpec, RegExp]>([
    ['an unknown host', withLinks({ between: ['c1', 'nobody'] }), /nobody is used but not declared/],
    ['a host twice', { hosts: [...base.hosts, ...base.hosts], links: [] }, /declared twice/],
    ['a name that is no name', { hosts: [{ name: 'A_1', role: 'client' }], links: [] }, /must match/],
    [
      'a name that is too long',
      { hosts: [{ name: 'abcdefghijk', role: 'client' }], links: [] },
      /must match/,
    ],
    [
      'an address twice',
      withLinks(
        { between: ['c1', 'r1'] },
        { between: ['a', 'b'], addresses: ['198.18.1.1/24', '198.18.9.1/24'] },
      ),
      /198.18.1.1 is given twice/,
    ],
    [
      'an address without a length',
      withLinks({ between: ['a', 'b'], addresses: ['198.18.9.2', '198.18.9.1/24'] }),
      /needs a prefix length/,
    ],
  ])('refuses %s', (_, spec, message) => {
    expect(() => planLinks(spec)).toThrow(message);
  });

  test('interface names fit IFNAMSIZ for the longest host names', () => {
    const long = { hosts: ['abcdefghij', 'bcdefghijk'].map((name) => ({ name, role: 'node' as const })) };
    const links = Array.from({ length: 9 }, (): LinkSpec => ({ between: ['abcdefghij', 'bcdefghijk'] }));
    const names = planLinks({ ...long, links }).flatMap((link) =>
      link.ends.map((end) => end.interface.length),
    );
    expect(Math.max(...names)).toBeLessThanOrEqual(15);
  });

  test('finds the link between two hosts from either side', () => {
    const links = planLinks(base);
    expect(linkBetween(links, 'a', 'r1').own.address).toBe('198.18.2.1');
    expect(linkBetween(links, 'a', 'r1').far.address).toBe('198.18.2.2');
    expect(() => linkBetween(links, 'a', 'b')).toThrow(/share no link/);
  });
});

describe('commands', () => {
  const links = planLinks(base);

  test('links are made inside their namespaces', () => {
    expect(createLinks(links, (host) => `ns-${host}`)[0]).toBe(
      'link add to-r1 netns ns-c1 type veth peer name to-c1 netns ns-r1',
    );
  });

  test('interfaces get addresses, MTU and come up', () => {
    expect(configureLinks('a', links, ['192.0.2.1/32'])).toEqual([
      'link set lo up',
      'addr add 192.0.2.1/32 dev lo',
      'addr add 198.18.2.1/24 dev to-r1',
      'link set to-r1 mtu 1400',
      'link set to-r1 up',
    ]);
  });

  test('one, several and alternating nexthops', () => {
    const to = '192.0.2.0/24';
    expect(routeCommands({ host: 'c1', to: 'default', via: 'r1' }, links)).toEqual([
      'route replace default via 198.18.1.1 dev to-r1',
    ]);
    expect(routeCommands({ host: 'r1', to, via: ['a', 'b'] }, links)).toEqual([
      `route replace ${to} nexthop via 198.18.2.1 dev to-a nexthop via 198.18.3.1 dev to-b`,
    ]);
    expect(routeCommands({ host: 'r1', to, via: ['a', 'b'], spread: 'packet' }, links)).toEqual([
      `route replace ${to} via 198.18.2.1 dev to-a`,
      'rule add fwmark 101 lookup 101',
      `route replace ${to} via 198.18.2.1 dev to-a table 101`,
      'rule add fwmark 102 lookup 102',
      `route replace ${to} via 198.18.3.1 dev to-b table 102`,
    ]);
    expect(spreadRules({ host: 'r1', to, via: ['a', 'b'], spread: 'packet' })).toContain(
      'numgen inc mod 2 offset 101',
    );
    expect(spreadRules({ host: 'r1', to, via: ['a', 'b'] })).toBeUndefined();
  });

  test('loss stands at both ends of a lossy link only', () => {
    expect(lossRules('a', links)).toMatch(/device "to-r1"[^]*numgen random mod 10000 < 150 counter drop/);
    expect(lossRules('r1', links)?.match(/chain/g)).toHaveLength(1);
    expect(lossRules('c1', links)).toBeUndefined();
  });

  test('only hosts in the middle forward, and IPv6 is off unless declared', () => {
    expect(sysctls('node', false)).toMatchObject({
      'net.ipv4.ip_forward': 1,
      'net.ipv6.conf.all.disable_ipv6': 1,
    });
    expect(sysctls('client', false)).not.toHaveProperty(['net.ipv4.ip_forward']);
    expect(sysctls('router', true)).toMatchObject({ 'net.ipv6.conf.all.forwarding': 1 });
  });
});
