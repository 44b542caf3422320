/**
 * Captures on interfaces of the namespace it runs in, with the `cap` package (libpcap), until SIGTERM.
 *
 *   node dist/netns/capture-child.js INTERFACE=FILE.pcap …
 *
 * stdout: `{"event":"attached"}` when packets are being taken, `{"event":"stopped","interfaces":{…}}` at the end with,
 * for each interface, what was captured, lost, and seen live by protocol.
 *
 * The times in the files are those at which this process read a packet: `cap` does not hand on the kernel's.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import cap from 'cap';
import { openSockets, packetCounts } from './packet-socket.js';
import { pcapHeader, pcapRecord } from './pcap.js';
import type { CaptureEvent, CaptureSummary } from './capture.js';

const MAX_PACKET = 65_535; // a packet that is still to be segmented (TSO, GSO)
const RING_BYTES = 32 * 1024 * 1024;
const FLUSH_BYTES = 256 * 1024;
/** Rounds of the event loop with nothing new after which nothing more is waited for, whatever the kernel has counted. */
const QUIET_ROUNDS = 200;
const ROUND_MS = 5;
const IP_IN_IP = 4; // RFC 2003; `cap` calls it IPV4

const { PROTOCOL, Ethernet, IPV4, IPV6 } = cap.decoders;

/** What the frame carries, by its outermost IP header: ARP, TCP, ICMP, IP-in-IP … */
function protocolName(packet: Buffer): string {
  const frame = Ethernet(packet);
  const type = frame.info.type ?? 0;
  if (type === PROTOCOL.ETHERNET['IPV4']) return ipName(IPV4(packet, frame.offset).info.protocol);
  if (type === PROTOCOL.ETHERNET['IPV6']) return ipName(IPV6(packet, frame.offset).info.protocol);
  return PROTOCOL.ETHERNET[type] ?? `ethertype ${type}`;
}

function ipName(protocol: number): string {
  return protocol === IP_IN_IP ? 'IP-in-IP' : (PROTOCOL.IP[protocol] ?? `protocol ${protocol}`);
}

class Tap {
  readonly #capture = new cap.Cap();
  readonly #buffer = Buffer.alloc(MAX_PACKET);
  readonly #file: number;
  readonly #socket: number | undefined;
  readonly #protocols: Record<string, number> = {};
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #packets = 0;
  #kept = 0;
  #drops = 0;

  constructor(device: string, path: string) {
    this.#file = openSync(path, 'w');
    writeSync(this.#file, pcapHeader(MAX_PACKET));
    const before = openSockets();
    this.#capture.on('packet', (length) => this.#packet(length));
    const linkType = this.#capture.open(device, '', RING_BYTES, this.#buffer);
    if (linkType !== 'ETHERNET') throw new Error(`${device}: link type ${linkType}, not Ethernet`);
    this.#socket = [...openSockets()].find((fd) => !before.has(fd) && packetCounts(fd) !== undefined);
  }

  get packets(): number {
    return this.#packets;
  }

  /** Whether everything that has crossed the wire has been read. */
  isComplete(): boolean {
    const counts = this.#socket === undefined ? undefined : packetCounts(this.#socket);
    if (counts === undefined) return false;
    this.#kept += counts.kept;
    this.#drops += counts.drops;
    return this.#packets >= this.#kept;
  }

  close(): CaptureSummary {
    this.#capture.close();
    this.#flush();
    closeSync(this.#file);
    const drops = this.#socket === undefined ? undefined : this.#drops;
    return { packets: this.#packets, drops, protocols: this.#protocols };
  }

  #packet(length: number): void {
    const bytes = this.#buffer.subarray(0, length);
    const record = pcapRecord({
      time: performance.timeOrigin + performance.now(),
      originalLength: length,
      bytes,
    });
    const name = protocolName(this.#buffer);
    this.#protocols[name] = (this.#protocols[name] ?? 0) + 1;
    this.#packets += 1;
    this.#pending.push(record);
    this.#pendingBytes += record.length;
    if (this.#pendingBytes >= FLUSH_BYTES) this.#flush();
  }

  #flush(): void {
    if (this.#pending.length > 0) writeSync(this.#file, Buffer.concat(this.#pending));
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}

const print = (event: CaptureEvent): void => {
  writeSync(process.stdout.fd, `${JSON.stringify(event)}\n`);
};

async function settle(taps: readonly Tap[]): Promise<void> {
  const total = (): number => taps.reduce((sum, tap) => sum + tap.packets, 0);
  for (let quiet = 0, seen = total(); quiet < QUIET_ROUNDS; quiet = total() === seen ? quiet + 1 : 0) {
    const complete = taps.map((tap) => tap.isComplete());
    if (!complete.includes(false)) return;
    seen = total();
    await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
  }
}

async function main(): Promise<void> {
  const taps = new Map<string, Tap>();
  for (const argument of process.argv.slice(2)) {
    const [device = '', path = ''] = argument.split('=', 2);
    taps.set(device, new Tap(device, path));
  }
  const stop = new Promise((resolve) => process.once('SIGTERM', resolve));
  print({ event: 'attached' });
  await stop;
  await settle([...taps.values()]);
  const interfaces = Object.fromEntries([...taps].map(([device, tap]) => [device, tap.close()]));
  print({ event: 'stopped', interfaces });
}

await main();
