/**
 * The port of a new leg. A spliced connection has no socket, so the kernel does not know that its port is in use and
 * may choose it again for a leg to the same destination; that leg would find itself in somebody else's connection.
 */
import { readFileSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import type { IpAddress } from '../core/address.js';
import { bind, sourceAddress, SystemCallError } from '../host/libc.js';
import type { FlowEnds } from '../splice/mapping.js';

/** With half of all ports in use, one in 10^19 legs finds none. Then the kernel chooses, as it does without splices. */
const TRIES = 64;
const DEFAULT_RANGE = [32_768, 60_999] as const;

function portRange(): readonly [number, number] {
  try {
    const [from, to] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
      .trim()
      .split(/\s+/)
      .map(Number);
    return from !== undefined && to !== undefined ? [from, to] : DEFAULT_RANGE;
  } catch {
    return DEFAULT_RANGE;
  }
}

/** Binds a socket that is to connect to `destination` to a port of which `isSpliced`, asked as answers arrive, is false. */
export function bindFreePort(
  fd: number,
  destination: { readonly address: IpAddress; readonly port: number },
  isSpliced: (arriving: FlowEnds) => boolean,
): void {
  const bytes = sourceAddress(destination.address.bytes);
  const source: IpAddress = { family: destination.address.family, bytes };
  const [from, to] = portRange();
  for (let left = TRIES; left > 0; left--) {
    const port = randomInt(from, to + 1);
    const arriving = {
      source: destination.address,
      sourcePort: destination.port,
      destination: source,
      destinationPort: port,
    };
    if (isSpliced(arriving)) continue;
    try {
      bind(fd, bytes, port);
      return;
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error; // in use by a socket
    }
  }
}
