/** Sending whole IP packets, their headers included (raw(7)). */
import koffi from 'koffi';
import { AF_INET, AF_INET6, close, setSocketOption, sockaddr, SystemCallError } from './libc.js';

const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** For both families: headers are ours, and nothing is ever received. */
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_MARK = 36;

const libc = koffi.load('libc.so.6');
const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cSendTo = libc.func(
  'long sendto(int fd, const void *bytes, size_t length, int flags, const void *to, uint32_t toLength)',
);

export class RawSocket {
  readonly #fd: number;

  /** Needs CAP_NET_RAW; with a mark, packets are routed by it (CAP_NET_ADMIN). */
  constructor(family: 4 | 6, mark?: number) {
    const domain = family === 4 ? AF_INET : AF_INET6;
    this.#fd = cSocket(domain, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW) as number;
    if (this.#fd < 0) throw new SystemCallError('socket', koffi.errno());
    if (mark !== undefined) setSocketOption(this.#fd, SOL_SOCKET, SO_MARK, mark);
  }

  /** Whether the kernel took the packet. */
  send(packet: Uint8Array, destination: Uint8Array): boolean {
    const to = sockaddr(destination, 0); // IPv6 wants no port
    return (cSendTo(this.#fd, packet, packet.length, 0, to, to.length) as number) >= 0;
  }

  close(): void {
    close(this.#fd);
  }
}
