/**
 * Links narrower than the ends know, in the middle of a tunnel:
 *
 * ```
 * c1 ─── m ═══ n ─── p1 ─── origin      ═══: the narrow link; m and n may keep their ICMP to themselves
 * ```
 *
 * In each case a megabyte goes to the origin and comes back, at the same time, without TPOT and with it. With TPOT the
 * way to the node has a header more to carry; nothing that works without it may fail. Where m lets no IP in IP pass, it has
 * eight bytes more, of UDP.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allWhole, attempt, beyond, noneWhole } from '../cases.js';
import { content, contentHash } from '../content.js';
import type { Lab, LabRun } from '../lab.js';
import { setMiddlebox, SYN, SYN_ACK } from '../middlebox.js';
import type { RouteSpec, TopologySpec } from '../spec.js';
import { type Family, grown, HOPS, urlTo } from './path.js';
import { RELAY_RULES } from './common.js';
import { runForged } from './mtu-forged.js';
import { forgetPaths, narrow } from './mtu-link.js';

const UPLOAD = 1_000_000;
const HASH = contentHash('upload', UPLOAD);
const ORIGIN_V6 = '2001:db8:4::1';
/** What does not go through stalls: long enough for what does, which takes less than a second. */
const STALL_MS = 5_000;
const TIMEOUT_MS = 40_000;
const NO_IP_IN_IP = ['ip protocol 4', 'ip6 nexthdr 41'].map(
  (match) => `${match} reject with icmpx admin-prohibited`,
);

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'm', role: 'router' },
    { name: 'n', role: 'router' },
    { name: 'p1', role: 'node' },
    { name: 'origin', role: 'origin' },
  ],
  links: [
    { between: ['c1', 'm'], v6: true },
    { between: ['m', 'n'], v6: true },
    { between: ['n', 'p1'], v6: true },
    { between: ['p1', 'origin'], v6: true, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
  ],
  routes: [
    ...['default', '::/0'].flatMap((to): RouteSpec[] => [
      { host: 'c1', to, via: 'm' },
      { host: 'm', to, via: 'n' },
      { host: 'n', to, via: 'p1' },
      { host: 'origin', to, via: 'p1' },
    ]),
    ...['198.18.0.0/15', '2001:db8:1::/64', '2001:db8:2::/64'].flatMap((to): RouteSpec[] => [
      { host: 'n', to, via: 'm' },
      { host: 'p1', to, via: 'n' },
    ]),
  ],
  nodes: [{ host: 'p1', config: { address: ['198.18.3.1', '2001:db8:3::1'], rules: RELAY_RULES } }],
};

interface Case {
  readonly id: string;
  readonly title: string;
  readonly family: Family;
  readonly mtu: number;
  /** Routers do not say that a packet is too big. */
  readonly silent?: boolean;
  /** m sets the MSS of SYNs and SYN-ACKs to what its links carry, as access routers do. */
  readonly clamp?: boolean;
  /** net.ipv4.tcp_mtu_probing of all ends. */
  readonly probing?: 0 | 1;
  /** m refuses IP in IP, so the tunnel is in UDP. */
  readonly udp?: boolean;
  /** Neither may get through: the control that shows that the link is what it is said to be. */
  readonly control?: boolean;
}

/** The first two are what DSL lines carry (PPPoE, RFC 2516) and the least that IPv6 needs. */
const IN_UDP: readonly Case[] = [
  { id: '1492-udp', title: 'MTU 1492, tunnel in UDP', family: 4, mtu: 1492, udp: true },
  { id: '1492-v6-udp', title: 'MTU 1492, IPv6, tunnel in UDP', family: 6, mtu: 1492, udp: true },
  { id: '1280-udp', title: 'MTU 1280, tunnel in UDP', family: 4, mtu: 1280, udp: true },
  { id: '1280-v6-udp', title: 'MTU 1280, IPv6, tunnel in UDP', family: 6, mtu: 1280, udp: true },
  {
    id: 'clamped-udp',
    title: 'MTU 1492 without ICMP, MSS set by a router, tunnel in UDP',
    family: 4,
    mtu: 1492,
    silent: true,
    clamp: true,
    udp: true,
  },
  {
    id: 'clamped-v6-udp',
    title: 'MTU 1492 without ICMP, MSS set by a router, IPv6, tunnel in UDP',
    family: 6,
    mtu: 1492,
    silent: true,
    clamp: true,
    udp: true,
  },
  {
    id: 'silent-probing-udp',
    title: 'MTU 1280 without ICMP, the ends probe, tunnel in UDP',
    family: 4,
    mtu: 1280,
    silent: true,
    probing: 1,
    udp: true,
  },
];

const CASES: readonly Case[] = [
  { id: '1492', title: 'MTU 1492', family: 4, mtu: 1492 },
  { id: '1280', title: 'MTU 1280', family: 4, mtu: 1280 },
  { id: '1280-v6', title: 'MTU 1280, IPv6', family: 6, mtu: 1280 },
  { id: '1300-v6', title: 'MTU 1300, IPv6', family: 6, mtu: 1300 },
  {
    id: 'clamped',
    title: 'MTU 1492 without ICMP, MSS set by a router',
    family: 4,
    mtu: 1492,
    silent: true,
    clamp: true,
  },
  {
    id: 'clamped-v6',
    title: 'MTU 1492 without ICMP, MSS set by a router, IPv6',
    family: 6,
    mtu: 1492,
    silent: true,
    clamp: true,
  },
  {
    id: 'silent-probing',
    title: 'MTU 1280 without ICMP, the ends probe',
    family: 4,
    mtu: 1280,
    silent: true,
    probing: 1,
  },
  { id: 'silent', title: 'MTU 1280 without ICMP', family: 4, mtu: 1280, silent: true, control: true },
  ...IN_UDP,
  // Last: below 1280 a link has no IPv6 any more.
  { id: '576', title: 'MTU 576', family: 4, mtu: 576 },
];

async function prepare({ topology }: LabRun, one: Case): Promise<void> {
  await narrow(topology, one.mtu, one.silent === true);
  const size = one.mtu - (one.family === 4 ? 40 : 60);
  const clamp = [SYN, SYN_ACK].map(
    (flags) => `${flags} tcp option maxseg size > ${size} tcp option maxseg size set ${size}`,
  );
  await setMiddlebox(
    topology,
    'm',
    [...(one.clamp === true ? clamp : []), ...(one.udp === true ? NO_IP_IN_IP : [])],
    'forward',
  );
  await forgetPaths(topology, one.probing ?? 0);
}

async function runCase(run: LabRun, one: Case, upload: string): Promise<void> {
  const { topology, step, check, outcome } = run;
  await prepare(run, one);
  const client = topology.host('c1');
  const url = one.family === 4 ? urlTo(4, '/echo') : `http://[${ORIGIN_V6}]/echo`;
  const options = { upload, timeoutMs: one.control === true ? STALL_MS : TIMEOUT_MS };
  const plain = await attempt(topology, client, url, { ...options, hops: undefined });
  const { value: tpot, counters } = await grown(topology, 'p1', () =>
    attempt(topology, client, url, { ...options, hops: HOPS }),
  );
  const [before, after] = [plain[0], tpot[0]];
  step(
    `${one.title}: without TPOT ${before?.milliseconds ?? 0} ms, with TPOT ${after?.milliseconds ?? 0} ms`,
  );
  const [asked, other] = one.udp === true ? ['decap-udp-ok', 'decap-ok'] : ['decap-ok', 'decap-udp-ok'];
  const [tunnelled = 0, otherwise = 0] = [counters[asked], counters[other]];
  check({
    name: `${one.title}: by tunnel`,
    ok: tunnelled > 0 && otherwise === 0,
    detail: `${tunnelled} segments`,
  });
  if (one.control === true) {
    check(noneWhole(`control: ${one.title}: without TPOT it stalls`, plain, HASH));
    const works = after?.exit === 0;
    outcome({
      id: `mtu/${one.id}`,
      title: one.title,
      without: 'stalls',
      with: works ? 'works' : 'stalls, too',
    });
    return;
  }
  check(allWhole(`${one.title}: without TPOT`, plain, HASH));
  check(allWhole(`${one.title}: with TPOT`, tpot, HASH));
  outcome({
    id: `mtu/${one.id}`,
    title: one.title,
    without: 'works',
    with: one.udp === true ? 'works, by a tunnel in UDP' : 'works, by tunnel',
    fallbackMs: beyond(after, before),
  });
}

async function run(run: LabRun): Promise<void> {
  await run.captured(); // what counts here is what arrives
  const upload = join(run.topology.directory, 'upload');
  writeFileSync(upload, Buffer.concat([...content('upload', UPLOAD)]));
  for (const one of CASES) await runCase(run, one, upload);
  const answer = createHash('sha256').update(`${HASH} ${UPLOAD}\n`).digest('hex');
  await runForged(run, upload, answer);
}

export const mtu: Lab = {
  name: 'mtu',
  summary: 'narrow links inside the tunnel, with and without ICMP, bulk data both ways',
  spec,
  run,
};
