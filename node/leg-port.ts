/**
 * The port of a new leg. A spliced connection has no socket, so the kernel does not know that its port is in use and
 * may choose it again for a leg to the same destination; that leg would find itself in somebody else's connection.
 */
import { readFileSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import type { IpAddress } from '../core/address.js';
import { bind, setSocketOption, sourceAddress, SystemCallError } from '../host/libc.js';
import { sharePort } from '../host/tcp.js';
import type { FlowEnds } from '../splice/mapping.js';

/** With half of all ports in use, one in 10^19 legs finds none. Then the kernel chooses, as it does without splices. */
const TRIES = 64;
const DEFAULT_RANGE = [32_768, 60_999] as const;

/** How long a look at the setting is good for: reading it costs as much as a connect. */
const RANGE_MS = 1000;
let known = { at: -Infinity, range: DEFAULT_RANGE as readonly [number, number] };

function portRange(): readonly [number, number] {
  const now = performance.now();
  if (now - known.at > RANGE_MS) known = { at: now, range: readPortRange() };
  return known.range;
}

function readPortRange(): readonly [number, number] {
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

type InUse = (arriving: FlowEnds) => boolean;
type Destination = { readonly address: IpAddress; readonly port: number };

const TRANSPARENT = { 4: [0, 19], 6: [41, 75] } as const; // SOL_IP, IP_TRANSPARENT; SOL_IPV6, IPV6_TRANSPARENT

/** Binds to one of the ports, the first at which answers would meet nobody else; whether there was one. */
function bindOneOf(
  fd: number,
  source: IpAddress,
  destination: Destination,
  isInUse: InUse,
  ports: Iterable<number>,
): boolean {
  for (const port of ports) {
    const arriving = {
      source: destination.address,
      sourcePort: destination.port,
      destination: source,
      destinationPort: port,
    };
    if (isInUse(arriving)) continue;
    try {
      bind(fd, source.bytes, port);
      return true;
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error; // in use by a socket
    }
  }
  return false;
}

function* randomPorts(): Generator<number> {
  const [from, to] = portRange();
  for (let left = TRIES; left > 0; left--) yield randomInt(from, to + 1);
}

/**
 * Binds a socket to a client's address, which this machine does not have, and to the client's port where no other
 * connection of that port to the same destination is left here; to another one otherwise.
 */
export function bindClient(fd: number, client: Destination, destination: Destination, isInUse: InUse): void {
  const [level, option] = TRANSPARENT[client.address.family];
  setSocketOption(fd, level, option, 1);
  sharePort(fd); // a client uses one port towards several destinations
  const ports = function* (): Generator<number> {
    yield client.port;
    yield* randomPorts();
  };
  if (bindOneOf(fd, client.address, destination, isInUse, ports())) return;
  // In the client's name or not at all: with this node's address the destination would see another client.
  throw Object.assign(new Error('no port of the client is free'), { code: 'EADDRNOTAVAIL' });
}

/** Binds a socket that is to connect to `destination` to a port of which `isSpliced`, asked as answers arrive, is false. */
export function bindFreePort(fd: number, destination: Destination, isSpliced: InUse): void {
  const bytes = sourceAddress(destination.address.bytes);
  const source: IpAddress = { family: destination.address.family, bytes };
  bindOneOf(fd, source, destination, isSpliced, randomPorts());
}
