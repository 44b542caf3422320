/**
 * Wireshark's opinion of spliced connections: whatever its expert finds at the two ends of a path with splicing nodes, it
 * also finds where plain routers forward the same traffic.
 *
 *   c1 ── p1 ── p2 ── origin      twice, alike: nodes that splice, and no nodes; offloads off, so captures show wire packets
 */
import { afterEach, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { command } from '../host/exec.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const SPLICE = { rules: [{ action: 'splice' }] };
const ENDS_PORT = '7777';
const NODES = ['p1', 'p2'];
/** Of {@link traffic}. */
const CONNECTIONS = 8;
const ATTEMPTS = 5;
const ENDS = ['c1-p1', 'p2-origin'];
/** How long a connection rests before it is used: both nodes take it out of their hands meanwhile. */
const REST_MS = '600';

/** What a busy machine makes any TCP do: readers that read late, ACKs that come after the sender's probe. */
const LATE = [
  'TCP window update',
  'TCP window specified by the receiver is now completely full',
  'TCP Zero Window segment',
  'TCP Zero Window Probe',
  'ACK to a TCP Zero Window Probe',
  'This frame is a (suspected) retransmission',
  'This frame is a (suspected) spurious retransmission',
  'D-SACK Sequence',
];

afterEach(closeAll);

/** Every kind of traffic: urgent data, half-close, keep-alives, reset, and bulk in both directions at once. */
async function traffic(chain: Chain): Promise<void> {
  const server = chain
    .host('origin')
    .spawn('python3', [fixture('ends.py'), 'serve', ENDS_PORT], { label: 'ends' });
  await server.output(/^ready$/m);
  const ask = (what: string): Promise<string> =>
    chain.must('c1', [
      'python3',
      fixture('ends.py'),
      'ask',
      ORIGIN,
      ENDS_PORT,
      what,
      String(Number(REST_MS) / 1000),
    ]);
  expect(await ask('urgent')).toBe('abc ! def\n');
  expect(await ask('half')).toBe('right\n');
  expect(await ask('keepalive')).toBe('alive\n');
  expect(await ask('be-reset')).toBe('reset\n');
  const args = ['4', '2000000', '4', '2', '20000', REST_MS];
  const duplex = [process.execPath, fixture('duplex.mjs'), ORIGIN, '22', ...args];
  const score = JSON.parse(await chain.must('c1', duplex)) as unknown;
  expect(score).toMatchObject({ right: 4, wrong: 0, failed: 0, errors: {} });
  await server.stop();
}

/** The kinds of what the expert remarks about IP and TCP, with how often each occurs. */
async function remarks(file: string): Promise<Map<string, number>> {
  const checks = ['ip.check_checksum', 'tcp.check_checksum'].flatMap((name) => ['-o', `${name}:TRUE`]);
  // Payload is nothing but bytes here.
  const layers = [ENDS_PORT, '22'].flatMap((port) => ['-d', `tcp.port==${port},data`]);
  const fields = ['-T', 'fields', '-E', 'aggregator=|', '-e', '_ws.expert.message'];
  const args = ['-r', file, ...checks, ...layers, ...fields];
  const text = await command('tshark', args);
  const kinds = new Map<string, number>();
  for (const message of text.split(/[\n|]/)) {
    const kind = message.replace(/[#:]? ?\d+/g, '').trim();
    if (kind !== '' && !LATE.includes(kind)) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  return kinds;
}

async function observed(chain: Chain, prefix: string): Promise<Map<string, number>[]> {
  const capture = await startCapture(chain.net, { links: ENDS, prefix });
  await traffic(chain);
  const links = await capture.stop();
  return Promise.all(ENDS.map((end) => remarks(links.get(end)?.file ?? '')));
}

const sumOver = async (chain: Chain, read: (node: string) => Promise<number>): Promise<number> => {
  const values = await Promise.all(NODES.map(read));
  return values.reduce((sum, value) => sum + value, 0);
};

/** As {@link observed}, again where a hand-over came so late that data met it: what it held back shows as a gap. */
async function observedSpliced(chain: Chain): Promise<Map<string, number>[]> {
  const spliced = (node: string): Promise<number> =>
    chain.stats(node).then(({ connections }) => connections.byReason['spliced'] ?? 0);
  const held = (node: string): Promise<number> => chain.counter(node, 'drop-splice-hold');
  for (let attempt = 1; ; attempt++) {
    const before = { spliced: await sumOver(chain, spliced), held: await sumOver(chain, held) };
    const kinds = await observed(chain, `attempt-${attempt}`);
    const all = (await sumOver(chain, spliced)) - before.spliced === NODES.length * CONNECTIONS;
    if (all && (await sumOver(chain, held)) === before.held) return kinds;
    expect(attempt).toBeLessThan(ATTEMPTS);
  }
}

test('the expert finds nothing at the ends that plain forwarding does not show', async () => {
  const splicing = await standChain({ nodes: { p1: SPLICE, p2: SPLICE }, offload: false });
  const forwarding = await standChain({ nodes: {}, offload: false });
  const spliced = await observedSpliced(splicing);
  const forwarded = await observed(forwarding, 'plain');
  for (const [end, kinds] of spliced.entries()) {
    const known = [...(forwarded[end]?.keys() ?? [])];
    expect([...kinds.keys()].filter((kind) => !known.includes(kind))).toEqual([]);
    expect(known).toContain('TCP keep-alive segment');
  }
}, 300_000);
