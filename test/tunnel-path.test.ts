/** Paths on which no tunnel passes (udp-tunnel.test.ts: IP in IP does not), or not in full size: the connection works all the same. */
import { afterAll, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand } from '../netns/host.js';
import type { TopologySpec } from '../netns/spec.js';
import type { Topology } from '../netns/topology.js';
import { closeAll, HOPS, ORIGIN, ORIGIN_V6, stand, startOrigin } from './chain.js';
import { synsTo, tunnelled } from './packets.js';
import { askNode } from '../node/admin-client.js';
import type { NodeStatus } from '../node/node.js';

const PATH = '/bytes/300007';
const UPLOAD = 3_000_000;

/** c1 – r1 – r2 – p1 – origin; what happens between r1 and r2 is what the test is about. */
function spec(middleMtu?: number): TopologySpec {
  const v6 = true;
  const hosts = ['c1', 'r1', 'r2', 'p1', 'origin'] as const;
  const roles = { c1: 'client', r1: 'router', r2: 'router', p1: 'node', origin: 'origin' } as const;
  return {
    hosts: hosts.map((name) => ({ name, role: roles[name] })),
    links: [
      { between: ['c1', 'r1'], v6 },
      { between: ['r1', 'r2'], v6, ...(middleMtu === undefined ? {} : { mtu: middleMtu }) },
      { between: ['r2', 'p1'], v6 },
      { between: ['p1', 'origin'], v6, addresses: ['192.0.2.1/24', `${ORIGIN}/24`] },
    ],
    routes: [
      ...['default', '::/0'].flatMap((to) => [
        { host: 'c1', to, via: 'r1' },
        { host: 'r1', to, via: 'r2' },
        { host: 'r2', to, via: 'p1' },
        { host: 'origin', to, via: 'p1' },
      ]),
      ...['198.18.0.0/15', '2001:db8:1::/64', '2001:db8:2::/64'].flatMap((to) => [
        { host: 'r2', to, via: 'r1' },
        { host: 'p1', to, via: 'r2' },
      ]),
    ],
    nodes: [
      {
        host: 'p1',
        config: {
          address: ['198.18.3.1', '2001:db8:3::1'],
          rules: [{ match: { dport: [80] }, action: 'cache' }, { action: 'relay' }],
        },
      },
    ],
  };
}

async function standPath(middleMtu?: number): Promise<Topology> {
  const net = await stand(spec(middleMtu));
  await Promise.all([startOrigin(net), net.startNodes()]);
  return net;
}

function curl(net: Topology, args: readonly string[]): Promise<string> {
  const shim = [
    ...tpotNodeCommand,
    'run',
    '--hops',
    String(HOPS),
    '--',
    'curl',
    '-sSf',
    '--max-time',
    '60',
    ...args,
  ];
  return net.host('c1').must('bash', ['-c', 'set -o pipefail; "$@" | sha256sum', 'bash', ...shim]);
}

const counters = async (net: Topology): Promise<Record<string, number>> =>
  ((await askNode(net.nodeName('p1'), '/status')) as NodeStatus).counters;

async function refuseTunnels(net: Topology, how: string): Promise<void> {
  const rules = `table inet blocked { chain forward { type filter hook forward priority 0;
    ip protocol 4 ${how}
    ip6 nexthdr 41 ${how}
    udp dport 6080 ${how}
    }
  }
`;
  await net.host('r1').must('nft', ['-f', '-'], { input: rules });
}

afterAll(closeAll);

// Each waits until a node gives the tunnel up: side by side.
test.concurrent.each([
  ['dropped in silence', 'drop', ORIGIN],
  ['refused with ICMP', 'reject with icmpx admin-prohibited', ORIGIN],
  ['dropped in silence, IPv6', 'drop', `[${ORIGIN_V6}]`],
])('tunnels are %s: the connection goes on plain, through the node', async (_, how, origin) => {
  const net = await standPath();
  await refuseTunnels(net, how);
  const capture = await startCapture(net, { links: ['c1-r1'] });
  expect(await curl(net, [`http://${origin}${PATH}`])).toContain(contentHash(PATH, 300_007));
  const links = await capture.stop();
  expect(tunnelled(links.get('c1-r1')).length).toBeGreaterThan(0);
  expect(synsTo(links.get('c1-r1'), origin.replace(/[[\]]/g, '')).length).toBe(1);
  expect(await counters(net)).toMatchObject({ 'taken-reply-stripped': 1 });
});

test.each([
  ['IPv4', ORIGIN],
  // IPv6 cannot be told to send less than 1280 bytes, so its segments must fit with the outer header from the start.
  ['IPv6', `[${ORIGIN_V6}]`],
])('a narrow link inside the tunnel: the upload arrives whole, %s', async (_, origin) => {
  const net = await standPath(1280);
  const capture = await startCapture(net, { links: ['c1-r1'] });
  const bytes = `head -c ${UPLOAD} /dev/zero`;
  const direct = await net.host('c1').must('sh', ['-c', `${bytes} | sha256sum`]);
  const echoed = await net
    .host('c1')
    .must('sh', [
      '-c',
      `${bytes} | ${tpotNodeCommand.join(' ')} run -- curl -sSf --max-time 60 --data-binary @- http://${origin}/echo | sha256sum`,
    ]);
  expect(echoed).toBe(direct);
  const links = await capture.stop();
  expect(tunnelled(links.get('c1-r1')).length).toBeGreaterThan(0);
});
