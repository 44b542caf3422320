/** Segmentation and receive offloads of a topology's links: whether packets travel whole or in MSS-sized pieces. */
import { tryCommand } from '../../host/exec.js';
import type { Topology } from '../../netns/topology.js';

/** `large`: TSO, GSO and GRO on, packets of up to 64 KiB cross the node. `mss`: every packet fits the MTU. */
export type PacketSize = 'large' | 'mss';

/** As `ethtool -k` names them; `on`, `off`, with `[fixed]` where they cannot be changed. */
export type Offloads = Readonly<Record<string, string>>;

const SHOWN = [
  'tx-checksumming',
  'tcp-segmentation-offload',
  'generic-segmentation-offload',
  'generic-receive-offload',
  'large-receive-offload',
];

async function setPacketSize(topology: Topology, size: PacketSize): Promise<void> {
  const state = size === 'large' ? 'on' : 'off';
  for (const { ends } of topology.links) {
    for (const { host, interface: device } of ends) {
      await topology.host(host).must('ethtool', ['-K', device, 'tso', state, 'gso', state, 'gro', state]);
    }
  }
}

/** The answer of `ethtool -k`, cut down to what matters here. */
export function parseOffloads(text: string): Offloads {
  const found = [...text.matchAll(/^([\w-]+): (.+)$/gm)].map(([, name = '', value = '']) => [
    name,
    value.trim(),
  ]);
  return Object.fromEntries(found.filter(([name = '']) => SHOWN.includes(name))) as Offloads;
}

/** What the node's link to the origin has; all links of a topology are set alike. */
async function readOffloads(topology: Topology): Promise<Offloads> {
  const host = topology.host('p1');
  const { stdout } = await tryCommand('nsenter', host.enter('ethtool', ['-k', 'to-origin']));
  return parseOffloads(stdout);
}

/** Sets the links of all topologies alike, and says what they have now. */
export async function setAllPacketSizes(
  topologies: readonly Topology[],
  size: PacketSize,
): Promise<Offloads> {
  for (const topology of topologies) await setPacketSize(topology, size);
  const [first] = topologies;
  return first === undefined ? {} : readOffloads(first);
}
