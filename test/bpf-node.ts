/** A node's programs with connections it has taken, for comparisons with the model. */
import { toMapped, type Family } from '../core/address.js';
import { TpotFlag, TpotState, type TpotTaken } from '../bpf/generated/maps.js';
import { ipv4Number } from '../bpf/programs.js';
import type { TunnelEnds } from '../wire/ipip.js';
import type { UdpTunnelEnds } from '../wire/udp-tunnel.js';
import { flows, mapFlow, nodeAddresses, ProgramsUnderTest } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

export const UDP_PORT = 6080;
export const ends: Record<Family, TunnelEnds> = {
  4: { source: flows[4].source, destination: nodeAddresses[4] },
  6: { source: flows[6].source, destination: nodeAddresses[6] },
};
export const endsInUdp: Record<Family, UdpTunnelEnds> = {
  4: { ...ends[4], port: UDP_PORT },
  6: { ...ends[6], port: UDP_PORT },
};
export const phases = {
  'syn-received': TpotState.SYN_RECEIVED,
  'syn-answered': TpotState.SYN_ANSWERED,
  tunnelled: TpotState.TUNNELLED,
  plain: TpotState.PLAIN,
  edge: TpotState.EDGE,
} as const;

export const entry = (of: Family, state: number): TpotTaken => ({
  outerSource: toMapped(flows[of].source),
  isn: 0,
  state,
  capabilities: 5,
  hops: 8,
  udp: 0,
  mss: 0,
  keyed: 0,
  counted: 0,
  last: 0,
  acknowledged: 0,
  again: 0,
  returning: 0,
  unused: 0,
});

/** Works in a network namespace of its own until it is closed. */
export class NodeUnderTest {
  readonly #leaveNamespace = enterNewNetworkNamespace();
  readonly kernel = new ProgramsUnderTest();

  constructor() {
    this.kernel.programs.configure({
      flags: TpotFlag.NODE,
      address4: ipv4Number(nodeAddresses[4]),
      address6: nodeAddresses[6].bytes,
      udpPort: UDP_PORT,
    });
  }

  /** Puts a connection where the kernel keeps it until it is established. */
  take(of: Family, state: number, synMss = 0): void {
    this.kernel.programs.map('tpotTransient').set(mapFlow(flows[of]), { ...entry(of, state), mss: synMss });
  }

  forget(of: Family): void {
    this.kernel.programs.map('tpotTransient').delete(mapFlow(flows[of]));
  }

  stateOf(of: Family): number | undefined {
    return this.kernel.programs.map('tpotTransient').get(mapFlow(flows[of]))?.state;
  }

  close(): void {
    this.kernel.close();
    this.#leaveNamespace();
  }
}
