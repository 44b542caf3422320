/** The tunnel of a leg, as far as joining it with another one goes. */
import { setTimeout as delay } from 'node:timers/promises';
import { fromMapped, type IpAddress } from '../core/address.js';
import { tcpInfo } from '../host/tcp.js';
import type { TpotFlow } from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';

/** A node repeats its SYN-ACK after 1, 3, 7 and 15 s; a tunnel that does not pass is given up at one of these. */
const WAIT_FOR_HEARD_MS = 16_000;
const FASTEST_POLL_MS = 2;
const SLOWEST_POLL_MS = 500;

export interface LegTunnel {
  readonly remote: IpAddress;
  readonly udp: boolean;
}

/** The tunnel of what leaves as this flow, if it has one. */
export function tunnelOf(programs: TpotPrograms, out: TpotFlow): LegTunnel | undefined {
  const tunnel = programs.map('tpotTunnels').get(out);
  if (tunnel === undefined || tunnel.plain !== 0) return undefined;
  return { remote: fromMapped(tunnel.remote), udp: tunnel.udp !== 0 };
}

/**
 * Waits until the node at the end of a leg's tunnel has been heard of: a tunnel that does not pass is noticed by the
 * leg's socket, so that has to stay. Where both ends are silent, the node would have repeated its SYN-ACK by the end of
 * this. `waiting`: whether the leg is there and has a tunnel.
 */
export async function untilHeard(fd: number, waiting: () => boolean): Promise<void> {
  const until = performance.now() + WAIT_FOR_HEARD_MS;
  for (let wait = FASTEST_POLL_MS; performance.now() < until; wait = Math.min(2 * wait, SLOWEST_POLL_MS)) {
    if (!waiting() || tcpInfo(fd).heard) return;
    await delay(wait);
  }
}
