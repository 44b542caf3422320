/** Packets and replies that must not get in: dropped, counted, let through to nobody, and nobody else is harmed. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ip } from '../core/address.js';
import { startCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { tpotNodeCommand, type Program } from '../netns/host.js';
import { BANNER } from '../netns/origin-tcp.js';
import { waitFor } from '../netns/wait.js';
import type { NodeStatus } from '../node/node.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { encapsulate } from '../wire/ipip.js';
import { ipv4, IPV4_FLAG, IPV4_MIN_HEADER } from '../wire/ipv4.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { type Chain, closeAll, fixture, HOPS, ORIGIN, standChain } from './chain.js';
import { inject, segmentsOf, synAcksFrom, synsTo, tunnelled } from './packets.js';

const CLIENT = '198.18.1.2';
const NODE = '198.18.1.1';
const MARKER = 'INJECTED-7f3a';
const TUNNEL = { source: ip(CLIENT), destination: ip(NODE) };
const IN_UDP = { ...TUNNEL, port: 6080 };
const UDP = 17;
const ICMP = 1;
const IPIP = 4;

interface Connection {
  readonly program: Program;
  readonly port: number;
  /** Sends a line and waits for its echo. */
  readonly ping: () => Promise<void>;
}

/** A connection of c1 to the echoing banner port, tunnelled to P1. */
async function converse(chain: Chain): Promise<Connection> {
  const program = chain.spawn('c1', [process.execPath, fixture('talker.mjs'), ORIGIN, '22'], {
    label: 'talker',
  });
  await program.output(/SSH-2\.0/);
  const row = (await chain.conns('p1')).findLast(({ destination }) => destination === `${ORIGIN}:22`);
  let pings = 0;
  const ping = async (): Promise<void> => {
    pings++;
    program.signal('SIGUSR2');
    await program.output(new RegExp(`"ping ${pings}\\\\n"`));
  };
  await ping(); // its segments come by tunnel: from here on nothing else counts
  return { program, port: Number(row?.client.split(':')[1]), ping };
}

/** A well-formed segment of the connection, carrying the marker. */
function segment(port: number, more: Partial<TcpPacketSpec> = {}): TcpPacketSpec {
  const ends = { source: ip(CLIENT), sourcePort: port, destination: ip(ORIGIN), destinationPort: 22 };
  const payload = Buffer.from(MARKER);
  return { ...ends, flags: ['ack', 'psh'], seq: 1, ack: 1, payload, ...more };
}

/** Any bytes in an IPv4 packet from the client to P1. */
function outer(payload: Uint8Array, more: { protocol?: number; announced?: number } = {}): Uint8Array {
  const { protocol = IPIP, announced = IPV4_MIN_HEADER + payload.length } = more;
  const header = ipv4.emit({
    family: 4,
    tos: 0,
    totalLength: announced,
    identification: 0,
    flags: IPV4_FLAG.dontFragment,
    fragmentOffset: 0,
    ttl: 64,
    protocol,
    source: TUNNEL.source,
    destination: TUNNEL.destination,
    options: new Uint8Array(),
  });
  return concat(header, payload);
}

/** An inner packet of another protocol, or changed by `edit`. */
function inner(port: number, edit: (packet: Uint8Array) => void): Uint8Array {
  const packet = Uint8Array.from(buildTcp(segment(port)));
  edit(packet);
  return packet;
}

const PROTOCOL_AT = 9;
const FRAGMENT_AT = 6;
const DATA_OFFSET_AT = IPV4_MIN_HEADER + 12;

type Make = (port: number) => Uint8Array;

/** Name, counter, packet; all but the outermost header of the connection's own source unless it says otherwise. */
const TUNNEL_PACKETS: readonly (readonly [string, string, Make])[] = [
  ['an unknown connection', 'drop-decap-unknown', () => buildTcp(segment(1, { tunnel: TUNNEL }))],
  ['a SYN', 'drop-decap-unknown', (port) => buildTcp(segment(port, { tunnel: TUNNEL, flags: ['syn'] }))],
  [
    'the wrong outer source',
    'drop-decap-source',
    (port) => buildTcp(segment(port, { tunnel: { ...TUNNEL, source: ip('198.18.1.77') } })),
  ],
  ['no inner packet', 'drop-decap-malformed', () => outer(new Uint8Array())],
  ['a cut inner IP header', 'drop-decap-malformed', (port) => outer(buildTcp(segment(port)).subarray(0, 12))],
  [
    'a cut inner TCP header',
    'drop-decap-malformed',
    (port) => outer(buildTcp(segment(port)).subarray(0, 30)),
  ],
  ['a cut inner payload', 'drop-decap-malformed', (port) => outer(buildTcp(segment(port)).subarray(0, -3))],
  [
    'an outer length beyond the frame',
    'drop-decap-malformed',
    (port) => {
      const packet = buildTcp(segment(port));
      return outer(packet, { announced: IPV4_MIN_HEADER + packet.length + 100 });
    },
  ],
  [
    'an inner data offset beyond the segment',
    'drop-decap-malformed',
    (port) => outer(inner(port, (packet) => (packet[DATA_OFFSET_AT] = 0xf0))),
  ],
  [
    'an inner fragment',
    'drop-decap-malformed',
    (port) => outer(inner(port, (packet) => (packet[FRAGMENT_AT] = 0x20))),
  ],
  [
    'an inner option of length 1',
    'drop-decap-options',
    (port) => buildTcp(segment(port, { tunnel: TUNNEL, options: Uint8Array.of(8, 1, 0, 0) })),
  ],
  [
    'an inner option of length 0',
    'drop-decap-options',
    (port) => buildTcp(segment(port, { tunnel: TUNNEL, options: Uint8Array.of(1, 1, 253, 0) })),
  ],
  [
    'an inner option longer than the area',
    'drop-decap-options',
    (port) => buildTcp(segment(port, { tunnel: TUNNEL, options: Uint8Array.of(2, 60, 5, 0xb4) })),
  ],
  ['inner UDP', 'drop-decap-not-tcp', (port) => outer(inner(port, (packet) => (packet[PROTOCOL_AT] = UDP)))],
  [
    'inner ICMP',
    'drop-decap-not-tcp',
    (port) => outer(inner(port, (packet) => (packet[PROTOCOL_AT] = ICMP))),
  ],
  [
    'a tunnel in the tunnel',
    'drop-decap-not-tcp',
    (port) => encapsulate(buildTcp(segment(port, { tunnel: TUNNEL })), TUNNEL),
  ],
  ['in UDP, an unknown connection', 'drop-decap-unknown', () => buildTcp(segment(1, { tunnel: IN_UDP }))],
  [
    'in UDP, the wrong outer source',
    'drop-decap-source',
    (port) => buildTcp(segment(port, { tunnel: { ...IN_UDP, source: ip('198.18.1.77') } })),
  ],
  [
    'in UDP, no inner packet',
    'drop-decap-malformed',
    () => outer(Uint8Array.of(0xc0, 0, 0x17, 0xc0, 0, 8, 0, 0), { protocol: UDP }),
  ],
  [
    'in UDP, a DNS query',
    'drop-decap-malformed',
    () =>
      outer(concat(Uint8Array.of(0xc0, 0, 0x17, 0xc0, 0, 20, 0, 0), new Uint8Array(12)), { protocol: UDP }),
  ],
  [
    'in UDP, a tunnel in the tunnel',
    'drop-decap-not-tcp',
    (port) => encapsulateInUdp(buildTcp(segment(port, { tunnel: TUNNEL })), IN_UDP),
  ],
];

describe('tunnel packets towards a node', () => {
  let chain: Chain;
  let connection: Connection;

  beforeAll(async () => {
    chain = await standChain({ offload: false });
    connection = await converse(chain);
  });
  afterAll(closeAll);

  test.each(TUNNEL_PACKETS)(
    '%s: dropped and counted, and the connection goes on',
    async (_, counter, make) => {
      const capture = await startCapture(chain.net, { links: ['c1-p1', 'p1-p2', 'p2-origin'] });
      const before = (await chain.status('p1')).counters;
      await inject(chain.net, 'c1', 'p1', [make(connection.port)]);
      const after = await waitFor(
        async () => {
          const { counters } = await chain.status('p1');
          return (counters[counter] ?? 0) > (before[counter] ?? 0) ? counters : undefined;
        },
        { what: `${counter} to be counted` },
      );
      const drops = Object.keys(after).filter((code) => code.startsWith('drop-'));
      expect(drops.filter((code) => after[code] !== before[code])).toEqual([counter]);
      expect(after[counter]).toBe((before[counter] ?? 0) + 1);
      await connection.ping();
      const links = await capture.stop();
      const seen = (link: string): boolean => readFileSync(links.get(link)?.file ?? '').includes('ping');
      expect([seen('c1-p1'), seen('p1-p2'), seen('p2-origin')]).toEqual([true, true, true]);
      for (const link of ['p1-p2', 'p2-origin']) {
        expect(readFileSync(links.get(link)?.file ?? '').includes(MARKER)).toBe(false);
      }
      expect(connection.program.stdout()).not.toContain(MARKER);
    },
  );

  test('`status --json` prints the counters', async () => {
    const [program, launcher] = tpotNodeCommand;
    const args = [launcher, 'status', '--json', '--name', chain.net.nodeName('p1')];
    const { counters } = JSON.parse(await chain.host('p1').must(program, args)) as NodeStatus;
    const expected: Record<string, number> = {};
    for (const [, code] of TUNNEL_PACKETS) expected[code] = (expected[code] ?? 0) + 1;
    expect(counters).toMatchObject(expected);
  });

  test('the conversation holds the banner and every ping, and nothing else', async () => {
    const said = connection.program.stdout().trim().split('\n');
    const text = said.map((line) => JSON.parse(line) as string).join('');
    const pings = Array.from({ length: TUNNEL_PACKETS.length + 1 }, (_, index) => `ping ${index + 1}\n`);
    expect(text).toBe(BANNER + pings.join(''));
    const row = (await chain.conns('p1')).find(({ destination }) => destination === `${ORIGIN}:22`);
    expect(row?.bytesIn).toBe(pings.join('').length);
  });

  test('the same segment with nothing wrong gets in: the packets above were dropped for what they are', async () => {
    const own = await converse(chain);
    const capture = await startCapture(chain.net, { links: ['c1-p1'] });
    await own.ping();
    const last = (await capture.stop())
      .get('c1-p1')
      ?.packets.findLast(
        ({ dissection }) => dissection.outer !== undefined && dissection.kind === 'tcp',
      )?.dissection;
    if (last?.kind !== 'tcp') throw new Error('no tunnelled segment was captured');
    const next = { seq: (last.tcp.seq + last.payload.length) >>> 0, ack: last.tcp.ack };
    await inject(chain.net, 'c1', 'p1', [buildTcp(segment(own.port, { ...next, tunnel: TUNNEL }))]);
    const row = await waitFor(
      async () =>
        (await chain.conns('p1')).find(
          ({ client, bytesIn }) =>
            client.endsWith(`:${own.port}`) && bytesIn === 'ping 1\nping 2\n'.length + MARKER.length,
        ),
      { what: 'the injected bytes to be counted' },
    );
    expect(row.nextHop).toBe(chain.host('p2').address);
    await own.program.stop();
  });

  test('a plain reset of a tunnelled connection, in its window, passes untouched and resets nothing (rule 8)', async () => {
    const own = await converse(chain);
    const capture = await startCapture(chain.net, { links: ['c1-p1'] });
    await own.ping();
    const last = (await capture.stop())
      .get('c1-p1')
      ?.packets.findLast(
        ({ dissection }) => dissection.outer !== undefined && dissection.kind === 'tcp',
      )?.dissection;
    if (last?.kind !== 'tcp') throw new Error('no tunnelled segment was captured');
    const beyond = await startCapture(chain.net, { links: ['p2-origin'] });
    const reset = segment(own.port, {
      flags: ['rst', 'ack'],
      seq: last.tcp.seq + last.payload.length,
      ack: last.tcp.ack,
      payload: new Uint8Array(),
    });
    await inject(chain.net, 'c1', 'p1', [buildTcp(reset)]);
    await own.ping();
    const resets = segmentsOf((await beyond.stop()).get('p2-origin')).filter(({ rst }) => rst);
    expect(resets).toMatchObject([{ from: CLIENT, to: ORIGIN, sourcePort: own.port }]);
    await own.program.stop();
  });
});

/** Lets only plain SYNs be forwarded, so that what comes first is the false node's answer. */
const NO_REQUESTS = `table ip tpot_test {
  chain forward {
    type filter hook forward priority 0; policy accept;
    tcp flags & (syn | ack) == syn tcp option 253 exists counter drop
  }
}
`;

async function fetchHello(chain: Chain, trust: readonly string[] = []): Promise<void> {
  const command = ['sh', '-c', `curl -sSf -m 20 http://${ORIGIN}/bytes/50001 | sha256sum`];
  const sum = await chain.must('c1', command, { trust });
  expect(sum.split(' ')[0]).toBe(contentHash('/bytes/50001', 50_001));
}

describe('replies that a node gets', () => {
  let chain: Chain;

  beforeAll(async () => {
    const rules = [{ action: 'relay' }];
    chain = await standChain({
      nodes: { p1: { rules, trust: ['198.18.0.0/15', '224.0.0.0/3', '127.0.0.0/8'] } },
    });
    await chain.host('p2').must('nft', ['-f', '-'], { input: NO_REQUESTS });
  });
  afterAll(closeAll);

  test.each([
    ['untrusted', '203.0.113.9', 'drop-reply-untrusted'],
    ['multicast', '224.0.0.9', 'drop-reply-not-unicast'],
    ['broadcast', '255.255.255.255', 'drop-reply-not-unicast'],
    ['loopback', '127.0.0.1', 'drop-reply-not-unicast'],
    ['of the other family', '2001:db8::9', 'drop-reply-not-unicast'],
    ["the node's own, announced", NODE, 'drop-reply-own'],
    ["the node's own, of the leg", '198.18.3.2', 'drop-reply-own'],
  ])('%s (%s): %s, and the connection is plain and right', async (_, address, counter) => {
    const before = await chain.counter('p1', counter);
    const peer = chain.host('p2').spawn(process.execPath, [fixture('false-node.mjs'), 'to-p1', address]);
    await peer.output(/listening/);
    const capture = await startCapture(chain.net, { links: ['p1-p2'] });
    await fetchHello(chain);
    const link = (await capture.stop()).get('p1-p2');
    await peer.stop();
    expect(peer.stdout()).toMatch(/answered/);
    expect(await chain.counter('p1', counter)).toBe(before + 1);
    expect(synsTo(link, ORIGIN).map(({ request }) => request?.hops)).toEqual([HOPS - 1, undefined]);
    expect(synAcksFrom(link, ORIGIN).map(({ reply }) => reply !== undefined)).toEqual([true, false]);
    expect(tunnelled(link)).toEqual([]);
  });

  test('trusted: the same false node is believed', async () => {
    const peer = chain.host('p2').spawn(process.execPath, [fixture('false-node.mjs'), 'to-p1', '198.18.3.1']);
    await peer.output(/listening/);
    const before = await chain.counter('p1', 'reply-accepted');
    const capture = await startCapture(chain.net, { links: ['p1-p2'] });
    const client = chain.spawn('c1', ['curl', '-s', `http://${ORIGIN}/hello`]);
    await waitFor(async () => (await chain.counter('p1', 'reply-accepted')) > before);
    await client.stop();
    await peer.stop();
    expect(tunnelled((await capture.stop()).get('p1-p2'))[0]?.outer?.to).toBe('198.18.3.1');
  });
});

// Each waits until the client sends its SYN again: side by side.
describe.concurrent('replies that the shim gets', () => {
  afterAll(closeAll);

  test.each([
    ['untrusted', '203.0.113.9'],
    ['multicast', '224.0.0.9'],
    ['loopback', '127.0.0.1'],
    ['its own', CLIENT],
  ])('%s (%s): dropped, and the connection is plain and right', async (_, address) => {
    const chain = await standChain({ nodes: {} });
    await chain.host('p1').must('nft', ['-f', '-'], { input: NO_REQUESTS });
    const peer = chain.host('p1').spawn(process.execPath, [fixture('false-node.mjs'), 'to-c1', address]);
    await peer.output(/listening/);
    const capture = await startCapture(chain.net, { links: ['c1-p1'] });
    await fetchHello(chain, ['198.18.0.0/15', '224.0.0.0/3', '127.0.0.0/8']);
    const link = (await capture.stop()).get('c1-p1');
    expect(synsTo(link, ORIGIN).map(({ request }) => request?.hops)).toEqual([HOPS, undefined]);
    expect(synAcksFrom(link, ORIGIN).map(({ reply }) => reply !== undefined)).toEqual([true, false]);
    expect(tunnelled(link)).toEqual([]);
    expect((await chain.requests()).map(({ peer: from }) => from)).toEqual([CLIENT]);
  });
});
