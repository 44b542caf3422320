/** Whole Ethernet frames onto a link, through a packet socket (packet(7)); and raw IP sockets (raw(7)). */
import koffi from 'koffi';
import { TpotError } from '../core/errors.js';

const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_QDISC_BYPASS = 20;
const IPPROTO_RAW = 255;
const ENOBUFS = 105;
const ETHERNET_HEADER = 14;
const ETHERTYPE_OFFSET = 12;
const ETHERTYPE_IPV4 = 0x0800;
const MAX_PACKET = 65_536;

const c = koffi.load('libc.so.6');
const openSocket = c.func('int socket(int domain, int type, int protocol)') as (...a: number[]) => number;
const bindTo = c.func('int bind(int fd, const void *address, uint32_t length)') as (
  fd: number,
  address: Buffer,
  length: number,
) => number;
const sendBytes = c.func('long send(int fd, const void *bytes, size_t length, int flags)') as (
  fd: number,
  bytes: Uint8Array,
  length: number,
  flags: number,
) => number;
const sendTo = c.func(
  'long sendto(int fd, const void *bytes, size_t length, int flags, const void *address, uint32_t size)',
) as (fd: number, bytes: Uint8Array, length: number, flags: number, address: Buffer, size: number) => number;
const receive = c.func('long recv(int fd, _Out_ void *bytes, size_t length, int flags)') as (
  fd: number,
  bytes: Buffer,
  length: number,
  flags: number,
) => number;
const setOption = c.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
) as (fd: number, level: number, name: number, value: Buffer, length: number) => number;
const interfaceIndex = c.func('uint if_nametoindex(const char *name)') as (name: string) => number;

function must(what: string, result: number): number {
  if (result >= 0) return result;
  throw new TpotError('system-call', `${what}: errno ${koffi.errno()}`);
}

/** One end of a link. Frames go out past the tc programs of this host: what is sent is what the test made. */
export class LinkSocket {
  readonly #fd: number;
  readonly #frame = Buffer.alloc(MAX_PACKET);

  /** `peer`: the Ethernet address frames go to. Needs CAP_NET_RAW. */
  constructor(device: string, peer: string) {
    this.#fd = must('socket', openSocket(AF_PACKET, SOCK_RAW, 0));
    const address = Buffer.alloc(20); // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeInt32LE(interfaceIndex(device), 4);
    const on = Buffer.from([1, 0, 0, 0]);
    must('setsockopt', setOption(this.#fd, SOL_PACKET, PACKET_QDISC_BYPASS, on, on.length));
    must('bind', bindTo(this.#fd, address, address.length));
    this.#frame.set(Buffer.from(peer.replaceAll(':', ''), 'hex'), 0);
    this.#frame.set([2, 0, 0, 0, 0, 1], 6); // a locally administered address
  }

  /** Sends an IP packet; false when the link has no room for it now. */
  send(packet: Uint8Array): boolean {
    this.#frame.writeUInt16BE((packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800, ETHERTYPE_OFFSET);
    this.#frame.set(packet, ETHERNET_HEADER);
    const length = ETHERNET_HEADER + packet.length;
    if (sendBytes(this.#fd, this.#frame, length, 0) >= 0) return true;
    if (koffi.errno() === ENOBUFS) return false;
    throw new TpotError('system-call', `send: errno ${koffi.errno()}`);
  }
}

/**
 * Calls `action` with every IPv4 packet that arrives on `device`, without what goes out there; `ready` once none is missed.
 * Blocks for ever.
 */
export function onArrival(device: string, ready: () => void, action: (packet: Buffer) => void): never {
  const fd = must('socket', openSocket(AF_PACKET, SOCK_RAW, 0));
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETHERTYPE_IPV4, 2);
  address.writeInt32LE(interfaceIndex(device), 4);
  must('bind', bindTo(fd, address, address.length));
  const frame = Buffer.alloc(MAX_PACKET);
  ready();
  for (;;) {
    const length = must('recv', receive(fd, frame, frame.length, 0));
    action(frame.subarray(ETHERNET_HEADER, length));
  }
}

const IPV4_HEADER = 20;
const IPV4_DESTINATION = 16;

/**
 * Takes every packet of an IP protocol that is addressed to this host, and sends on what `change` makes of it: what
 * an ipip device in fallback mode does with protocol 4, on kernels with and without that device. Blocks for ever.
 */
export function forwardRaw(protocol: number, change: (packet: Buffer) => Uint8Array | undefined): never {
  const from = must('socket', openSocket(AF_INET, SOCK_RAW, protocol));
  const to = must('socket', openSocket(AF_INET, SOCK_RAW, IPPROTO_RAW));
  const buffer = Buffer.alloc(MAX_PACKET);
  const address = Buffer.alloc(16); // struct sockaddr_in
  address.writeUInt16LE(AF_INET, 0);
  for (;;) {
    const length = must('recv', receive(from, buffer, buffer.length, 0));
    const packet = change(buffer.subarray(0, length));
    if (packet === undefined || packet.length < IPV4_HEADER) continue;
    address.set(packet.subarray(IPV4_DESTINATION, IPV4_HEADER), 4);
    sendTo(to, packet, packet.length, 0, address, address.length);
  }
}
