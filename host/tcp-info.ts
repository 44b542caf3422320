/** What the kernel knows of a TCP connection: the part of `struct tcp_info` (linux/tcp.h) that is used. */
import { getSocketOption } from './libc.js';

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** Up to and with tcpi_rtt; older kernels than any we run on have that much. */
const SIZE = 72;
const STATE_AT = 0;
const RTT_AT = 68;
const FIN_WAIT2 = 5;
const TIME_WAIT = 6;

export interface TcpInfo {
  /** Smoothed round-trip time; after the handshake it is that of the SYN. */
  readonly rttMicroseconds: number;
  /** Our FIN has been sent and acknowledged. */
  readonly finAcknowledged: boolean;
}

export function tcpInfo(fd: number): TcpInfo {
  const info = getSocketOption(fd, IPPROTO_TCP, TCP_INFO, SIZE);
  const state = info.readUInt8(STATE_AT);
  return {
    rttMicroseconds: info.readUInt32LE(RTT_AT),
    finAcknowledged: state === FIN_WAIT2 || state === TIME_WAIT,
  };
}
