/** The disk store of a node: its directory, held by one node at a time. */
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { requireOwn } from '../cache/disk/directory.js';
import { DiskStore } from '../cache/disk/store.js';
import type { Clock } from '../core/clock.js';
import { messageOf, TpotError } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { lockFile } from '../host/libc.js';
import type { NodeConfig } from './config.js';

/** Errors that say something about the disk and not about the path that was configured. */
const OF_THE_DISK = new Set(['EIO', 'ENOSPC', 'EDQUOT', 'EROFS']);

type Configured = Pick<NodeConfig, 'name' | 'cacheDisk'>;

/** Holds the directory until this process ends: a lock on a file in it. */
function hold({ name }: Configured, path: string): void {
  const file = join(path, 'lock');
  const fd = openSync(file, 'a', 0o600);
  if (lockFile(fd)) {
    writeFileSync(file, `${name} ${process.pid}\n`);
    return;
  }
  closeSync(fd);
  const [holder = '', pid = ''] = readFileSync(file, 'utf8').trim().split(' ');
  const message = `cache.disk.path: ${path} is the node ${holder}'s already (process ${pid})`;
  throw new TpotError('cache-directory-in-use', message, { hint: 'Give each node a directory of its own.' });
}

/**
 * Opens the disk store that is configured, if one is. A disk that fails is no reason not to start.
 *
 * @throws TpotError `cache-directory` for a path that cannot be used, `cache-directory-in-use` for another node's.
 */
export async function openDisk(
  config: Configured,
  clock: Clock,
  logger: Logger,
): Promise<DiskStore | undefined> {
  if (config.cacheDisk === undefined || config.cacheDisk.maxBytes === 0) return undefined;
  const { path, maxBytes } = config.cacheDisk;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    requireOwn(path, statSync(path));
    hold(config, path);
    return await DiskStore.open({ path, maxBytes, clock, logger });
  } catch (error) {
    if (error instanceof TpotError) throw error;
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!OF_THE_DISK.has(code)) {
      throw new TpotError('cache-directory', `cache.disk.path: ${path}: ${messageOf(error)}`, {
        hint: 'Give a directory that root may make and write.',
        cause: error,
      });
    }
    logger.warn('cache-disk-failed', {
      path,
      error: messageOf(error),
      effect: 'memory only, until a restart',
    });
    return undefined;
  }
}
