/** Room for as many descriptors as the configuration allows connections. */
import { readFileSync } from 'node:fs';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { setOpenFileLimit } from '../host/libc.js';

/** One for the client's side, one for the next leg. */
const PER_CONNECTION = 2;
/** Listeners, maps, links, logs, and the legs that http/ keeps between requests. */
const RESERVE = 2048;

/** Soft limit of open files of this process; Infinity when there is none. */
function openFileLimit(): number {
  const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined || soft === 'unlimited' ? Infinity : Number(soft);
}

/** How many connections a limit of open files has room for; where it is small, half of it is kept for the rest. */
export function roomUnder(limit: number, connections: number): number {
  const reserve = Math.min(RESERVE, Math.floor(limit / 2));
  return Math.max(1, Math.min(connections, Math.floor((limit - reserve) / PER_CONNECTION)));
}

/**
 * What a node cannot carry it must not take, so that the next node or the destination does. Gives a function that says
 * how many of `connections` there is room for under the limit of that moment, which it raises where it can.
 */
export function descriptorRoom(logger: Logger): (connections: number) => number {
  let refused = 0;
  let known = 0;
  return (connections) => {
    const wanted = connections * PER_CONNECTION + RESERVE;
    const limit = openFileLimit();
    if (limit >= wanted) return connections;
    const room = roomUnder(limit, connections);
    if (limit === known && refused === wanted) return room; // said before
    try {
      setOpenFileLimit(BigInt(wanted), BigInt(wanted));
      return connections;
    } catch (error) {
      known = limit;
      refused = wanted;
      warn(logger, limit, room, { wanted, error: messageOf(error) });
      return room;
    }
  };
}

function warn(logger: Logger, limit: number, room: number, more: Record<string, string | number>): void {
  logger.warn('open-files-limit', {
    limit,
    ...more,
    effect: `at most ${room} connections are taken`,
    hint: 'raise LimitNOFILE (systemd) or `ulimit -n`, or lower limits.connections',
  });
}
