/**
 * Networks that do not let protocol 4 (IPv6: 41) pass. The node answers, but nothing sent through the tunnel arrives:
 * the connection goes on plain before a byte is lost, and the destination is remembered.
 */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { allWhole, attempt, noneWhole } from '../cases.js';
import { content, contentHash } from '../content.js';
import type { Lab, LabRun } from '../lab.js';
import { setMiddlebox } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { type Family, HOPS, pathSpec, urlTo } from './path.js';
import { type Counters, expect, type PathCase, runPathCase } from './path-case.js';

const UPLOAD = 300_007;
const CONTROL_TIMEOUT_MS = 4000;
const TUNNELS: Readonly<Record<Family, string>> = { 4: 'ip protocol 4', 6: 'ip6 nexthdr 41' };

/** The first connection was tried by tunnel and went on plain through the node; the second one asked nobody. */
const givenUp = (answers: number, near: Seen, far: Seen, counters: Counters): string | undefined =>
  expect(
    [near.replies === answers, `the node answered ${near.replies} times, ${answers} expected`],
    [near.tunnelled > 0, 'nothing was sent through the tunnel'],
    [far.tunnelled === 0, `${far.tunnelled} packets of the tunnel came through m`],
    [counters['taken-reply-stripped'] === 1, 'the node did not carry on'],
    [near.requests === 1, `${near.requests} requests left c1, 1 expected: that of the first connection`],
  );

const blockedCase = (id: string, how: string, verdict: string, family: Family): PathCase => ({
  id,
  title: `protocol ${family === 4 ? '4' : '41'} is ${how}`,
  family,
  rules: [`${TUNNELS[family]} ${verdict}`],
  outcome:
    verdict === 'drop' ? 'plain once the node has repeated its SYN-ACK twice, then at once' : 'plain at once',
  // An error says so at once; silence is told from loss by the node's second repetition.
  holds: (near, far, counters) => givenUp(verdict === 'drop' ? 3 : 1, near, far, counters),
});

const CASES: readonly PathCase[] = [
  blockedCase('dropped', 'dropped in silence', 'drop', 4),
  blockedCase('rejected', 'rejected with ICMP', 'reject with icmp admin-prohibited', 4),
  blockedCase('dropped-v6', 'dropped in silence', 'drop', 6),
  blockedCase('rejected-v6', 'rejected with ICMPv6', 'reject with icmpv6 admin-prohibited', 6),
];

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
