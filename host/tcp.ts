/** What Linux tells of a TCP socket, and taking it out of use without a word to its peer (TCP_REPAIR). */
import { getSocketOption, setSocketOption, ioctlNumber } from './libc.js';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_KEEPALIVE = 9;
/** Urgent data (RFC 6093) stays where it is in the stream: read apart, it would be missing from what is relayed. */
const SO_OOBINLINE = 10;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_WINDOW_CLAMP = 10;
const TCP_INFO = 11;
const TCP_REPAIR = 19;
const TCP_REPAIR_QUEUE = 20;
const TCP_QUEUE_SEQ = 21;
const TCP_TIMESTAMP = 24;
const SIOCINQ = 0x541b;
const SIOCOUTQ = 0x5411;
const SIOCOUTQNSD = 0x894b;
const RECEIVE_QUEUE = 1;
const SEND_QUEUE = 2;
const REPAIR_ON = 1;
/** Without the window probe that plain 0 sends. */
const REPAIR_OFF_SILENTLY = -1;

const TCP_ESTABLISHED = 1;
const TCP_FIN_WAIT2 = 5;
const TCP_TIME_WAIT = 6;
/** struct tcp_info, as far as it is read here; Linux only ever appends to it. */
const AT = {
  state: 0,
  options: 5,
  scales: 6,
  sendMss: 16,
  roundTrip: 68,
  acked: 120,
  received: 128,
} as const;
const INFO_LENGTH = 136;
/** Bits of tcpi_options. */
const OPTION = { timestamps: 1, sack: 2, windowScale: 4, ecn: 8 } as const;

/** Probes a silent peer as RFC 9293 section 3.8.4 asks: no sooner than after two hours. */
const KEEP_ALIVE_SECONDS = 2 * 60 * 60;

/**
 * Settings of both sides of whatever a node carries: urgent data in line, segments sent as they come (coalescing is for
 * the ends to decide), and keep-alives. What a listener accepts inherits them.
 */
export function tuneForRelay(fd: number): void {
  setSocketOption(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  setSocketOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setSocketOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  setSocketOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_ALIVE_SECONDS);
}

export interface TcpInfo {
  /** Smoothed round-trip time; after the handshake it is that of the SYN. */
  readonly rttMicroseconds: number;
  /** Our FIN has been sent and acknowledged. */
  readonly finAcknowledged: boolean;
  readonly established: boolean;
  readonly timestamps: boolean;
  readonly sack: boolean;
  readonly ecn: boolean;
  /** Shift counts of the windows that arrive, and of those that are sent. */
  readonly theirScale: number;
  readonly ourScale: number;
  /** Payload of a full segment, the options of every segment taken off. */
  readonly sendMss: number;
  /** The other side has acknowledged more than our SYN, or sent more than its own. */
  readonly heard: boolean;
}

export function tcpInfo(fd: number): TcpInfo {
  const info = getSocketOption(fd, IPPROTO_TCP, TCP_INFO, INFO_LENGTH);
  const options = info.readUInt8(AT.options);
  const scales = (options & OPTION.windowScale) === 0 ? 0 : info.readUInt8(AT.scales);
  const state = info.readUInt8(AT.state);
  return {
    rttMicroseconds: info.readUInt32LE(AT.roundTrip),
    finAcknowledged: state === TCP_FIN_WAIT2 || state === TCP_TIME_WAIT,
    established: state === TCP_ESTABLISHED,
    timestamps: (options & OPTION.timestamps) !== 0,
    sack: (options & OPTION.sack) !== 0,
    ecn: (options & OPTION.ecn) !== 0,
    theirScale: scales & 15,
    ourScale: scales >> 4,
    sendMss: info.readUInt32LE(AT.sendMss),
    heard: info.readBigUInt64LE(AT.acked) > 1n || info.readBigUInt64LE(AT.received) > 0n,
  };
}

/** Whether nothing is unread, and nothing that was written is unacknowledged. */
export function queuesEmpty(fd: number): boolean {
  return ioctlNumber(fd, SIOCINQ) === 0 && ioctlNumber(fd, SIOCOUTQ) === 0;
}

/** Bytes that were written and have not left yet: as much as the path takes is under way. */
export function unsentBytes(fd: number): number {
  return ioctlNumber(fd, SIOCOUTQNSD);
}

/** From now on the socket can be read out, and its close says nothing. Needs CAP_NET_ADMIN. */
export function beginRepair(fd: number): void {
  setSocketOption(fd, IPPROTO_TCP, TCP_REPAIR, REPAIR_ON);
}

/** The socket is as any other again. The kernel has forgotten whether it shared its port, and takes it for one that does not. */
export function endRepair(fd: number): void {
  setSocketOption(fd, IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY);
  sharePort(fd);
}

/**
 * Others may bind to the socket's port, too, if they say the same of theirs: with the same address as long as none of them listens
 * there, and a listener on all addresses. Of a connection that a node has taken, and keeps in TIME_WAIT, the port is that of
 * its destination: a service of this machine must not find it in use. Accepted sockets inherit it.
 */
export function sharePort(fd: number): void {
  setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

function queueSequence(fd: number, queue: number): number {
  setSocketOption(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
  return getSocketOption(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, 4).readUInt32LE();
}

/** The next sequence numbers to be sent and to be received; only in repair. */
export function sequences(fd: number): { sendNext: number; receiveNext: number } {
  return { sendNext: queueSequence(fd, SEND_QUEUE), receiveNext: queueSequence(fd, RECEIVE_QUEUE) };
}

/** The timestamp the socket would send now (RFC 7323 TSval); from Linux 6.7 its lowest bit is always 0 or 1. */
export function timestampNow(fd: number): number {
  return getSocketOption(fd, IPPROTO_TCP, TCP_TIMESTAMP, 4).readUInt32LE();
}

/** Bounds the window the socket advertises; what is on its way can then be no more. */
export function clampWindow(fd: number, bytes: number): void {
  setSocketOption(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, bytes);
}
