/**
 * The UDP port at which tunnels end. The programs in the kernel take its packets before any socket could; a socket of the
 * node's own holds the port, so that no other program gets it, and tells the programs by its mark whose it is.
 */
import type { Family, IpAddress } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import * as libc from '../host/libc.js';
import { DELIVERY_MARK } from '../bpf/programs.js';

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_MARK = 36;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** Nobody reads from it: the kernel drops what arrives beyond the smallest buffer there is. */
function holdPort({ family, bytes }: IpAddress, port: number): number {
  const fd = libc.udpSocket(family === 4 ? libc.AF_INET : libc.AF_INET6);
  try {
    if (family === 6) libc.setSocketOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
    libc.setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, 0);
    libc.setSocketOption(fd, SOL_SOCKET, SO_MARK, DELIVERY_MARK);
    libc.bind(fd, bytes, port);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * Holds the port on every address, until the descriptors are closed.
 *
 * @throws TpotError `udp-port-taken` when another program has it.
 */
export function holdUdpPort(addresses: Partial<Record<Family, IpAddress>>, port: number): number[] {
  const held: number[] = [];
  try {
    for (const address of [addresses[4], addresses[6]]) {
      if (address !== undefined) held.push(holdPort(address, port));
    }
    return held;
  } catch (error) {
    held.forEach((fd) => libc.close(fd));
    if (!(error instanceof libc.SystemCallError) || error.errnoName !== 'EADDRINUSE') throw error;
    throw new TpotError('udp-port-taken', `another program has UDP port ${port}`, {
      hint: 'Give a free one with `udpEncapsulation: { port: N }`, or `udpEncapsulation: false`.',
    });
  }
}
