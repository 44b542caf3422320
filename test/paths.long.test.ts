/** Odd ways to open a connection, and odd paths: an answer lost, both ends opening, loops, a node twice, many hops. */
import { afterEach, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { setMiddlebox, SYN, SYN_ACK, TPOT_OPTION } from '../netns/middlebox.js';
import { waitFor } from '../netns/wait.js';
import { type Chain, closeAll, ORIGIN, standChain } from './chain.js';
import { segmentsOf, synAcksFrom, synsTo, tunnelled } from './packets.js';

const RELAY = { rules: [{ action: 'relay' }] };
const PORT = 5000;
const C1 = '198.18.1.2';
const C2 = '198.18.2.2';

afterEach(closeAll);

const HELLO = ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`];

async function dropped(chain: Chain, host: string, hook: string): Promise<number> {
  const table = await chain.host(host).must('nft', ['list', 'table', 'inet', `tpot_middlebox_${hook}`]);
  return [...table.matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

test('a SYN-ACK that is lost comes again, the same one, and the connection is tunnelled (rule 6)', async () => {
  const chain = await standChain({ nodes: { p1: RELAY }, offload: false });
  await setMiddlebox(chain.net, 'c1', [`${SYN_ACK} counter drop`], 'input');
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  const fetching = chain.must('c1', HELLO);
  await waitFor(async () => (await dropped(chain, 'c1', 'input')) > 0, {
    what: 'the first SYN-ACK to be lost',
  });
  await setMiddlebox(chain.net, 'c1', [], 'input');
  expect(await fetching).toContain('hello');
  const link = (await capture.stop()).get('c1-p1');
  expect(synAcksFrom(link, ORIGIN).length).toBeGreaterThanOrEqual(2);
  expect(synAcksFrom(link, ORIGIN).every(({ reply }) => reply !== undefined)).toBe(true);
  expect(tunnelled(link).length).toBeGreaterThan(2);
  expect((await chain.status('p1')).counters).toMatchObject({
    established: 1,
    'decap-ok': expect.any(Number) as number,
  });
});

test('an edge whose replies do not arrive answers the SYN without a request without one', async () => {
  const chain = await standChain({ nodes: { p1: { ...RELAY, edge: true } }, offload: false });
  await setMiddlebox(chain.net, 'c1', [`${SYN_ACK} ${TPOT_OPTION} exists counter drop`], 'input');
  const capture = await startCapture(chain.net, { links: ['c1-p1'] });
  expect(await chain.must('c1', HELLO)).toContain('hello');
  const link = (await capture.stop()).get('c1-p1');
  expect(await dropped(chain, 'c1', 'input')).toBeGreaterThanOrEqual(2);
  expect(synsTo(link, ORIGIN).map(({ request }) => request !== undefined)).toEqual([true, true, false]);
  expect(synAcksFrom(link, ORIGIN).at(-1)?.reply).toBeUndefined();
  expect(tunnelled(link)).toEqual([]);
  expect((await chain.status('p1')).counters).toMatchObject({
    taken: 1,
    established: 1,
    'taken-reply-stripped': 1,
  });
});

/** Opens from PORT to PORT of the other side; says what came of it, and of one line each way. */
const BOTH = (peer: string): [string, ...string[]] => [
  'python3',
  '-c',
  `
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.settimeout(20)
s.bind(('', ${PORT}))
try:
    s.connect(('${peer}', ${PORT}))
    s.sendall(b'x')
    print(s.recv(1).decode())
except OSError as error:
    print(type(error).__name__)
`,
];

/** Both open at the same time: the first SYNs of both are lost at p1 where it does not take them, the next ones cross. */
async function bothOpen(chain: Chain): Promise<string[]> {
  await setMiddlebox(chain.net, 'p1', [`${SYN} tcp dport ${PORT} counter drop`], 'forward');
  const [program, ...args] = BOTH(C1);
  const other = chain.host('c2').must(program, args);
  const one = chain.must('c1', BOTH(C2));
  const ended = one.then(() => true);
  const opening = async (host: string): Promise<boolean> =>
    (await chain.host(host).must('ss', ['-Htan', 'sport', '=', `:${PORT}`])).trim() !== '';
  const both = waitFor(async () => (await opening('c1')) && (await opening('c2')), { what: 'both to open' });
  await Promise.race([both, ended]);
  both.catch(() => undefined); // where c1 has ended, it will not be seen any more
  await setMiddlebox(chain.net, 'p1', [], 'forward');
  return (await Promise.all([one, other])).map((line) => line.trim());
}

test('both ends open at once: it works past a node that lets the port pass', async () => {
  const pass = { match: { dport: PORT }, action: 'pass' };
  const chain = await standChain({ nodes: { p1: { rules: [pass, { action: 'relay' }] } } });
  expect(await bothOpen(chain)).toEqual(['x', 'x']);
});

test('both ends open at once through a node that takes it: an error at both ends, soon', async () => {
  const chain = await standChain({ nodes: { p1: RELAY } });
  const [one, other] = await bothOpen(chain);
  expect(one).toBe('ConnectionResetError');
  expect(['ConnectionResetError', 'ConnectionRefusedError']).toContain(other);
  expect((await chain.stats('p1')).connections.byReason['leg-refused']).toBe(1);
});

test('a node that is on the path twice takes the connection once', async () => {
  const chain = await standChain({ nodes: { p1: RELAY } });
  // A kernel drops what comes in under an address of its own, whoever sent it, unless told otherwise.
  await chain.host('p1').must('sysctl', ['-qw', 'net.ipv4.conf.to-c2.accept_local=1']);
  const ip = (host: string, ...args: string[]): Promise<string> => chain.host(host).must('ip', args);
  // p1 sends what is for the origin to c2, which sends it back; what comes from there p1 sends on to p2.
  await chain
    .host('c2')
    .must('sysctl', [
      '-qw',
      'net.ipv4.ip_forward=1',
      'net.ipv4.conf.all.send_redirects=0',
      'net.ipv4.conf.to-p1.send_redirects=0',
    ]);
  await ip('p1', 'route', 'add', '192.0.2.0/24', 'via', '198.18.3.1', 'table', '200');
  await ip('p1', 'rule', 'add', 'iif', 'to-c2', 'lookup', '200');
  await ip('p1', 'route', 'replace', '192.0.2.0/24', 'via', C2);
  expect(await chain.must('c1', HELLO)).toContain('hello');
  expect((await chain.status('p1')).counters).toMatchObject({ taken: 1, 'pass-loop': 1 });
});

test('a routing loop between two nodes costs as many legs as the request has hops, no more', async () => {
  const chain = await standChain({ nodes: { p1: RELAY, p2: RELAY } });
  await chain.host('p2').must('ip', ['route', 'replace', `${ORIGIN}/32`, 'via', '198.18.3.2']);
  const curl = ['curl', '-sS', '-m', '3', `http://${ORIGIN}/hello`];
  const result = await chain.run('c1', curl, { hops: 4 });
  expect(result.code).toBe(28); // nothing answers, as without nodes
  const taken = (await chain.counter('p1', 'taken')) + (await chain.counter('p2', 'taken'));
  expect(taken).toBe(4);
});

test('255 hops: one less on the next leg', async () => {
  const chain = await standChain({ nodes: { p1: RELAY, p2: RELAY } });
  const capture = await startCapture(chain.net, { links: ['p1-p2'] });
  expect(await chain.must('c1', HELLO, { hops: 255 })).toContain('hello');
  const link = (await capture.stop()).get('p1-p2');
  expect(synsTo(link, ORIGIN).map(({ request }) => request?.hops)).toEqual([254]);
  expect(segmentsOf(link).filter(({ rst }) => rst)).toEqual([]);
  expect(await chain.counter('p2', 'taken')).toBe(1);
});
