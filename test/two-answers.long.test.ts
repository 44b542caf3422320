/**
 * A SYN is repeated over another route before it is answered, and two answer it: two nodes, or a node and the
 * destination. The first answer that the client hears wins; the other one comes late and must not hurt it, whatever the
 * routes do afterwards (protocol rule 8).
 *
 * ```
 *      ┌── a* ──┐
 * c1 ─ r1       r2 ─ origin      r1 sends by a or b, and holds back the answers that come by one of them
 *      └── b* ──┘                b's node passes port 23, as if it were not there
 * ```
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtFile } from '../host/paths.js';
import { startCapture } from '../netns/capture.js';
import { tpotNodeCommand } from '../netns/host.js';
import { setMiddlebox, SYN_ACK } from '../netns/middlebox.js';
import type { RouteSpec, TopologySpec } from '../netns/spec.js';
import type { Topology } from '../netns/topology.js';
import { waitFor } from '../netns/wait.js';
import { askNode } from '../node/admin-client.js';
import type { NodeStatus } from '../node/node.js';
import { closeAll, fixture, HOPS, ORIGIN, stand } from './chain.js';
import { segmentsOf } from './packets.js';

type Way = 'a' | 'b';

const by = (way: Way): RouteSpec => ({ host: 'r1', to: '192.0.2.0/24', via: way });
const relay = { action: 'relay' };

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'r1', role: 'router' },
    { name: 'a', role: 'node' },
    { name: 'b', role: 'node' },
    { name: 'r2', role: 'router' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    { between: ['c1', 'r1'] },
    { between: ['r1', 'a'] },
    { between: ['r1', 'b'] },
    { between: ['a', 'r2'] },
    { between: ['b', 'r2'] },
    { between: ['r2', 'origin'], addresses: ['192.0.2.1/24', `${ORIGIN}/24`] },
  ],
  routes: [
    { host: 'c1', to: 'default', via: 'r1' },
    by('a'),
    ...(['a', 'b'] as const).flatMap((host): RouteSpec[] => [
      { host, to: 'default', via: 'r2' },
      { host, to: '198.18.1.0/24', via: 'r1' },
    ]),
    { host: 'r2', to: '198.18.0.0/15', via: 'b' }, // to c1, whichever way its packets came
    { host: 'origin', to: 'default', via: 'r2' },
  ],
  nodes: [
    { host: 'a', config: { rules: [relay] } },
    { host: 'b', config: { rules: [{ match: { dport: 23 }, action: 'pass' }, relay] } },
  ],
};

let net: Topology;
beforeAll(async () => {
  net = await stand(spec);
  const origin = (...args: string[]): Promise<unknown> =>
    net
      .host('origin')
      .spawn(process.execPath, [builtFile('netns', 'origin.js'), ...args], { label: 'origin' })
      .output(/"ready"/);
  const second = ['--http', '81', '--banner', '23', '--bulk', '9001'];
  await Promise.all([origin(), origin(...second), net.startNodes()]);
});
afterAll(closeAll);

const counters = async (node: Way): Promise<Record<string, number>> =>
  ((await askNode(net.nodeName(node), '/status')) as NodeStatus).counters;

/** Whether SYN-ACKs for the client that come this way (the destination's come by b) are held back, or only counted. */
const answersBy = (way: Way, service: number, verdict: 'drop' | 'accept'): Promise<void> =>
  setMiddlebox(net, 'r1', [`iifname "to-${way}" tcp sport ${service} ${SYN_ACK} counter ${verdict}`]);
async function answers(): Promise<number> {
  const table = await net.host('r1').must('nft', ['list', 'table', 'inet', 'tpot_middlebox_forward']);
  return Number(/counter packets (\d+)/.exec(table)?.[1] ?? 0);
}

test.each<[string, number, Way, Way, Way | 'origin']>([
  ['two nodes answer', 22, 'a', 'b', 'b'],
  ['a node answers too late, the destination in time', 23, 'a', 'b', 'origin'],
  ['the destination answers too late, a node in time', 23, 'b', 'a', 'a'],
])('%s', async (_, service, first, second, winner) => {
  await net.setRoute(by(first));
  await answersBy(first, service, 'drop');
  const capture = await startCapture(net, { links: ['c1-r1'] });
  const before = { a: await counters('a'), b: await counters('b') };
  const args = [
    tpotNodeCommand[1],
    'run',
    '--hops',
    String(HOPS),
    '--',
    process.execPath,
    fixture('talker.mjs'),
  ];
  const talker = net
    .host('c1')
    .spawn(process.execPath, [...args, ORIGIN, String(service)], { label: 'talker' });
  await waitFor(async () => (await answers()) > 0, { what: 'the first answer' });
  await net.setRoute(by(second));
  await talker.output(/SSH-2\.0/);
  let pings = 0;
  const ping = async (): Promise<void> => {
    pings++;
    talker.signal('SIGUSR2');
    await talker.output(new RegExp(`"ping ${pings}\\\\n"`));
  };
  await ping();
  // The first repeats its answer, which comes too late; the winner goes on, also when the route goes back.
  await answersBy(first, service, 'accept');
  await waitFor(async () => (await answers()) > 0, { what: 'the late answer' });
  await ping();
  await net.setRoute(by(first));
  await ping();
  const captures = await capture.stop();
  await talker.stop();

  // Of this connection alone: what an earlier one left behind may still be about.
  const all = segmentsOf(captures.get('c1-r1'));
  const port = all.findLast(({ syn, ack }) => syn && !ack)?.sourcePort;
  const ours = all.filter(({ from, sourcePort }) => from !== ORIGIN && sourcePort === port);
  const theirs = all.filter(({ from, destinationPort }) => from === ORIGIN && destinationPort === port);
  expect(theirs.filter(({ syn, ack }) => syn && ack).length).toBeGreaterThanOrEqual(2);
  expect([...ours, ...theirs].filter(({ rst }) => rst)).toEqual([]);
  const tunnelledTo = new Set(ours.flatMap(({ outer }) => outer?.to ?? []));
  expect([...tunnelledTo]).toEqual(winner === 'origin' ? [] : [net.host(winner).address]);
  for (const node of ['a', 'b'] as const) {
    const established = (await counters(node))['established'] ?? 0;
    expect(established - (before[node]['established'] ?? 0)).toBe(node === winner ? 1 : 0);
  }
});
