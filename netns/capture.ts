/** Captures on links of a topology: one child process per host, one file per link. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtFile } from '../host/paths.js';
import { dissect, type Dissection } from '../wire/dissect.js';
import type { Program } from './host.js';
import { readPcap } from './pcap.js';
import type { Endpoint, PlannedLink } from './spec.js';
import type { Topology } from './topology.js';

export interface CaptureSummary {
  readonly packets: number;
  /** Lost for want of room; `undefined` when the kernel would not tell. */
  readonly drops: number | undefined;
  /** Packets by the protocol of their (outer) IP header, or of the frame. */
  readonly protocols: Readonly<Record<string, number>>;
}

export type CaptureEvent =
  | { readonly event: 'attached' }
  | { readonly event: 'stopped'; readonly interfaces: Readonly<Record<string, CaptureSummary>> };

/** A captured IP packet. ARP and other frames are left out. */
export interface CapturedPacket {
  /** Position in the file, from 1, as capture tools number them. */
  readonly number: number;
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly dissection: Dissection;
}

export interface LinkCapture {
  /** `c1-p1`, as the link is called. */
  readonly link: string;
  readonly file: string;
  readonly summary: CaptureSummary;
  readonly packets: readonly CapturedPacket[];
}

export interface CaptureOptions {
  /** Links by name; default: all. */
  readonly links?: readonly string[];
  /** Put before the link's name in file names, to tell several captures of one topology apart. */
  readonly prefix?: string;
}

interface Tap {
  readonly link: string;
  readonly end: Endpoint;
  readonly file: string;
}

const ETHERNET_HEADER = 14;
const ETHERTYPE_OFFSET = 12;
const ETHERTYPES: readonly number[] = [0x0800, 0x86dd]; // IPv4, IPv6

/** Reads a capture file of this project (Ethernet frames) and takes its IP packets apart. */
export function readCapture(file: Uint8Array): CapturedPacket[] {
  return readPcap(file).packets.flatMap(({ time, bytes }, index) => {
    const type = ((bytes[ETHERTYPE_OFFSET] ?? 0) << 8) | (bytes[ETHERTYPE_OFFSET + 1] ?? 0);
    if (!ETHERTYPES.includes(type)) return [];
    return [{ number: index + 1, time, dissection: dissect(bytes.subarray(ETHERNET_HEADER)) }];
  });
}

/**
 * Picks, for every link, the end to listen at, so that few hosts need a capturing process: again and again the host
 * with the most links that are still to be covered.
 */
export function chooseEnds(links: readonly PlannedLink[]): Map<string, { link: string; end: Endpoint }[]> {
  const chosen = new Map<string, { link: string; end: Endpoint }[]>();
  let left = [...links];
  while (left.length > 0) {
    const counts = new Map<string, number>();
    for (const { host } of left.flatMap((link) => link.ends)) counts.set(host, (counts.get(host) ?? 0) + 1);
    const [best = ''] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
    const covered = left.flatMap(({ name, ends }) =>
      ends.filter((end) => end.host === best).map((end) => ({ link: name, end })),
    );
    chosen.set(best, covered);
    left = left.filter((link) => !link.ends.some((end) => end.host === best));
  }
  return chosen;
}

interface Listener {
  readonly program: Program;
  readonly taps: readonly Tap[];
}

async function stopListener({ program, taps }: Listener): Promise<LinkCapture[]> {
  program.signal('SIGTERM');
  const [line] = await program.output(/^.*"stopped".*$/m, { what: `${program.label} to stop` });
  const { interfaces } = JSON.parse(line) as Extract<CaptureEvent, { event: 'stopped' }>;
  return taps.map(({ link, end, file }) => {
    const summary = interfaces[end.interface] ?? { packets: 0, drops: undefined, protocols: {} };
    return { link, file, summary, packets: readCapture(readFileSync(file)) };
  });
}

export class Capture {
  readonly #listeners: readonly Listener[];

  constructor(listeners: readonly Listener[]) {
    this.#listeners = listeners;
  }

  /** Ends the capture. Everything that had crossed the links before is in the result, which is keyed by link name. */
  async stop(): Promise<Map<string, LinkCapture>> {
    const captures = await Promise.all(this.#listeners.map(stopListener));
    return new Map(captures.flat().map((capture) => [capture.link, capture]));
  }
}

/** Starts capturing on links; resolves when packets are being taken on each. */
export async function startCapture(topology: Topology, options: CaptureOptions = {}): Promise<Capture> {
  const wanted = topology.links.filter(({ name }) => options.links?.includes(name) ?? true);
  const prefix = options.prefix === undefined ? '' : `${options.prefix}-`;
  const listeners = [...chooseEnds(wanted)].map(([host, ends]): Listener => {
    const taps = ends.map(({ link, end }) => ({
      link,
      end,
      file: join(topology.directory, `${prefix}${link}.pcap`),
    }));
    const args = [
      builtFile('netns', 'capture-child.js'),
      ...taps.map(({ end, file }) => `${end.interface}=${file}`),
    ];
    const program = topology.host(host).spawn(process.execPath, args, { label: 'capture' });
    return { program, taps };
  });
  await Promise.all(listeners.map(({ program }) => program.output(/"attached"/)));
  return new Capture(listeners);
}
