/**
 * What an attacker does on a link of a lab:
 *
 *   node dist/netns/attack-child.js inject DEVICE MAC                       IP packets in hex on stdin, one a line
 *   node dist/netns/attack-child.js load DEVICE MAC FILE                   the same of a file, at SIGUSR2
 *   node dist/netns/attack-child.js lie DEVICE MAC MTU                     answers what is large with "too big"
 *   node dist/netns/attack-child.js flood DEVICE MAC DESTINATION PORT COUNT  SYNs with a request from as many sources
 *   node dist/netns/attack-child.js decapsulate                            forwards whatever comes in protocol 4
 *
 * `flood` sends as fast as the link takes them and prints `{"sent":N,"milliseconds":N}`.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { formatIp, ip } from '../core/address.js';
import { encodeOption } from '../tpot/option.js';
import { buildTcp } from '../wire/build.js';
import { ipv4 } from '../wire/ipv4.js';
import { PROTOCOL } from '../wire/protocols.js';
import { icmpError } from './icmp-error.js';
import { forwardRaw, LinkSocket, onArrival } from './link-socket.js';

const IPV4_HEADER = 20;
/** What is large enough to lie about; and who tells the lie, a router that does not exist. */
const LARGE = 600;
const ROUTER = '198.18.250.1';
/** Sources of a flood: 198.19.0.0/16 (RFC 2544), which no host of a lab has. */
const FLOOD_SOURCES = 65_536;

function inject(link: LinkSocket, lines: string): void {
  for (const line of lines.split('\n')) {
    if (line !== '') while (!link.send(Buffer.from(line, 'hex')));
  }
}

/** `ready` is printed when a signal is all that is needed. */
async function load(link: LinkSocket, file: string): Promise<void> {
  const lines = readFileSync(file, 'latin1');
  const alive = setInterval(() => undefined, 60_000);
  const signalled = once(process, 'SIGUSR2');
  process.stdout.write('ready\n');
  await signalled;
  clearInterval(alive);
  inject(link, lines);
}

/** Blocks until it is ended. */
function lie(device: string, link: LinkSocket, mtu: number): never {
  const ready = (): void => void process.stdout.write('ready\n');
  return onArrival(device, ready, (packet) => {
    if (packet.length <= LARGE) return;
    const to = formatIp(ipv4.view(packet).source);
    link.send(icmpError('too-big', { from: ROUTER, to, about: packet, mtu }));
  });
}

function flood(device: string, mac: string, destination: string, port: number, count: number): void {
  const link = new LinkSocket(device, mac);
  const request = encodeOption({ type: 'request', hops: 8, capabilities: 0 });
  const started = performance.now();
  for (let index = 0; index < count; index++) {
    const source = index % FLOOD_SOURCES;
    const packet = buildTcp({
      source: { family: 4, bytes: Uint8Array.of(198, 19, source >> 8, source & 0xff) },
      sourcePort: 1024 + (index % 60_000),
      destination: ip(destination),
      destinationPort: port,
      flags: ['syn'],
      seq: Math.imul(index, 2_654_435_761) >>> 0,
      options: [{ kind: 'mss', mss: 1460 }, request],
    });
    while (!link.send(packet));
  }
  const milliseconds = Math.round(performance.now() - started);
  process.stdout.write(`${JSON.stringify({ sent: count, milliseconds })}\n`);
}

const [mode, device = '', mac = '', destination = '', port = '0', count = '0'] = process.argv.slice(2);
if (mode === 'inject') inject(new LinkSocket(device, mac), await text(process.stdin));
else if (mode === 'load') await load(new LinkSocket(device, mac), destination);
else if (mode === 'lie') lie(device, new LinkSocket(device, mac), Number(destination));
else if (mode === 'flood') flood(device, mac, destination, Number(port), Number(count));
else if (mode === 'decapsulate') {
  process.stdout.write('ready\n');
  forwardRaw(PROTOCOL.ipv4, (packet) => packet.subarray(IPV4_HEADER));
} else throw new Error(`unknown attack ${String(mode)}`);
