/**
 * The few system calls that Node does not offer, called through koffi (prebuilt, 0.14 µs a call): no compiler is
 * needed where the package is installed, and nothing here is on a per-packet path.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { TpotError } from '../core/errors.js';

const libc = koffi.load('libc.so.6');

const cSocket = libc.func('int socket(int domain, int type, int protocol)');
const cBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const cListen = libc.func('int listen(int fd, int backlog)');
const cConnect = libc.func('int connect(int fd, const void *address, uint32_t length)');
const cSetsockopt = libc.func(
  'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
);
const cGetsockname = libc.func('int getsockname(int fd, _Out_ void *address, _Inout_ uint32_t *length)');
const cClose = libc.func('int close(int fd)');
const cMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
);

/** Throws `system-call-failed` with the errno's name; `errno` is kept for callers that tell cases apart. */
export class SystemCallError extends TpotError {
  readonly errno: number;
  readonly errnoName: string;

  constructor(call: string, errno: number) {
    const name = errnoName(errno);
    super('system-call-failed', `${call}: ${name}`);
    this.errno = errno;
    this.errnoName = name;
  }
}

export function errnoName(errno: number): string {
  const found = Object.entries(koffi.os.errno).find(([, value]) => value === errno);
  return found?.[0] ?? `errno ${errno}`;
}

function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno());
  return result;
}

export const AF_INET = 2;
export const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

/** A non-blocking, close-on-exec TCP socket of the family; the caller owns the descriptor. */
export function tcpSocket(domain: typeof AF_INET | typeof AF_INET6): number {
  return check('socket', cSocket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number);
}

/** struct sockaddr_in / sockaddr_in6 for 4 or 16 address bytes. */
export function sockaddr(address: Uint8Array, port: number): Buffer {
  const six = address.length === 16;
  const buffer = Buffer.alloc(six ? 28 : 16);
  buffer.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  buffer.writeUInt16BE(port, 2);
  buffer.set(address, six ? 8 : 4);
  return buffer;
}

export function bind(fd: number, address: Uint8Array, port: number): void {
  const name = sockaddr(address, port);
  check('bind', cBind(fd, name, name.length) as number);
}

export function listen(fd: number, backlog: number): void {
  check('listen', cListen(fd, backlog) as number);
}

const optionValue = Buffer.alloc(4);

export function setSocketOption(fd: number, level: number, name: number, value: number): void {
  optionValue.writeInt32LE(value);
  const result = cSetsockopt(fd, level, name, optionValue, 4) as number;
  if (result < 0) check(`setsockopt(${level}, ${name})`, result);
}

const SOL_SOCKET = 1;
const SO_LINGER = 13;

/** struct linger: on, and no time at all. */
const LINGER_RESET = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
const LINGER_OFF = Buffer.alloc(8);

function setLinger(fd: number, value: Buffer): void {
  check('setsockopt(SO_LINGER)', cSetsockopt(fd, SOL_SOCKET, SO_LINGER, value, value.length) as number);
}

/** Makes close(2) of this socket a RST, whatever is queued and whatever was shut down before. */
export function resetOnClose(fd: number): void {
  setLinger(fd, LINGER_RESET);
}

/** Takes {@link resetOnClose} back: close(2) sends what is queued, then FIN. */
export function finishOnClose(fd: number): void {
  setLinger(fd, LINGER_OFF);
}

const SOCK_DGRAM = 2;

/** A close-on-exec UDP socket of the family; the caller owns the descriptor. */
export function udpSocket(domain: typeof AF_INET | typeof AF_INET6): number {
  return check('socket', cSocket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number);
}

/** The address this machine sends from towards `address`, as the routing table says; 4 or 16 bytes. */
export function sourceAddress(address: Uint8Array): Uint8Array {
  const six = address.length === 16;
  const fd = check('socket', cSocket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number);
  try {
    const to = sockaddr(address, 9); // any port: nothing is sent
    check('connect', cConnect(fd, to, to.length) as number);
    const name = Buffer.alloc(to.length);
    check('getsockname', cGetsockname(fd, name, [name.length]) as number);
    return Uint8Array.from(six ? name.subarray(8, 24) : name.subarray(4, 8));
  } finally {
    cClose(fd);
  }
}

const cGetsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Inout_ void *value, _Inout_ uint32_t *length)',
);

/** The value of a socket option, at most `length` bytes. */
export function getSocketOption(fd: number, level: number, name: number, length: number): Buffer {
  const value = Buffer.alloc(length);
  check(`getsockopt(${level}, ${name})`, cGetsockopt(fd, level, name, value, [length]) as number);
  return value;
}

const CLONE_NEWNET = 0x40000000;
const cUnshare = libc.func('int unshare(int flags)');
const cSetns = libc.func('int setns(int fd, int type)');

/**
 * Runs `action`, which must not wait for anything, in a network namespace of its own that goes away with it; only
 * this thread is in it meanwhile. What the action attaches there harms nobody.
 */
export function inNewNetworkNamespace<T>(action: () => T): T {
  const before = openSync('/proc/thread-self/ns/net', 'r');
  try {
    check('unshare', cUnshare(CLONE_NEWNET) as number);
    try {
      return action();
    } finally {
      check('setns', cSetns(before, CLONE_NEWNET) as number);
    }
  } finally {
    closeSync(before);
  }
}

const cIoctl = libc.func('int ioctl(int fd, ulong request, _Out_ int *value)');

/** An ioctl that answers with one int. */
export function ioctlNumber(fd: number, request: number): number {
  const value = [0];
  check(`ioctl(${request})`, cIoctl(fd, request, value) as number);
  return value[0] ?? 0;
}

const AFFINITY_BYTES = 128;
const cGetAffinity = libc.func('int sched_getaffinity(int pid, size_t size, _Out_ void *mask)');
const cSetAffinity = libc.func('int sched_setaffinity(int pid, size_t size, const void *mask)');

/** The processors this thread may run on, a bit each. */
export function getAffinity(): Buffer {
  const mask = Buffer.alloc(AFFINITY_BYTES);
  check('sched_getaffinity', cGetAffinity(0, mask.length, mask) as number);
  return mask;
}

/** Returns on one of the processors of the mask. */
export function setAffinity(mask: Buffer): void {
  check('sched_setaffinity', cSetAffinity(0, mask.length, mask) as number);
}

export const SCHED_OTHER = 0;
const SCHED_FIFO = 1;
const cGetScheduler = libc.func('int sched_getscheduler(int pid)');
const cSetScheduler = libc.func('int sched_setscheduler(int pid, int policy, const void *parameter)');
const schedulerParameter = Buffer.alloc(4); // struct sched_param

/** The policy this thread is scheduled by. */
export function schedulingPolicy(): number {
  return check('sched_getscheduler', cGetScheduler(0) as number);
}

function schedule(policy: number, priority: number): boolean {
  schedulerParameter.writeInt32LE(priority);
  return (cSetScheduler(0, policy, schedulerParameter) as number) === 0;
}

/**
 * Runs `action` as a real-time thread of the lowest priority, which waits for no ordinary one, where that is allowed
 * (CAP_SYS_NICE); elsewhere as it is. For a thread of the ordinary policy only, and for what takes microseconds.
 */
export function withoutQueueing<T>(action: () => T): T {
  const raised = schedule(SCHED_FIFO, 1);
  try {
    return action();
  } finally {
    if (raised) schedule(SCHED_OTHER, 0);
  }
}

const cSyscall = libc.func('long syscall(long number, int command, uint flags, int cpu)');
const SYS_MEMBARRIER = process.arch === 'arm64' ? 283 : 324;
const MEMBARRIER_CMD_GLOBAL = 1;

/** Waits for an RCU grace period (`synchronize_rcu` in the kernel). */
export function membarrierGlobal(): void {
  check('membarrier', Number(cSyscall(SYS_MEMBARRIER, MEMBARRIER_CMD_GLOBAL, 0, 0)));
}

/** The local port of a bound socket. */
export function localPort(fd: number): number {
  const name = Buffer.alloc(28);
  const length = [name.length];
  check('getsockname', cGetsockname(fd, name, length) as number);
  return name.readUInt16BE(2);
}

export function close(fd: number): void {
  check('close', cClose(fd) as number);
}

export function mount(source: string, target: string, type: string): void {
  check(`mount ${type} on ${target}`, cMount(source, target, type, 0, null) as number);
}

const cUmount = libc.func('int umount2(const char *target, int flags)');
const MNT_DETACH = 2;

/** Out of sight at once, gone when nobody uses it. */
export function unmount(target: string): void {
  check(`unmount ${target}`, cUmount(target, MNT_DETACH) as number);
}

const cFlock = libc.func('int flock(int fd, int operation)');
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks an open file until it is closed, by the end of the process at the latest; false when another one has it. */
export function lockFile(fd: number): boolean {
  if ((cFlock(fd, LOCK_EX | LOCK_NB) as number) === 0) return true;
  if (koffi.errno() === koffi.os.errno.EWOULDBLOCK) return false;
  throw new SystemCallError('flock', koffi.errno());
}

/** As {@link lockFile}, but waits until nobody else has it: for locks that are held for milliseconds. */
export function waitForLock(fd: number): void {
  check('flock', cFlock(fd, LOCK_EX) as number);
}

const SO_PEERCRED = 17;

/** The user who connected a unix socket. */
export function peerUser(fd: number): number {
  const credentials = getSocketOption(fd, SOL_SOCKET, SO_PEERCRED, 12); // struct ucred: pid, uid, gid
  return credentials.readUInt32LE(4);
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const cRecv = libc.func('long recv(int fd, _Out_ void *buffer, size_t length, int flags)');
/** RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR */
const LINK_AND_ADDRESS_GROUPS = 0x1 | 0x10 | 0x100;

/** A netlink socket that hears of interfaces and addresses coming and going in this network namespace. */
export function linkEventSocket(): number {
  const fd = check('socket', cSocket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number);
  const name = Buffer.alloc(12);
  name.writeUInt16LE(AF_NETLINK, 0);
  name.writeUInt32LE(LINK_AND_ADDRESS_GROUPS, 8);
  check('bind', cBind(fd, name, name.length) as number);
  return fd;
}

/** Reads and drops whatever is queued on a non-blocking socket; whether there was anything (an overrun counts). */
export function drainSocket(fd: number): boolean {
  const buffer = Buffer.alloc(16 * 1024);
  let any = false;
  for (;;) {
    if ((cRecv(fd, buffer, buffer.length, 0) as number) >= 0) any = true;
    else if (koffi.errno() === koffi.os.errno.ENOBUFS) any = true;
    else return any;
  }
}

const cExecvp = libc.func('int execvp(const char *file, const char **arguments)');
const cSignal = libc.func('void *signal(int number, intptr_t handler)');
const cSetrlimit = libc.func('int setrlimit(int resource, const void *limits)');
const cFcntl = libc.func('int fcntl(int fd, int command, ...)');
const SIGPIPE = 13;
const SIGXFSZ = 25;
const SIG_DFL = 0;
const RLIMIT_NOFILE = 7;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const STDIO = [0, 1, 2];

/** Sets the soft and hard limit of open files. */
export function setOpenFileLimit(soft: bigint, hard: bigint): void {
  const limits = Buffer.alloc(16);
  limits.writeBigUInt64LE(soft, 0);
  limits.writeBigUInt64LE(hard, 8);
  check('setrlimit', cSetrlimit(RLIMIT_NOFILE, limits) as number);
}

function restoreInherited(fd: number): void {
  const flags = cFcntl(fd, F_GETFL, 'int', 0) as number;
  if (flags < 0) return; // closed, and stays so
  cFcntl(fd, F_SETFD, 'int', 0);
  cFcntl(fd, F_SETFL, 'int', flags & ~O_NONBLOCK);
}

/**
 * Replaces this process by a program found on PATH; returns only by throwing. Node ignores SIGPIPE and SIGXFSZ, and
 * an ignored signal stays ignored across exec; it marks every descriptor it inherited close-on-exec, stdin, stdout
 * and stderr too; and it makes those that are pipes non-blocking, which few programs expect of a stdout: they would lose
 * what does not fit. All of it is undone first.
 */
export function exec(program: string, args: readonly string[]): never {
  for (const fd of STDIO) restoreInherited(fd);
  cSignal(SIGPIPE, SIG_DFL);
  cSignal(SIGXFSZ, SIG_DFL);
  cExecvp(program, [program, ...args, null]);
  throw new SystemCallError(`exec ${program}`, koffi.errno());
}
