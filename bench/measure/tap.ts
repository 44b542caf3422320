/** Captures on both sides of the middle host, with the kernel's own time stamps. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Program } from '../../netns/host.js';
import type { Leg, Site } from '../site.js';
import { matchDelays, sightings, SNAP_LENGTH, type Delay } from './delays.js';

export interface Tapped {
  readonly delays: readonly Delay[];
  /** Packets that the kernel could not hand to the capture. */
  readonly dropped: number;
}

interface Tap {
  readonly program: Program;
  readonly file: string;
}

const BUFFER_KIB = 32 * 1024;
let captures = 0;

/** `ip[42:2]` is the destination port behind two IPv4 headers without options. */
function filterOf(port: number): string {
  return `tcp dst port ${port} or (ip proto 4 and ip[42:2] = ${port})`;
}

async function startTap(site: Site, device: string, port: number): Promise<Tap> {
  captures += 1;
  const file = join(site.topology.directory, `tap-${captures}.pcap`);
  const precision = ['--time-stamp-precision', 'nano'];
  const shape = ['-n', '-s', String(SNAP_LENGTH), '-B', String(BUFFER_KIB), ...precision];
  const args = [
    '-i',
    device,
    '-Q',
    device === 'to-origin' ? 'out' : 'in',
    ...shape,
    '-Z',
    'root',
    '-w',
    file,
  ];
  const program = site.topology.host('p1').spawn('tcpdump', [...args, filterOf(port)]);
  await program.while(() => program.stderr().includes('listening on'), { what: 'tcpdump to listen' });
  return { program, file };
}

async function stopTap({ program, file }: Tap): Promise<{ bytes: Uint8Array; dropped: number }> {
  await program.stop('SIGINT');
  const dropped = Number(/^(\d+) packets? dropped by kernel/m.exec(program.stderr())?.[1] ?? 0);
  return { bytes: readFileSync(file), dropped };
}

/** What becomes of the packets to a port of the peer, and then of the origin, while `traffic` runs. */
export async function tapped(
  site: Site,
  leg: Leg,
  ports: { readonly client: number; readonly origin: number },
  traffic: () => Promise<void>,
): Promise<Tapped> {
  const near = await startTap(site, leg === 'plain' ? 'to-c1' : 'to-c2', ports.client);
  const far = await startTap(site, 'to-origin', ports.origin);
  await traffic();
  const [arrived, left] = [await stopTap(near), await stopTap(far)];
  return {
    delays: matchDelays(sightings(arrived.bytes), sightings(left.bytes)),
    dropped: arrived.dropped + left.dropped,
  };
}
