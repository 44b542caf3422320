/** Encrypted connections between two nodes that transform streams: nothing of them becomes smaller, so nothing is tried. */
import { afterEach, expect, test } from 'vitest';
import { contentHash } from '../netns/content.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain } from './chain.js';

afterEach(closeAll);

const STREAMS = ['dedup', 'zstd'];
const RULES = [
  { match: { dport: 443 }, action: 'splice', transforms: STREAMS },
  { match: { dport: 8443 }, action: 'relay' },
];
const SIZE = 3_000_000;

test('TLS goes on without frames: in the kernel where the rule says so, relayed otherwise', async () => {
  const node = { transforms: { streams: STREAMS }, rules: RULES };
  const chain = await standChain({ nodes: { p1: node, p2: node } });
  const origin = chain
    .host('origin')
    .spawn(process.execPath, [fixture('tls-origin.mjs'), '443', '8443'], { label: 'tls-origin' });
  await origin.output(/^ready$/m);
  const ended = async (name: string): Promise<number> =>
    (await chain.stats(name)).connections.byReason['transforms-ended'] ?? 0;
  for (const [index, port] of [443, 8443].entries()) {
    const fetch = `curl -skf https://${ORIGIN}:${port}/bytes/${SIZE} | sha256sum`;
    const hash = await chain.must('c1', ['sh', '-c', fetch]);
    expect(hash.split(' ')[0]).toBe(contentHash(`/bytes/${SIZE}`, SIZE));
    for (const name of ['p1', 'p2']) await waitFor(async () => (await ended(name)) === index + 1);
  }
  const { transforms, connections } = await waitFor(async () => {
    const stats = await chain.stats('p1');
    return stats.transforms.open === 0 && stats.connections.open === 0 ? stats : undefined;
  });
  const [pair] = transforms.pairs.filter(({ direction }) => direction === 'to');
  expect(pair?.connections).toBe(2);
  expect(pair?.plainReceived).toBeLessThan(SIZE / 2);
  expect(connections.bytesOut).toBeGreaterThan(SIZE);
  const command = [
    'openssl',
    's_client',
    '-ign_eof',
    '-connect',
    `${ORIGIN}:443`,
    '-servername',
    'a.example',
  ];
  const held = chain.spawn('c1', command, { label: 'held' });
  await held.while(
    async () =>
      (await chain.conns('p1')).find(({ state, sni }) => state === 'spliced' && sni === 'a.example'),
    { what: 'the connection to be spliced' },
  );
  await held.stop();
});
