/**
 * Networks that do not let protocol 4 (IPv6: 41) pass, or no tunnel at all, or only what is in one (blocked-filter.ts). The node answers, but nothing sent through the
 * tunnel arrives: it goes on in UDP, and where that does not pass either, the connection goes on plain, before a byte is
 * lost. What was learnt is remembered.
 */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { allWhole, attempt, noneWhole } from '../cases.js';
import { content, contentHash } from '../content.js';
import type { Lab, LabRun } from '../lab.js';
import { setMiddlebox } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { controlFilter, FILTERS } from './blocked-filter.js';
import { type Family, HOPS, pathSpec, urlTo } from './path.js';
import { type Counters, expect, FETCHES, type PathCase, runPathCase } from './path-case.js';

const UPLOAD = 300_007;
const CONTROL_TIMEOUT_MS = 4000;
const TUNNELS: Readonly<Record<Family, string>> = { 4: 'ip protocol 4', 6: 'ip6 nexthdr 41' };
const IN_UDP = 'udp dport 6080';

/** Nothing passes in either kind of tunnel: the first connection went on plain, through the node; the second asked nobody. */
const givenUp = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    [near.tunnelled > 0, 'nothing was sent through the tunnel'],
    [far.tunnelled === 0, `${far.tunnelled} packets of a tunnel came through m`],
    [counters['taken-reply-stripped'] === 1, 'the node did not carry on'],
    [near.requests === 1, `${near.requests} requests left c1, 1 expected: that of the first connection`],
  );

/** Both connections went by tunnel, in UDP. */
const inUdp = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    [near.replies >= FETCHES, `${near.replies} replies`],
    [(counters['decap-udp-ok'] ?? 0) > 0, 'the node took nothing in UDP'],
    [counters['decap-ok'] === undefined, 'something passed in protocol 4'],
    [counters['taken-reply-stripped'] === undefined && far.plain === 0, 'a connection went on plain'],
  );

interface Blocking {
  readonly id: string;
  readonly how: string;
  readonly verdict: string;
  readonly family: Family;
}

const silent = ({ verdict }: Blocking): boolean => verdict === 'drop';
const protocol = ({ family }: Blocking): string => (family === 4 ? '4' : '41');

/** What the same does when somebody on the path does it on purpose. */
const UDP_DELAY = 'one connection is delayed, and for ten minutes those to this node go in UDP';
const PLAIN_DELAY =
  'one connection is delayed, and for ten minutes, doubled each time up to a day, those to this destination are plain';
const FORGED =
  'the same without the delay; forged errors of who does not see the segments count for nothing (`attack`)';
const SAME = 'as over IPv4';

const udpPasses = (one: Blocking): PathCase => ({
  id: one.id,
  title: `protocol ${protocol(one)} is ${one.how}`,
  family: one.family,
  rules: [`${TUNNELS[one.family]} ${one.verdict}`],
  outcome: silent(one)
    ? 'tunnelled in UDP once the node has repeated its SYN-ACK'
    : 'tunnelled in UDP at once',
  against: one.id === 'rejected' ? FORGED : one.id === 'dropped' ? UDP_DELAY : SAME,
  holds: inUdp,
});

const nothingPasses = (one: Blocking): PathCase => ({
  id: `${one.id}-both`,
  title: `protocol ${protocol(one)} and UDP are ${one.how}`,
  family: one.family,
  rules: [TUNNELS[one.family], IN_UDP].map((what) => `${what} ${one.verdict}`),
  outcome: silent(one) ? 'plain once the node has repeated its SYN-ACK twice, then at once' : 'plain at once',
  against: one.id === 'rejected' ? FORGED : one.id === 'dropped' ? PLAIN_DELAY : SAME,
  holds: givenUp,
});

const BLOCKED: readonly Blocking[] = [
  { id: 'dropped', how: 'dropped in silence', verdict: 'drop', family: 4 },
  { id: 'rejected', how: 'rejected with ICMP', verdict: 'reject with icmp admin-prohibited', family: 4 },
  { id: 'dropped-v6', how: 'dropped in silence', verdict: 'drop', family: 6 },
  {
    id: 'rejected-v6',
    how: 'rejected with ICMPv6',
    verdict: 'reject with icmpv6 admin-prohibited',
    family: 6,
  },
];

/** Filters last: the node remembers who needs return tunnels. */
const CASES: readonly PathCase[] = [...BLOCKED.map(udpPasses), ...BLOCKED.map(nothingPasses), ...FILTERS];

/**
 * The negative control, and a limit: once the node has acknowledged anything, a tunnel is not given up. Here it lets
 * the handshake and the head of the request pass, and nothing larger.
 */
async function control({ topology, step, check, outcome }: LabRun): Promise<void> {
  const client = topology.host('c1');
  const url = urlTo(4, '/echo');
  const upload = join(topology.directory, 'upload');
  const sha256 = contentHash('upload', UPLOAD);
  writeFileSync(upload, Buffer.concat([...content('upload', UPLOAD)]));
  await setMiddlebox(topology, 'm', [
    `${TUNNELS[4]} meta length > 400 drop`,
    `${IN_UDP} meta length > 400 drop`,
  ]);
  const options = { upload, timeoutMs: CONTROL_TIMEOUT_MS };
  const plain = await attempt(topology, client, url, { ...options, hops: undefined });
  const tpot = await attempt(topology, client, url, { ...options, hops: HOPS });
  step(`control, a tunnel blocked after it has carried data: curl exit ${tpot[0]?.exit ?? 'unknown'}`);
  check(allWhole('control: without TPOT', plain, sha256));
  check(noneWhole('control: a tunnel that is blocked later loses the connection', tpot, sha256));
  outcome({
    id: 'blocked/later',
    title: 'protocol 4 is dropped after the connection has begun',
    without: 'works',
    with: 'the connection is lost, as by a route that fails',
    against: 'who drops just these packets ends each connection that goes by tunnel, and no other',
  });
}

async function run(run: LabRun): Promise<void> {
  await run.captured(); // each case has captures of its own
  for (const one of CASES) await runPathCase(run, 'blocked', one);
  await control(run);
  await controlFilter(run);
}

export const blocked: Lab = {
  name: 'blocked',
  summary: 'networks that drop or reject what is in a tunnel, or what comes outside it',
  spec: pathSpec({ offload: true }),
  run,
};
