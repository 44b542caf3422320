/**
 * Stateful packet filters between a source and its node: what acknowledges an answer is in the tunnel, where they do not
 * look, so they drop the answer once the first window is full. It goes on in a return tunnel, to clients and to nodes.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { setMiddlebox } from '../netns/middlebox.js';
import { grownSince, ORIGIN_V6, shell, standPath } from './blocked-path.js';
import { type Chain, closeAll, ORIGIN } from './chain.js';

const LENGTH = 3_000_017;
const RULES = [{ match: { dport: [9000] }, action: 'splice' }, { action: 'relay' }];

/** What the filter of an office lets through: what was begun inside, and nothing that it takes for no part of that. */
const BEGUN_INSIDE = (inside: string): string[] => [
  'ct state established,related accept',
  `iifname "${inside}" ct state new accept`,
  'meta l4proto ipv6-icmp accept', // neighbour discovery
  'drop',
];
const NOTHING_INVALID = ['ct state invalid drop'];
const NO_IP_IN_IP = ['meta l4proto 4 drop', 'meta l4proto 41 drop'];

let chain: Chain;
beforeAll(async () => {
  chain = await standPath({ nodes: { p1: { rules: RULES }, p2: { rules: RULES } } });
});
afterAll(closeAll);

/** For a shell: fetches the answer, and fails when it is not what the origin has. */
function fetched(host: string): string {
  const path = `/bytes/${LENGTH}`;
  const url = `http://${host.includes(':') ? `[${host}]` : host}${path}`;
  const body = `$(curl -gsSf --max-time 60 ${url} | sha256sum | cut -d " " -f 1)`;
  return `[ ${body} = ${contentHash(path, LENGTH)} ]`;
}

const remembered = async (node: string): Promise<string[]> =>
  (await chain.status(node)).returnSources.map(({ source }) => source);

async function interfaceTowards(router: string, host: string): Promise<string> {
  const route = await chain.host(router).must('ip', ['-o', 'route', 'get', host]);
  return /dev (\S+)/.exec(route)?.[1] ?? '';
}

test.each([
  ['drops what is invalid, IPv4', ORIGIN, '198.18.1.2', () => NOTHING_INVALID],
  ['lets in what was begun inside, IPv6', ORIGIN_V6, '2001:db8:1::', BEGUN_INSIDE],
  [
    'drops what is invalid, and IP in IP, IPv4',
    ORIGIN,
    '198.18.1.2',
    () => [...NO_IP_IN_IP, ...NOTHING_INVALID],
  ],
])(
  'a filter before the client that %s: a long answer arrives, and the next one begins in its tunnel',
  async (_, origin, client, rules) => {
    await setMiddlebox(chain.net, 'r1', rules(await interfaceTowards('r1', '198.18.1.2')));
    const before = (await chain.status('p1')).counters;
    await chain.must('c1', shell(fetched(origin), fetched(origin)), { hops: 1 });
    const grown = await grownSince(chain, 'p1', before);
    expect(grown['encap-ok'] ?? grown['encap-udp-ok']).toBeGreaterThan(10);
    expect((await remembered('p1')).some((source) => source.startsWith(client))).toBe(true);
  },
);
