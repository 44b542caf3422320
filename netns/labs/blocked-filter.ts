/**
 * Stateful filters between a client and its node: they see the SYN and its answer, and nothing that acknowledges, which is in
 * the tunnel. So they drop what the node sends, as no part of any connection, and the node goes on in a return tunnel.
 */
import { allWhole, attempt, noneWhole } from '../cases.js';
import { contentHash } from '../content.js';
import type { LabRun } from '../lab.js';
import { setMiddlebox } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { HOPS, urlTo } from './path.js';
import { type Counters, expect, FETCHES, type PathCase } from './path-case.js';

const INVALID = 'ct state invalid drop';
/** What routers of homes and offices let in: what was begun inside. */
const OFFICE = [
  'ct state established,related accept',
  'ip6 saddr 2001:db8:1::/64 ct state new accept',
  'meta l4proto 58 accept', // neighbour discovery
  'drop',
];
const CONTROL_TIMEOUT_MS = 5000;
const PATH = '/bytes/200003';

const returned = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    [near.replies >= FETCHES, `${near.replies} replies`],
    [counters['return-tunnel'] === 1, 'no connection went on in a return tunnel'],
    [counters['return-remembered'] === 1, 'the second connection did not begin in one'],
    [(counters['encap-ok'] ?? 0) > 0 && near.returned > 0, 'nothing came back in a tunnel'],
    [far.plain === 0, `${far.plain} plain segments towards the origin`],
  );

/** The client of the first case: the node knows by now what it needs. */
const returnedInUdp = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    [counters['return-remembered'] === FETCHES, 'not every connection began in a return tunnel'],
    [(counters['encap-udp-ok'] ?? 0) > 0 && near.returned > 0, 'nothing came back in a tunnel in UDP'],
    [counters['encap-ok'] === undefined, 'something came back in protocol 4'],
    [far.plain === 0, `${far.plain} plain segments towards the origin`],
  );

const OUTCOME = 'goes on in a return tunnel when its timer has run out twice; the next ones begin there';
const AGAINST =
  'who drops what a node sends, whether plain or in a tunnel, ends a connection as on every path, with and without TPOT';

export const FILTERS: readonly PathCase[] = [
  {
    id: 'filter',
    title: 'a stateful filter drops what is invalid to it, the acknowledgments being in the tunnel',
    family: 4,
    rules: [INVALID],
    outcome: OUTCOME,
    against: AGAINST,
    holds: returned,
  },
  {
    id: 'filter-udp',
    title: 'the same filter drops protocol 4, too',
    family: 4,
    rules: ['ip protocol 4 drop', INVALID],
    outcome: 'both ways in UDP',
    against: AGAINST,
    holds: returnedInUdp,
  },
  {
    id: 'filter-v6',
    title: 'a stateful filter lets in what was begun inside and nothing else',
    family: 6,
    rules: OFFICE,
    outcome: OUTCOME,
    against: AGAINST,
    holds: returned,
  },
];

/** The negative control: a node that is told to send nothing in tunnels does not get through that filter. */
export async function controlFilter({ topology, step, check }: LabRun): Promise<void> {
  const [node] = topology.spec.nodes ?? [];
  if (node === undefined) return;
  await topology.node('p1').stop();
  await topology.startNode({ ...node, config: { ...node.config, returnTunnel: false } });
  await setMiddlebox(topology, 'm', [INVALID]);
  const [client, url, sha256] = [topology.host('c1'), urlTo(4, PATH), contentHash(PATH, 200_003)];
  const options = { timeoutMs: CONTROL_TIMEOUT_MS };
  const plain = await attempt(topology, client, url, { ...options, hops: undefined });
  const tpot = await attempt(topology, client, url, { ...options, hops: HOPS });
  step(
    `control, a stateful filter and a node without return tunnels: curl exit ${tpot[0]?.exit ?? 'unknown'}`,
  );
  check(allWhole('control: through a stateful filter without TPOT', plain, sha256));
  check(noneWhole('control: through a stateful filter from a node without return tunnels', tpot, sha256));
  await topology.node('p1').stop();
  await topology.startNode(node);
}
