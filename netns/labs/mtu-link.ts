/** The narrow link of the lab mtu, between m and n. */
import { setMiddlebox } from '../middlebox.js';
import { linkBetween } from '../spec.js';
import type { Topology } from '../topology.js';

const HOSTS = ['c1', 'm', 'n', 'p1', 'origin'] as const;
const SILENT = ['icmp type destination-unreachable icmp code 4 drop', 'icmpv6 type packet-too-big drop'];

/** Sets the MTU of the link; `silent` routers do not say that a packet is too big. */
export async function narrow(topology: Topology, mtu: number, silent: boolean): Promise<void> {
  const { own, far } = linkBetween(topology.links, 'm', 'n');
  for (const end of [own, far]) {
    await topology.host(end.host).must('ip', ['link', 'set', end.interface, 'mtu', String(mtu)]);
    await setMiddlebox(topology, end.host, silent ? SILENT : [], 'output');
  }
}

/** Sets net.ipv4.tcp_mtu_probing everywhere, and what was learnt of paths is forgotten. */
export async function forgetPaths(topology: Topology, probing: 0 | 1): Promise<void> {
  for (const name of HOSTS) {
    const host = topology.host(name);
    await host.must('sysctl', ['-qw', `net.ipv4.tcp_mtu_probing=${probing}`]);
    for (const family of ['-4', '-6']) await host.must('ip', [family, 'route', 'flush', 'cache']);
  }
}
