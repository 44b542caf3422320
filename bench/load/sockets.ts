/**
 * Sockets for load programs, straight from libc through koffi: sending without copying (sendfile from memory) and
 * receiving without copying (MSG_TRUNC), so that the ends take as little of the machine as they can from what is
 * measured between them. A call costs about 0.2 µs.
 */
import koffi from 'koffi';
import { ip } from '../../core/address.js';
import {
  AF_INET,
  close as closeDescriptor,
  setSocketOption,
  sockaddr,
  SystemCallError,
  tcpSocket,
} from '../../host/libc.js';

const libc = koffi.load('libc.so.6');
type Call<A extends unknown[]> = (...args: A) => number;
const bindCall = <A extends unknown[]>(signature: string): Call<A> => libc.func(signature);

const cConnect = bindCall<[number, Uint8Array, number]>(
  'int connect(int fd, const void *address, uint32_t length)',
);
const cAccept = bindCall<[number, null, null, number]>(
  'int accept4(int fd, void *address, void *length, int flags)',
);
const cSend = bindCall<[number, Uint8Array, number, number]>(
  'long send(int fd, const void *bytes, size_t length, int flags)',
);
const cShutdown = bindCall<[number, number]>('int shutdown(int fd, int how)');
const cReceive = bindCall<[number, Uint8Array | null, number, number]>(
  'long recv(int fd, void *bytes, size_t length, int flags)',
);
const cSendfile = bindCall<[number, number, Uint8Array, number]>(
  'long sendfile(int out, int in, void *offset, size_t length)',
);
const cMemfd = bindCall<[string, number]>('int memfd_create(const char *name, uint flags)');
const cEpollCreate = bindCall<[number]>('int epoll_create1(int flags)');
const cEpollControl = bindCall<[number, number, number, Uint8Array]>(
  'int epoll_ctl(int epoll, int operation, int fd, void *event)',
);
const cEpollWait = bindCall<[number, Uint8Array, number, number]>(
  'int epoll_wait(int epoll, void *events, int count, int timeout)',
);
const cSleep = bindCall<[number]>('int usleep(uint microseconds)');

const { EAGAIN, EINPROGRESS, EINTR } = koffi.os.errno;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const SO_MAX_PACING_RATE = 47;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SHUT_WR = 1;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno());
  return result;
}

/** -1 when the call would have to wait; otherwise what it returned. */
function checkOrWait(call: string, result: number): number {
  if (result >= 0) return result;
  const errno = koffi.errno();
  if (errno === EAGAIN || errno === EINTR) return -1;
  throw new SystemCallError(call, errno);
}

/** Begins to connect; the socket becomes writable when it has, or has failed. */
export function connectTo(address: string, port: number): number {
  const fd = tcpSocket(AF_INET);
  const name = sockaddr(ip(address).bytes, port);
  if (cConnect(fd, name, name.length) < 0 && koffi.errno() !== EINPROGRESS) {
    const errno = koffi.errno();
    closeDescriptor(fd);
    throw new SystemCallError('connect', errno);
  }
  return fd;
}

export function reuseAddress(fd: number): void {
  setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

/** Small messages leave at once (TCP_NODELAY). */
export function sendAtOnce(fd: number): void {
  setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/** TCP spreads its segments so that it sends at most so many bytes a second (tcp(7), SO_MAX_PACING_RATE). */
export function limitRate(fd: number, bytesPerSecond: number): void {
  setSocketOption(fd, SOL_SOCKET, SO_MAX_PACING_RATE, Math.min(0x7fffffff, Math.round(bytesPerSecond)));
}

const setLinger = bindCall<[number, number, number, Uint8Array, number]>(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);

/** Closes with a reset: nothing queued is sent any more, and no TIME_WAIT stays behind. */
export function abort(fd: number): void {
  const linger = Buffer.alloc(8);
  linger.writeInt32LE(1, 0);
  setLinger(fd, SOL_SOCKET, SO_LINGER, linger, linger.length);
  closeDescriptor(fd);
}

/** The next connection of a listening socket; undefined when none waits. */
export function accept(fd: number): number | undefined {
  const accepted = checkOrWait('accept', cAccept(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC));
  return accepted < 0 ? undefined : accepted;
}

/** How many bytes went out; -1: none, it would have to wait. */
export function send(fd: number, bytes: Uint8Array): number {
  return checkOrWait('send', cSend(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/** Ends this direction: a FIN follows what was sent. */
export function shutdownWrite(fd: number): void {
  check('shutdown', cShutdown(fd, SHUT_WR));
}

/** How many bytes came in; 0: the peer has finished; -1: nothing yet. */
export function receive(fd: number, into: Uint8Array): number {
  return checkOrWait('recv', cReceive(fd, into, into.length, MSG_DONTWAIT));
}

/** As {@link receive}, but the bytes are dropped inside the kernel (tcp(7), MSG_TRUNC). */
export function discard(fd: number, atMost: number): number {
  return checkOrWait('recv', cReceive(fd, null, atMost, MSG_DONTWAIT | MSG_TRUNC));
}

/** A file in memory. */
export function memoryFile(name: string): number {
  return check('memfd_create', cMemfd(name, 1));
}

const offset = Buffer.alloc(8);

/** Queues pages of a file without copying them; how many bytes, or -1 when the socket is full. */
export function sendPages(fd: number, file: number, length: number, from = 0): number {
  offset.writeBigInt64LE(BigInt(from));
  return checkOrWait('sendfile', cSendfile(fd, file, offset, length));
}

export function sleepMicroseconds(microseconds: number): void {
  cSleep(microseconds);
}

export const READABLE = 0x1;
export const WRITABLE = 0x4;
/** Reported always. */
export const FAILED = 0x8 | 0x10; // EPOLLERR, EPOLLHUP

const EPOLL_CLOEXEC = 0o2000000;
const ADD = 1;
const REMOVE = 2;
const MODIFY = 3;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = EVENT_SIZE - 8;
const MAX_EVENTS = 256;

/** epoll(7), level-triggered. */
export class Poller {
  readonly #epoll = check('epoll_create1', cEpollCreate(EPOLL_CLOEXEC));
  readonly #event = Buffer.alloc(EVENT_SIZE);
  readonly #events = Buffer.alloc(EVENT_SIZE * MAX_EVENTS);

  add(fd: number, interest: number): void {
    this.#control(ADD, fd, interest);
  }

  change(fd: number, interest: number): void {
    this.#control(MODIFY, fd, interest);
  }

  remove(fd: number): void {
    this.#control(REMOVE, fd, 0);
  }

  /** Waits for at most so long and hands over what is ready. */
  wait(timeoutMs: number, ready: (fd: number, what: number) => void): void {
    const count = checkOrWait('epoll_wait', cEpollWait(this.#epoll, this.#events, MAX_EVENTS, timeoutMs));
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_SIZE;
      ready(this.#events.readInt32LE(at + DATA_OFFSET), this.#events.readUInt32LE(at));
    }
  }

  close(): void {
    closeDescriptor(this.#epoll);
  }

  #control(operation: number, fd: number, interest: number): void {
    this.#event.writeUInt32LE(interest, 0);
    this.#event.writeInt32LE(fd, DATA_OFFSET);
    check('epoll_ctl', cEpollControl(this.#epoll, operation, fd, this.#event));
  }
}
