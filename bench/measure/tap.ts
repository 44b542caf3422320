/** Captures on both sides of the middle host, with the kernel's own time stamps. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Program } from '../../netns/host.js';
import { waitFor } from '../../netns/wait.js';
import type { Leg, Site } from '../site.js';
import { matchDelays, sightings, SNAP_LENGTH, type Delay, type Sighting } from './delays.js';

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
const POLL_MS = 100;
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
  const side = ['-i', device, '-Q', device === 'to-origin' ? 'out' : 'in'];
  const output = ['-Z', 'root', '-U', '-w', file];
  const program = site.topology.host('p1').spawn('tcpdump', [...side, ...shape, ...output, filterOf(port)]);
  await program.while(() => program.stderr().includes('listening on'), { what: 'tcpdump to listen' });
  return { program, file };
}

/** What a capture holds so far; tcpdump writes the file's header with the first packet. */
function read({ file }: Tap): Sighting[] {
  const bytes = readFileSync(file);
  return bytes.length === 0 ? [] : sightings(bytes);
}

async function stopTap({ program }: Tap): Promise<number> {
  await program.stop('SIGINT');
  return Number(/^(\d+) packets? dropped by kernel/m.exec(program.stderr())?.[1] ?? 0);
}

/**
 * What becomes of the packets to a port of the peer, and then of the origin, while `traffic` runs. It resolves with
 * the length of the stream that it has sent.
 */
export async function tapped(
  site: Site,
  leg: Leg,
  ports: { readonly client: number; readonly origin: number },
  traffic: () => Promise<number>,
): Promise<Tapped> {
  const near = await startTap(site, leg === 'plain' ? 'to-c1' : 'to-c2', ports.client);
  const far = await startTap(site, 'to-origin', ports.origin);
  const length = await traffic();
  // The kernel hands packets over in blocks, a second late when they are few; an early end would lose the last.
  const delays = await waitFor(
    () => {
      const found = matchDelays(read(near), read(far));
      return (found.at(-1)?.place ?? 0) >= length ? found : undefined;
    },
    { what: 'the captures to hold the last byte', intervalMs: POLL_MS },
  );
  return { delays, dropped: (await stopTap(near)) + (await stopTap(far)) };
}
