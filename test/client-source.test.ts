/** `source: client`: the next leg has its client's address and port, through relay, cache and splice, in both families. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { contentHash } from '../netns/content.js';
import { type Chain, closeAll, fixture, ORIGIN, ORIGIN_V6, standChain } from './chain.js';
import { segmentsOf, synsTo, tunnelled } from './packets.js';

const BULK = 16 * 1024 * 1024;
const RULES = [
  { match: { dport: [80] }, action: 'cache' },
  { match: { dport: [22, 9000] }, action: 'splice' },
  { action: 'relay' },
];
const CLIENTS = { c1: '198.18.1.2', c2: '198.18.2.2' } as const;

const PORT = 45_001;

/** Two connections from PORT, the second one when it is told to by a signal; each has got something then. */
const CLIENT = `
import signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
kept = []
def connect(port, ask):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(10)
    s.bind(('', ${PORT}))
    s.connect(('${ORIGIN}', port))
    s.sendall(ask)
    kept.append(s)
    print(port, len(s.recv(10)), flush=True)
connect(22, b'hello')
signal.sigwait([signal.SIGUSR1])
connect(9000, b'GET 10\\n')
signal.sigwait([signal.SIGUSR1])
`;

let chain: Chain;

const curl = (...args: string[]): [string, ...string[]] => [
  'curl',
  '-gsSf',
  '-m',
  '20',
  '-o',
  '/dev/null',
  ...args,
];
const sum = async (client: string, command: string, plain = false): Promise<string> => {
  const shell: [string, ...string[]] = ['sh', '-c', `${command} | sha256sum`];
  const said = plain ? await chain.host(client).must('sh', shell.slice(1)) : await chain.must(client, shell);
  return said.split(' ')[0] ?? '';
};
const peers = async (path: string): Promise<string[]> => (await chain.requests(path)).map(({ peer }) => peer);

describe('a focal point', () => {
  beforeAll(async () => {
    chain = await standChain({
      v6: true,
      offload: false,
      nodes: { p1: { source: 'client', edge: true, rules: RULES, address: ['198.18.1.1', '2001:db8:1::1'] } },
    });
  });
  afterAll(closeAll);

  test('the origin sees each client, with its port, and none gets a leg of another', async () => {
    const capture = await startCapture(chain.net, { links: ['c1-p1', 'p2-origin'] });
    for (const client of ['c1', 'c2', 'c1'] as const) {
      await chain.must(client, curl(`http://${ORIGIN}/private/who`));
    }
    const links = await capture.stop();
    expect(await peers('/private/who')).toEqual([CLIENTS.c1, CLIENTS.c2, CLIENTS.c1]);
    const asked = synsTo(links.get('c1-p1'), ORIGIN).map(({ from, sourcePort }) => `${from} ${sourcePort}`);
    const seen = synsTo(links.get('p2-origin'), ORIGIN).map(
      ({ from, sourcePort }) => `${from} ${sourcePort}`,
    );
    expect(seen[0]).toBe(asked[0]);
    // Its first leg is kept for its next request, or is closed: either way no other client's.
    expect(new Set(seen.map((line) => line.split(' ')[0]))).toEqual(new Set(Object.values(CLIENTS)));
  });

  test('a plain client at the edge, over IPv6 too', async () => {
    await chain.host('c1').must('curl', curl(`http://${ORIGIN}/private/edge`).slice(1));
    expect(await peers('/private/edge')).toEqual([CLIENTS.c1]);
    await chain.host('c1').must('curl', curl(`http://[${ORIGIN_V6}]/private/edge6`).slice(1));
    await chain.must('c1', curl(`http://[${ORIGIN_V6}]/private/run6`));
    expect(await peers('/private/edge6')).toEqual(['2001:db8:1::2']);
    expect(await peers('/private/run6')).toEqual(['2001:db8:1::2']);
  });

  test.each([
    ['tunnelled', false, ORIGIN],
    ['plain', true, ORIGIN],
    ['plain IPv6', true, ORIGIN_V6],
  ] as const)('bulk of a %s client', async (_, plain, origin) => {
    const nc = `busybox nc ${origin} 9000`;
    expect(await sum('c1', `echo GET ${BULK} | ${nc}`, plain)).toBe(contentHash(`bulk ${BULK}`, BULK));
  });

  test('a conversation goes on in the kernel, where both its legs have the same ends', async () => {
    const talker = [process.execPath, fixture('talker.mjs'), ORIGIN, '22'];
    const program = chain.spawn('c1', talker, { label: 'talker' });
    await program.output(/SSH-2\.0/);
    const spliced = async (): Promise<boolean> =>
      (await chain.conns('p1')).some(
        ({ state, client }) => state === 'spliced' && client.startsWith(CLIENTS.c1),
      );
    await program.while(spliced, { what: 'a splice' });
    for (let ping = 1; ping <= 3; ping++) {
      program.signal('SIGUSR2');
      await program.output(new RegExp(`"ping ${ping}\\\\n"`));
    }
    await program.stop();
  });

  test('a port that two connections share, one of which was nearly spliced, is that of both, and no service finds it in use', async () => {
    const relayed = async (): Promise<number> =>
      (await chain.stats('p1')).connections.byReason['relayed-timestamps'] ?? 0;
    const before = await relayed();
    // A leg with timestamps and one without are looked at, in repair, and relayed.
    const timestamps = (on: number): Promise<unknown> =>
      chain.host('c1').must('sysctl', ['-qw', `net.ipv4.tcp_timestamps=${on}`]);
    await timestamps(0);
    const capture = await startCapture(chain.net, { links: ['p2-origin'] });
    const client = chain.host('c1').spawn('python3', ['-c', CLIENT], { label: 'client' });
    await client.output(/22 \d+/);
    await client.while(async () => (await relayed()) > before, { what: 'the decision to relay' });
    client.signal('SIGUSR1');
    await client.output(/9000 \d+/);
    const syns = synsTo((await capture.stop()).get('p2-origin'), ORIGIN);
    expect(syns.map(({ from, sourcePort }) => [from, sourcePort])).toEqual([
      [CLIENTS.c1, PORT],
      [CLIENTS.c1, PORT],
    ]);
    // The client's connection has the origin's port 22 here, which is not that of this machine.
    const service = chain.host('p1').spawn('busybox', ['nc', '-l', '-p', '22'], { label: 'service' });
    await service.listening(22);
    await service.stop();
    await client.stop();
    await timestamps(1);
  });

  test("a port that this machine uses itself is left alone: another one of the client's address", async () => {
    const listener = chain.host('p1').spawn('busybox', ['nc', '-l', '-p', '45555'], { label: 'listener' });
    await listener.listening(45_555);
    const capture = await startCapture(chain.net, { links: ['p2-origin'] });
    // No HTTP: the leg of an earlier request might be kept, and then there is no SYN.
    await sum('c1', `echo GET 1000 | busybox nc -p 45555 ${ORIGIN} 9000`, true);
    const syns = synsTo((await capture.stop()).get('p2-origin'), ORIGIN);
    expect(syns.map(({ from }) => from)).toEqual([CLIENTS.c1]);
    expect(syns.map(({ sourcePort }) => sourcePort)).not.toContain(45_555);
    await listener.stop();
  });
});

test('the next node takes such a leg, and tunnels end as they should', async () => {
  chain = await standChain({
    nodes: { p1: { source: 'client', rules: RULES }, p2: { source: 'client', rules: RULES } },
  });
  const capture = await startCapture(chain.net, { links: ['p1-p2', 'p2-origin'] });
  await chain.must('c1', curl(`http://${ORIGIN}/private/two`));
  expect(await sum('c1', `echo GET ${BULK} | busybox nc ${ORIGIN} 9000`)).toBe(
    contentHash(`bulk ${BULK}`, BULK),
  );
  const links = await capture.stop();
  expect(await peers('/private/two')).toEqual([CLIENTS.c1]);
  expect(new Set(tunnelled(links.get('p1-p2')).map(({ outer }) => outer?.from))).toEqual(
    new Set([CLIENTS.c1]),
  );
  const ends = segmentsOf(links.get('p2-origin')).flatMap(({ from, to }) => [from, to]);
  expect(new Set(ends)).toEqual(new Set([CLIENTS.c1, ORIGIN]));
  await closeAll();
});
