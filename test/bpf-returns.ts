/** Machines that take return tunnels, for comparisons with the model: a source alone, and a node with a next leg. */
import { toMapped, type Family, type IpAddress } from '../core/address.js';
import { ip } from '../core/address.js';
import { TpotFlag, type TpotTunnel } from '../bpf/generated/maps.js';
import { ipv4Number } from '../bpf/programs.js';
import type { Flow, PinnedConnection, TunnelEnd } from '../tpot/decap.js';
import { CAPABILITY } from '../tpot/option.js';
import type { TunnelEnds } from '../wire/ipip.js';
import { isFlow } from './bpf-expected.js';
import { UDP_PORT } from './bpf-node.js';
import { mapFlow, nodeAddresses, type ProgramsUnderTest } from './bpf-programs.js';

/** A connection that this machine has opened, and the node that it is pinned to. */
export const legs: Record<Family, Flow> = {
  4: { source: nodeAddresses[4], sourcePort: 51000, destination: ip('192.0.2.80'), destinationPort: 80 },
  6: { source: nodeAddresses[6], sourcePort: 51000, destination: ip('2001:db8:80::80'), destinationPort: 80 },
};
export const nextNodes: Record<Family, IpAddress> = { 4: ip('198.18.2.1'), 6: ip('2001:db8:2::1') };
/** Where the next node takes packets in UDP. */
export const NEXT_PORT = 6081;
/** Of the return tunnel. */
export const returnEnds: Record<Family, TunnelEnds> = {
  4: { source: nextNodes[4], destination: nodeAddresses[4] },
  6: { source: nextNodes[6], destination: nodeAddresses[6] },
};

export const tunnelEntry = (remote: IpAddress, changes: Partial<TpotTunnel> = {}): TpotTunnel => ({
  remote: toMapped(remote),
  udpPort: NEXT_PORT,
  capabilities: 0,
  repeats: 0,
  plain: 0,
  udp: 0,
  answered: 0,
  back: 0,
  stalls: 0,
  largest: 0,
  ...changes,
});

export type Machine = 'source' | 'node';

/** Makes a machine of the programs; `capabilities`: what it takes. */
export function become(
  { programs }: ProgramsUnderTest,
  machine: Machine,
  capabilities: number = CAPABILITY.returnTunnel,
): void {
  const node = machine === 'node';
  programs.configure({
    flags: node ? TpotFlag.NODE : TpotFlag.SOURCE,
    address4: node ? ipv4Number(nodeAddresses[4]) : 0,
    address6: node ? nodeAddresses[6].bytes : new Uint8Array(16),
    udpPort: node ? UDP_PORT : 0,
    capabilities,
  });
}

/** The same for the model, with the connections of {@link legs} pinned. */
export function endOf(machine: Machine, plain = false): TunnelEnd {
  const pinned = (flow: Flow): PinnedConnection | undefined =>
    isFlow(flow, legs[flow.source.family])
      ? { remote: nextNodes[flow.source.family], udpPort: NEXT_PORT, plain }
      : undefined;
  if (machine === 'source') return { own: [], pinned };
  return { own: Object.values(nodeAddresses), udpPort: UDP_PORT, pinned };
}

/** Pins the connections of {@link legs}. */
export function pinLegs(
  { programs }: ProgramsUnderTest,
  changes: Partial<TpotTunnel> = {},
  table: 'tpotTunnels' | 'tpotTunnelsClosed' = 'tpotTunnels',
): void {
  for (const of of [4, 6] as const) {
    programs.map(table).set(mapFlow(legs[of]), tunnelEntry(nextNodes[of], changes));
  }
}

export function unpinLegs({ programs }: ProgramsUnderTest): void {
  for (const table of ['tpotTunnels', 'tpotTunnelsClosed'] as const) {
    for (const of of [4, 6] as const) programs.map(table).delete(mapFlow(legs[of]));
  }
}

/** A moment ago on CLOCK_MONOTONIC: the programs read it by steps of the kernel's timer, and must not find it ahead of them. */
export function justNow(): bigint {
  return process.hrtime.bigint() - 20_000_000n;
}

/** What the programs note just now, or have noted seconds ago, as the instant of a sign: `coarse_instant()` in bpf/tpot_packet.h. */
export function instant(long: boolean): number {
  return Number(((justNow() >> 26n) + (long ? 192n : 0n)) & 255n);
}
