/**
 * Networks that do not let protocol 4 (IPv6: 41) pass. The node answers, but nothing sent through the tunnel arrives:
 * the connection goes on in UDP before a byte is lost, or plain where UDP does not pass either, and that is remembered.
 */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { UDP_TUNNEL_PORT } from '../../wire/udp-tunnel.js';
import { allWhole, attempt, noneWhole } from '../cases.js';
import { content, contentHash } from '../content.js';
import type { Lab, LabRun } from '../lab.js';
import { setMiddlebox } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { type Family, HOPS, pathSpec, urlTo } from './path.js';
import { type Claim, type Counters, expect, FETCHES, type PathCase, runPathCase } from './path-case.js';

const UPLOAD = 300_007;
const CONTROL_TIMEOUT_MS = 4000;
const TUNNELS: Readonly<Record<Family, string>> = { 4: 'ip protocol 4', 6: 'ip6 nexthdr 41' };

/** Whether the first connection was tried by IP in IP, of which nothing got through. */
const refused = (near: Seen, far: Seen): readonly Claim[] => [
  [near.tunnelled > near.tunnelledInUdp, 'nothing was sent by IP in IP'],
  [far.tunnelled === far.tunnelledInUdp, 'packets of IP in IP came through m'],
];

/** The first connection went on in UDP, and the second one began there. */
const inUdp = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    ...refused(near, far),
    [near.requests === FETCHES, `${near.requests} requests left c1, ${FETCHES} expected`],
    [far.tunnelledInUdp > 0, 'nothing came through m in UDP'],
    [far.plain === 0, `${far.plain} segments came through m outside a tunnel`],
    [counters['taken-reply-stripped'] === undefined, 'the node heard a connection outside its tunnel'],
    [counters['established'] === FETCHES, 'the node did not take both connections'],
  );

/** The first connection was tried both ways and went on plain through the node; the second one asked nobody. */
const givenUp = (near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    ...refused(near, far),
    [near.tunnelledInUdp > 0, 'nothing was sent in UDP'],
    [far.tunnelled === 0, `${far.tunnelled} packets of the tunnel came through m`],
    [counters['taken-reply-stripped'] === 1, 'the node did not carry on'],
    [near.requests === 1, `${near.requests} requests left c1, 1 expected: that of the first connection`],
  );

interface Way {
  readonly id: string;
  readonly how: string;
  readonly verdict: string;
  readonly family: Family;
}

const WAYS: readonly Way[] = [
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

const protocol = (family: Family): string => `protocol ${family === 4 ? '4' : '41'}`;

/** An error says at once that nothing arrives; silence is told from loss by what is sent again. */
const ipBlocked = ({ id, how, verdict, family }: Way): PathCase => ({
  id,
  title: `${protocol(family)} is ${how}`,
  family,
  rules: [`${TUNNELS[family]} ${verdict}`],
  outcome:
    verdict === 'drop' ? 'in UDP once the node has repeated its SYN-ACK, then at once' : 'in UDP at once',
  holds: inUdp,
});

const bothBlocked = ({ id, how, verdict, family }: Way): PathCase => ({
  id: `${id}-udp`,
  title: `${protocol(family)} and UDP are ${how}`,
  family,
  rules: [`${TUNNELS[family]} ${verdict}`, `udp dport ${UDP_TUNNEL_PORT} ${verdict}`],
  outcome:
    verdict === 'drop' ? 'plain once the node has repeated its SYN-ACK, then at once' : 'plain at once',
  holds: givenUp,
});

const CASES: readonly PathCase[] = [...WAYS.map(ipBlocked), ...WAYS.map(bothBlocked)];

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
  await setMiddlebox(topology, 'm', [`${TUNNELS[4]} meta length > 400 drop`]);
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
  });
}

async function run(run: LabRun): Promise<void> {
  await run.captured(); // each case has captures of its own
  for (const one of CASES) await runPathCase(run, 'blocked', one);
  await control(run);
}

export const blocked: Lab = {
  name: 'blocked',
  summary: 'networks that drop or reject what is in a tunnel',
  spec: pathSpec({ offload: true }),
  run,
};
