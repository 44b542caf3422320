/**
 * Somebody who is not on the path tries to get packets in, to break connections and to exhaust the node:
 *
 * ```
 * c1 ─── m ─── p1 ─── origin        x: sends what it likes, under any source address
 *       x┘ └o                       o: the negative control, an open decapsulator
 * ```
 *
 * A download of c1, tunnelled to p1 and stopped half-way, is the victim; the attacker knows its addresses and ports, and
 * not its sequence numbers. Beside it stands one without TPOT, which gets what such an attacker can send there.
 */
import { randomInt } from 'node:crypto';
import { statSync } from 'node:fs';
import { ip } from '../../core/address.js';
import { buildTcp, type TcpPacketSpec } from '../../wire/build.js';
import { Attacker, openDecapsulator } from '../attacker.js';
import { icmpError } from '../icmp-error.js';
import type { LinkCapture } from '../capture.js';
import { allWhole, attempt } from '../cases.js';
import { checkEqual } from '../checks.js';
import { contentHash } from '../content.js';
import { startFetch, type RunningFetch } from '../fetch.js';
import type { Lab, LabRun } from '../lab.js';
import type { TopologySpec } from '../spec.js';
import { waitFor } from '../wait.js';
import { captureOf } from './common.js';

import { forgedAnswers } from './attack-answers.js';
import { floodNode, floodOrigin } from './attack-flood.js';
import { grown, HOPS, pathSpec, urlTo } from './path.js';

const CLIENT = '198.18.1.2';
const NODE = '198.18.2.1';
const ORIGIN = '192.0.2.80';
const STRANGER = '198.18.4.2';
const OPEN = '198.18.5.1';
const MARKER = 'INJECTED-7f3a';
const BLIND = 200;
const SIZE = 2 * 1024 * 1024;
const PATH = `/gated/${SIZE}`;
const HALF = SIZE / 2 - 65_536;
const SMALL_PATH = '/bytes/65536';
/** The victims wait through all the attacks, on a slow machine too. */
const DOWNLOAD_TIMEOUT_MS = 900_000;

const base = pathSpec();
const spec: TopologySpec = {
  hosts: [...base.hosts, { name: 'x', role: 'client' }, { name: 'o', role: 'router' }],
  links: [...base.links, { between: ['x', 'm'], offload: false }, { between: ['m', 'o'], offload: false }],
  routes: [
    ...(base.routes ?? []),
    { host: 'x', to: 'default', via: 'm' },
    { host: 'o', to: 'default', via: 'm' },
    { host: 'm', to: '198.19.0.0/16', via: 'x' }, // sources of the flood: what is answered ends here
  ],
  nodes: base.nodes ?? [],
};

interface Attack {
  readonly id: string;
  readonly title: string;
  readonly packets: (port: number) => readonly Uint8Array[];
  /** What the same attacker sends to a connection without TPOT. */
  readonly plain: (port: number) => readonly Uint8Array[];
  /** The counter of the node that tells what became of them; none: they concern c1. */
  readonly counter?: string;
  readonly without: string;
  readonly outcome: string;
  readonly against?: string;
}

const anySeq = (): number => randomInt(0, 0xffff_ffff);
const many = (make: () => Uint8Array): Uint8Array[] => Array.from({ length: BLIND }, make);

/** A segment of the victim's connection, client to origin, carrying the marker. */
const fromClient = (port: number, more: Partial<TcpPacketSpec>): Uint8Array =>
  buildTcp({
    ...{ source: ip(CLIENT), sourcePort: port, destination: ip(ORIGIN), destinationPort: 80 },
    ...{ flags: ['ack', 'psh'], seq: anySeq(), ack: anySeq(), payload: Buffer.from(MARKER) },
    ...more,
  });

const fromOrigin = (port: number, more: Partial<TcpPacketSpec>): Uint8Array =>
  fromClient(port, {
    ...{ source: ip(ORIGIN), sourcePort: 80, destination: ip(CLIENT), destinationPort: port },
    ...more,
  });

const tunnel = (source: string, destination = NODE): NonNullable<TcpPacketSpec['tunnel']> => ({
  source: ip(source),
  destination: ip(destination),
});

const strange = (destination: string): Uint8Array =>
  fromClient(4444, { tunnel: tunnel(STRANGER, destination), flags: ['syn'] });

const resetOrData = (): Partial<TcpPacketSpec> => ({ flags: randomInt(2) === 0 ? ['rst'] : ['ack', 'psh'] });
const aboutSegment = (about: Uint8Array): Uint8Array =>
  icmpError(randomInt(2) === 0 ? 'unreachable' : 'too-big', { from: STRANGER, to: CLIENT, about });

const ATTACKS: readonly Attack[] = [
  {
    id: 'strangers',
    title: "a stranger's packets in protocol 4",
    packets: () => [strange(NODE)],
    plain: () => [strange(ORIGIN)],
    counter: 'drop-decap-unknown',
    without: 'no tunnel to send into',
    outcome: 'dropped and counted, nothing is forwarded',
    against: 'an open decapsulator (ipip in fallback mode) forwards them',
  },
  {
    id: 'outer-source',
    title: "segments of a connection in a stranger's tunnel",
    packets: (port) => many(() => fromClient(port, { tunnel: tunnel(STRANGER) })),
    plain: (port) => many(() => fromClient(port, {})),
    counter: 'drop-decap-source',
    without: 'TCP ignores what is not in its window',
    outcome: 'dropped and counted',
    against: 'under the source of the client: the next row',
  },
  {
    id: 'spoofed',
    title: 'resets and data in the tunnel, under the source of the client',
    packets: (port) => many(() => fromClient(port, { tunnel: tunnel(CLIENT), ...resetOrData() })),
    plain: (port) => many(() => fromClient(port, resetOrData())),
    counter: 'decap-ok',
    without: 'TCP ignores what is not in its window',
    outcome: 'TCP ignores what is not in its window',
    against: 'who sees the sequence numbers can inject, as into plain TCP',
  },
  {
    id: 'resets',
    title: 'resets and data to the client, under the source of the destination',
    packets: (port) => many(() => fromOrigin(port, resetOrData())),
    plain: (port) => many(() => fromOrigin(port, resetOrData())),
    without: 'TCP ignores what is not in its window',
    outcome: 'TCP ignores what is not in its window',
    against: 'as in the row above',
  },
  {
    id: 'icmp',
    title: 'ICMP "unreachable" and "too big" about the tunnel',
    packets: (port) => many(() => aboutSegment(fromClient(port, { tunnel: tunnel(CLIENT) }))),
    plain: (port) => many(() => aboutSegment(fromClient(port, {}))),
    without: 'TCP ignores errors about segments it has not sent',
    outcome: 'the same: an error counts only for a segment on the way',
    against: 'who sees the segments: `blocked` has what "unreachable" does then, `mtu` what "too big" does',
  },
];

interface Victim {
  readonly running: RunningFetch;
  /** Of c1. */
  readonly port: number;
}

/** c1's ports of the connections that stand. */
async function portsOf({ topology }: LabRun): Promise<number[]> {
  const shown = await topology.host('c1').must('ss', ['-Htn', 'state', 'established', 'dst', ORIGIN]);
  return [...shown.matchAll(/:(\d+)\s+\S+:80\b/g)].map(([, port]) => Number(port));
}

async function victim(run: LabRun, hops: number | undefined): Promise<Victim> {
  const { topology } = run;
  const others = await portsOf(run);
  const running = startFetch(topology, topology.host('c1'), urlTo(4, PATH), {
    hops,
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
  });
  const received = (): boolean => (statSync(running.bodyFile, { throwIfNoEntry: false })?.size ?? 0) >= HALF;
  await waitFor(received, { what: 'half of a download' });
  const own = (await portsOf(run)).filter((port) => !others.includes(port));
  return { running, port: own[0] ?? 0 };
}

/** Whether the marker, or anything of the stranger's own, crossed a link. */
const injected = (capture: LinkCapture): number =>
  capture.packets.filter(
    ({ dissection }) =>
      dissection.kind === 'tcp' && Buffer.from(dissection.payload).toString('latin1').includes(MARKER),
  ).length;

interface Victims {
  readonly tunnelled: Victim;
  readonly plain: Victim;
}

async function runAttack(run: LabRun, attacker: Attacker, one: Attack, victims: Victims): Promise<void> {
  const { topology, check, step, outcome } = run;
  const packets = one.packets(victims.tunnelled.port);
  await run.recapture(one.id);
  const counter = one.counter;
  const action = async (): Promise<void> => attacker.inject(packets);
  const { counters } = await grown(topology, 'p1', action);
  const captures = await run.captured();
  await attacker.inject(one.plain(victims.plain.port));
  step(`${one.title}: ${packets.length} packets, and as many to the connection without TPOT`);
  if (counter !== undefined) {
    const seen = counters[counter] ?? 0;
    check({
      name: `${one.title}: counted as ${counter}`,
      ok: seen >= packets.length,
      detail: `${seen} of ${packets.length}`,
    });
  }
  const crossed = injected(captureOf(captures, 'p1-origin'));
  check(checkEqual(`${one.title}: nothing of it went on to the origin`, crossed, 0, ' packets'));
  const standing = await portsOf(run);
  for (const [how, { port }] of Object.entries({ with: victims.tunnelled, without: victims.plain })) {
    check({
      name: `${one.title}: the download ${how} TPOT stands`,
      ok: standing.includes(port),
      detail: `port ${port}`,
    });
  }
  outcome({
    id: `attack/${one.id}`,
    title: one.title,
    without: one.without,
    with: one.outcome,
    ...(one.against === undefined ? {} : { against: one.against }),
  });
}

/** The same stranger's packet to a host that decapsulates for everybody: it must arrive, or the lab shows nothing. */
async function control(run: LabRun, attacker: Attacker): Promise<void> {
  const { topology, check, step } = run;
  const program = await openDecapsulator(topology.host('o'));
  await run.recapture('control');
  await attacker.inject([strange(OPEN)]);
  const captures = await run.captured();
  await program.stop();
  const crossed = injected(captureOf(captures, 'p1-origin'));
  step(`control: the stranger's packet to an open decapsulator: ${crossed} arrived`);
  check(checkEqual('control: an open decapsulator forwards what the node dropped', crossed, 1, ' packet'));
}

async function run(run: LabRun): Promise<void> {
  const { topology, check } = run;
  await run.captured(); // each attack has captures of its own
  const attacker = await Attacker.at(topology, 'x', 'm');
  const plain = await victim(run, undefined);
  const tunnelled = await victim(run, HOPS);
  for (const one of ATTACKS) await runAttack(run, attacker, one, { tunnelled, plain });
  const mtu = await topology.host('c1').must('ip', ['route', 'get', ORIGIN]);
  check({
    name: 'no path MTU was learnt from a forged error',
    ok: !mtu.includes('mtu'),
    detail: mtu.split('\n')[0] ?? '',
  });
  await control(run, attacker);
  await forgedAnswers(run, attacker, {
    ...{ client: CLIENT, origin: ORIGIN, node: NODE, attacker: STRANGER },
    ...{ count: BLIND, path: SMALL_PATH },
  });
  await floodNode(run, attacker);
  await topology.host('origin').must('curl', ['-sS', 'http://127.0.0.1/gate/open']);
  for (const [how, { running }] of Object.entries({ with: tunnelled, without: plain })) {
    const result = await running.result;
    check({
      name: `after all of it the download ${how} TPOT that was under way arrives whole`,
      ok: result.exit === 0 && result.sha256 === contentHash(PATH, SIZE),
      detail: result.exit === 0 ? `${result.bytes} bytes` : result.complaint,
    });
  }
  const small = await attempt(topology, topology.host('c1'), urlTo(4, SMALL_PATH), { hops: HOPS });
  check(allWhole('and a new connection is served', small, contentHash(SMALL_PATH, 65_536)));
  await floodOrigin(run, attacker);
}

export const attack: Lab = {
  name: 'attack',
  summary: 'forged tunnels, segments, replies, ICMP errors, and a SYN flood',
  spec,
  run,
};
