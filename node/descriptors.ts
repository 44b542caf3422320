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

/**
 * Raises the limit of open files if need be, and returns how many connections there is room for: what a node cannot
 * carry it must not take, so that the next node or the destination does.
 */
export function roomFor(connections: number, logger: Logger): number {
  const wanted = connections * PER_CONNECTION + RESERVE;
  const found = openFileLimit();
  if (found >= wanted) return connections;
  try {
    setOpenFileLimit(BigInt(wanted), BigInt(wanted));
    return connections;
  } catch (error) {
    const room = Math.max(1, Math.floor((found - RESERVE) / PER_CONNECTION));
    logger.warn('open-files-limit', {
      limit: found,
      wanted,
      error: messageOf(error),
      effect: `at most ${room} connections are taken`,
      hint: 'raise LimitNOFILE (systemd) or `ulimit -n`, or lower limits.connections',
    });
    return room;
  }
}
