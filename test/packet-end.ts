/** One end of a link: frames out, and what comes in, through a packet socket (packet(7)). */
import koffi from 'koffi';
import * as libc from '../host/libc.js';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0o4000;
const ETH_P_ALL = 0x0003;
const MAX_FRAME = 65_536;

const c = koffi.load('libc.so.6');
const socket = c.func('int socket(int domain, int type, int protocol)') as (...a: number[]) => number;
const bind = c.func('int bind(int fd, const void *address, uint32_t length)') as (
  fd: number,
  address: Buffer,
  length: number,
) => number;
const send = c.func('long send(int fd, const void *bytes, size_t length, int flags)') as (
  fd: number,
  bytes: Uint8Array,
  length: number,
  flags: number,
) => number;
const recv = c.func('long recv(int fd, _Out_ void *bytes, size_t length, int flags)') as (
  fd: number,
  bytes: Buffer,
  length: number,
  flags: number,
) => number;

const swap = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

export class PacketEnd {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(MAX_FRAME);

  /** Needs CAP_NET_RAW. */
  constructor(ifindex: number) {
    this.#fd = socket(AF_PACKET, SOCK_RAW_NONBLOCK, swap(ETH_P_ALL));
    const address = Buffer.alloc(20); // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(ifindex, 4);
    if (this.#fd < 0 || bind(this.#fd, address, address.length) !== 0) {
      throw new Error(`packet socket: errno ${koffi.errno()}`);
    }
  }

  send(frame: Uint8Array): void {
    if (send(this.#fd, frame, frame.length, 0) < 0) throw new Error(`send: errno ${koffi.errno()}`);
  }

  /** What has come and gone since the last call; our own frames are among it. */
  receive(): Buffer[] {
    const frames: Buffer[] = [];
    for (;;) {
      const length = recv(this.#fd, this.#buffer, this.#buffer.length, 0);
      if (length < 0) return frames;
      frames.push(Buffer.from(this.#buffer.subarray(0, length)));
    }
  }

  close(): void {
    libc.close(this.#fd);
  }
}
