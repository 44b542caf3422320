/** Room for as many descriptors as the configuration allows connections. */
import { readFileSync } from 'node:fs';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { setOpenFileLimit } from '../host/libc.js';

/** One for the client's side, one for the next leg. */
const PER_CONNECTION = 2;
/** Listeners, maps, links, logs, idle upstreams. */
const RESERVE = 1024;

/** Soft limit of open files of this process; Infinity when there is none. */
function openFileLimit(): number {
  const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined || soft === 'unlimited' ? Infinity : Number(soft);
}

/** Raises the limit of open files if need be; a limit that cannot be raised is a warning. */
export function makeRoomFor(connections: number, logger: Logger): void {
  const wanted = connections * PER_CONNECTION + RESERVE;
  const found = openFileLimit();
  if (found >= wanted) return;
  try {
    setOpenFileLimit(BigInt(wanted), BigInt(wanted));
  } catch (error) {
    logger.warn('open-files-limit', {
      found,
      wanted,
      error: messageOf(error),
      effect: 'connections above it fail',
      hint: 'raise LimitNOFILE (systemd) or `ulimit -n`, or lower limits.connections',
    });
  }
}
