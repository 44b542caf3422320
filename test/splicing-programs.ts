/** Programs that splice, between a link to nowhere and routes over it, for comparisons with the model. */
import { writeFileSync } from 'node:fs';
import { ip, toMapped, type Family } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { ipv4Number } from '../bpf/programs.js';
import { commandSync } from '../host/exec.js';
import { UNCHANGED, type FlowEnds, type Mapping } from '../splice/mapping.js';
import { seq } from '../wire/seq.js';
import { nodeAddresses, ProgramsUnderTest } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

/** The other connection, from the node to the destination. */
export const OUT: Record<Family, FlowEnds> = {
  4: { source: nodeAddresses[4], sourcePort: 51000, destination: ip('192.0.2.80'), destinationPort: 80 },
  6: { source: nodeAddresses[6], sourcePort: 51000, destination: ip('2001:db8:80::80'), destinationPort: 80 },
};

/** Numbers and windows stay as they are; timestamps, SACK and ECN are of no leg. */
export const UNMAPPED: Omit<Mapping, 'out'> = {
  base: seq(0),
  ...UNCHANGED,
  maxSegment: 1480,
  timestamps: false,
  sack: false,
  ecn: false,
};

/** Works in a network namespace of its own until it is closed; its link takes packets of up to `mtu` bytes. */
export class SplicingPrograms extends ProgramsUnderTest {
  readonly #leaveNamespace: () => void;

  constructor(mtu = 1500) {
    const leaveNamespace = enterNewNetworkNamespace();
    commandSync('ip', ['link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'far']);
    for (const name of ['out', 'far']) commandSync('ip', ['link', 'set', name, 'mtu', String(mtu), 'up']);
    for (const family of ['-4', '-6']) commandSync('ip', [family, 'route', 'add', 'default', 'dev', 'out']);
    for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']) {
      writeFileSync(`/proc/sys/net/${key}`, '1');
    }
    super();
    this.#leaveNamespace = leaveNamespace;
    this.programs.configure({
      flags: TpotFlag.NODE | TpotFlag.SPLICING,
      address4: ipv4Number(nodeAddresses[4]),
      address6: toMapped(nodeAddresses[6]),
    });
  }

  override close(): void {
    super.close();
    this.#leaveNamespace();
  }
}
