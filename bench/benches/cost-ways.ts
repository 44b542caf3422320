/**
 * What a packet costs on its whole way through a host, from where a driver hands it over to where the far end of the
 * link drops it: forwarded by the kernel, without the programs and with them, and spliced.
 */
import { writeFileSync } from 'node:fs';
import { formatIp } from '../../core/address.js';
import { TpotError } from '../../core/errors.js';
import { commandSync } from '../../host/exec.js';
import { listInterfaces, type NetworkInterface } from '../../host/interfaces.js';
import { attachInterface } from '../../bpf/attach.js';
import type { TpotPrograms } from '../../bpf/programs.js';
import { loadInstructions, PROGRAM_TYPE, receiveFrames } from '../measure/live-frames.js';
import { costPaths, NODE_ADDRESS, ORIGIN_ADDRESS } from './cost-paths.js';

export interface WayCost {
  readonly title: string;
  /** By round. */
  readonly nanoseconds: readonly number[];
}

interface Way {
  readonly title: string;
  /** Of {@link costPaths}: whose frame it is. */
  readonly path: string;
  readonly attached: boolean;
}

/** The first is what the others are compared with. */
const WAYS: readonly Way[] = [
  { title: 'IP forwarding', path: 'pass-ingress', attached: false },
  { title: 'IP forwarding beside spliced connections', path: 'pass-ingress', attached: true },
  { title: 'spliced segment', path: 'splice', attached: true },
  { title: 'spliced ACK', path: 'splice-ack', attached: true },
  { title: 'spliced segment out of its tunnel', path: 'splice-tunnelled', attached: true },
];
const FRAMES = 100_000;
const DROP = Buffer.from('b7000000020000009500000000000000', 'hex'); // r0 = TC_ACT_SHOT; exit

interface Host {
  readonly arriving: NetworkInterface;
  readonly leaving: NetworkInterface;
  readonly mac: Buffer;
}

function prepareHost(): Host {
  const ip = (...args: string[]): string => commandSync('ip', args);
  for (const name of ['way-in', 'way-out']) {
    ip('link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-far`);
    for (const end of [name, `${name}-far`]) ip('link', 'set', end, 'up');
  }
  commandSync('ethtool', ['-K', 'way-in', 'gro', 'on']); // live frames want an interface with receive queues
  ip('addr', 'add', `${formatIp(NODE_ADDRESS)}/24`, 'dev', 'way-in');
  const origin = formatIp(ORIGIN_ADDRESS);
  ip('route', 'add', origin, 'dev', 'way-out');
  ip('neigh', 'add', origin, 'lladdr', '02:00:00:00:00:99', 'dev', 'way-out', 'nud', 'permanent');
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  const [{ address }] = JSON.parse(ip('-j', 'link', 'show', 'way-in')) as [{ address: string }];
  const named = (wanted: string): NetworkInterface => {
    const found = listInterfaces().find(({ name }) => name === wanted);
    if (found === undefined) throw new TpotError('bench-failed', `there is no interface ${wanted}`);
    return found;
  };
  attachInterface(
    loadInstructions(PROGRAM_TYPE.schedCls, 'drop', DROP),
    named('way-out-far').index,
    'ingress',
  );
  return {
    arriving: named('way-in'),
    leaving: named('way-out'),
    mac: Buffer.from(address.replaceAll(':', ''), 'hex'),
  };
}

function packetsSent(): number {
  const [{ stats64 }] = JSON.parse(commandSync('ip', ['-j', '-s', 'link', 'show', 'way-out'])) as [
    { stats64: { tx: { packets: number } } },
  ];
  return stats64.tx.packets;
}

/** Nanoseconds for each frame; fails when they did not all leave. */
function timeWay(host: Host, programs: TpotPrograms, way: Way): number {
  const frame = Buffer.from(costPaths.find(({ name }) => name === way.path)?.frame ?? []);
  host.mac.copy(frame);
  const interfaces = way.attached ? [host.arriving, host.leaving] : [];
  const attachments = interfaces.flatMap((one) => programs.attachInterface(one));
  const before = packetsSent();
  try {
    const time = receiveFrames(frame, host.arriving.index, FRAMES);
    const sent = packetsSent() - before;
    if (sent < FRAMES) throw new TpotError('bench-failed', `${way.title}: ${sent} of ${FRAMES} frames left`);
    return time;
  } finally {
    for (const attachment of attachments) attachment.detach();
  }
}

/**
 * In the current network namespace, which should be one of its own, with the entries of the paths in the tables. The
 * programs are told each time that nothing else is in them, as on a node that takes no request and opens no tunnel.
 */
export function measureWays(programs: TpotPrograms, rounds: number): WayCost[] {
  const host = prepareHost();
  const times = WAYS.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, way] of WAYS.entries()) times[index]?.push(timeWay(host, programs, way));
  }
  return WAYS.map(({ title }, index) => ({ title, nanoseconds: times[index] ?? [] }));
}
