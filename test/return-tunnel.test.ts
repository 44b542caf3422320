/**
 * Stateful packet filters between a source and its node: what acknowledges an answer is in the tunnel, where they do not
 * look, so they drop what the node sends. It goes on in a return tunnel, to clients and to nodes.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { setMiddlebox } from '../netns/middlebox.js';
import { grownSince, ORIGIN_V6, shell, standPath } from './blocked-path.js';
import { type Chain, closeAll, fixture, ORIGIN } from './chain.js';

const LENGTH = 3_000_017;
const RULES = [{ match: { dport: [9000] }, action: 'splice' }, { action: 'relay' }];
const CLIENTS = { IPv4: '198.18.1.2', IPv6: '2001:db8:1::2' } as const;
const ORIGINS = { IPv4: ORIGIN, IPv6: ORIGIN_V6 } as const;

/** What the filter of an office lets through: what was begun inside, and nothing that it takes for no part of that. */
const begunInside = (inside: string): string[] => [
  'ct state established,related accept',
  `iifname "${inside}" ct state new accept`,
  'meta l4proto 58 accept', // neighbour discovery
  'drop',
];
const NOTHING_INVALID = ['ct state invalid drop'];
const TRACKED = ['ct state invalid counter'];
const NO_IP_IN_IP = ['meta l4proto 4 drop', 'meta l4proto 41 drop'];

let chain: Chain;
beforeAll(async () => {
  chain = await standPath({ nodes: { p1: { rules: RULES }, p2: { rules: RULES } } });
});
afterAll(closeAll);

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** For a shell: fetches from the origin, or sends to it, and fails when not every byte is right. */
function fetched(host: string): string {
  const path = `/bytes/${LENGTH}`;
  const body = `$(curl -gsSf --max-time 60 http://${bracketed(host)}${path} | sha256sum | cut -d " " -f 1)`;
  return `[ ${body} = ${contentHash(path, LENGTH)} ]`;
}
function uploaded(host: string): string {
  const content = `${process.execPath} ${fixture('content.mjs')} up ${LENGTH}`;
  const url = `http://${bracketed(host)}/upload`;
  const told = `$(${content} | curl -gsSf --max-time 60 -H Expect: -X POST -T - ${url} | cut -d " " -f 1)`;
  return `[ ${told} = ${contentHash('up', LENGTH)} ]`;
}

const remembered = async (node: string): Promise<string[]> =>
  (await chain.status(node)).returnSources.map(({ source }) => source);

async function interfaceTowards(router: string, host: string): Promise<string> {
  const route = await chain.host(router).must('ip', ['-o', 'route', 'get', host]);
  return /dev (\S+)/.exec(route)?.[1] ?? '';
}

/** The node forgets whom it has sent to in tunnels. */
async function forget(): Promise<void> {
  for (const router of ['r1', 'r2']) await setMiddlebox(chain.net, router, []);
  for (const host of ['p1', 'p2']) {
    await chain.net.node(host).stop();
    await chain.host(host).must('ip', ['route', 'flush', 'cache']);
  }
  await chain.net.startNodes();
}

test.each([
  ['a long answer', 'drops what is invalid', 'IPv4', () => NOTHING_INVALID, fetched],
  ['a long upload', 'lets in what was begun inside', 'IPv6', begunInside, uploaded],
] as const)(
  '%s through a filter that %s, %s: it arrives, and what is next begins in its tunnel',
  async (_, __, family, rules, exchange) => {
    await setMiddlebox(chain.net, 'r1', rules(await interfaceTowards('r1', CLIENTS.IPv4)));
    const before = (await chain.status('p1')).counters;
    await chain.must('c1', shell(exchange(ORIGINS[family]), exchange(ORIGINS[family])), { hops: 1 });
    const grown = await grownSince(chain, 'p1', before);
    expect(grown).toMatchObject({ taken: 2, 'return-tunnel': 1, 'return-remembered': 1 });
    expect(grown['encap-ok']).toBeGreaterThan(10);
    expect(await remembered('p1')).toContain(CLIENTS[family]);
  },
);

test('where IP in IP does not pass either, the return tunnel is in UDP', async () => {
  await setMiddlebox(chain.net, 'r1', [...NO_IP_IN_IP, ...NOTHING_INVALID]);
  const before = (await chain.status('p1')).counters;
  await chain.must('c1', shell(fetched(ORIGIN), uploaded(ORIGIN)), { hops: 1 });
  const grown = await grownSince(chain, 'p1', before);
  expect(grown['encap-udp-ok']).toBeGreaterThan(10);
  expect(Object.keys(grown)).not.toContain('encap-ok');
});

test('between two nodes: the leg goes on, both ways, and `conns` tells', async () => {
  await forget();
  await setMiddlebox(chain.net, 'r2', NOTHING_INVALID);
  const before = (await chain.status('p2')).counters;
  await chain.must('c1', shell(uploaded(ORIGIN), fetched(ORIGIN)));
  expect(await grownSince(chain, 'p2', before)).toMatchObject({ 'return-tunnel': 1, 'return-remembered': 1 });
  expect(await remembered('p2')).toEqual(['198.18.3.2']);
  const open = chain.spawn('c1', ['bash', '-c', `exec 3<>/dev/tcp/${ORIGIN}/80; printf G >&3; cat <&3`], {
    label: 'open',
  });
  const returned = async (): Promise<boolean> =>
    (await chain.conns('p2')).some(({ returnTunnel }) => returnTunnel);
  await open.while(returned, { what: 'a connection in a return tunnel' });
  expect((await chain.conns('p1')).map(({ returnTunnel }) => returnTunnel)).toEqual([false]);
  await open.stop();
});

/** A bulk exchange that begins when both nodes have spliced its connection, and filters drop from then on. */
async function spliced(
  filters: readonly string[],
  first: 'G' | 'P',
  rest: string,
  then: string,
): Promise<string> {
  for (const router of ['r1', 'r2']) await setMiddlebox(chain.net, router, TRACKED);
  const fifo = join(chain.net.directory, 'go');
  const open = `rm -f ${fifo}; mkfifo ${fifo}; exec 3<>/dev/tcp/${ORIGIN}/9000; printf ${first} >&3`;
  const program = chain.spawn('c1', ['bash', '-c', `${open}; read -r go < ${fifo}; echo $go >&3; ${then}`], {
    label: 'bulk',
  });
  for (const node of ['p1', 'p2']) {
    const left = async (): Promise<boolean> =>
      (await chain.conns(node)).some(({ state }) => state === 'spliced');
    await program.while(left, { what: `${node} to splice` });
  }
  for (const router of filters) await setMiddlebox(chain.net, router, NOTHING_INVALID);
  writeFileSync(fifo, `${rest}\n`);
  const [told] = await program.output(/^[0-9a-f]{64}/m, { timeoutMs: 60_000 });
  await program.exited;
  return told;
}

test('spliced, with filters before the client and between the nodes: every byte arrives, down and up', async () => {
  await forget();
  const down = await spliced(['r1', 'r2'], 'G', `ET ${LENGTH}`, 'sha256sum <&3');
  expect(down).toBe(contentHash(`bulk ${LENGTH}`, LENGTH));
  for (const node of ['p1', 'p2']) expect(await chain.counter(node, 'return-tunnel')).toBe(1);
  const up = `${process.execPath} ${fixture('content.mjs')} up ${LENGTH} >&3`;
  expect(await spliced(['r1'], 'P', 'UT', `${up}; cat <&3`)).toBe(contentHash('up', LENGTH));
  expect(await chain.counter('p1', 'return-tunnel')).toBe(2);
});
