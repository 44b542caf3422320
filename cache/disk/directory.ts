/**
 * The directory of a disk store.
 *
 * ```
 *  PATH/            0700, of the user who runs the node, writable by nobody else
 *    v1/objects/00 … ff/    NAME       an object file: one stored response
 *                           NAME.SUFFIX   its body file, where it is large
 *    v1/tmp/        what is being written; emptied at the start
 * ```
 *
 * A file gets its name by rename when it is complete, the object file last: what is killed before leaves nothing that
 * counts. Nothing is synced: after a loss of power, checksums tell what has not reached the disk.
 */
import type { FileHandle } from 'node:fs/promises';
import * as promises from 'node:fs/promises';
import { join } from 'node:path';
import { TpotError } from '../../core/errors.js';

/** The calls that a store makes; a test puts faults between. */
export type DiskIo = Pick<
  typeof promises,
  'mkdir' | 'open' | 'readdir' | 'readFile' | 'rename' | 'stat' | 'unlink' | 'utimes'
>;

export const systemIo: DiskIo = promises;

const OWNER_ONLY = 0o700;
const FILE_MODE = 0o600;
const WRITABLE_BY_OTHERS = 0o022;

const FOLDER_NAME = /^[0-9a-f]{2}$/;

function refusal(path: string, message: string, hint: string): TpotError {
  return new TpotError('cache-directory', `cache.disk.path: ${path} ${message}`, { hint });
}

/** Errors of the path itself, which waiting does not mend. */
const OF_THE_PATH = new Set(['EACCES', 'EPERM', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EEXIST']);

/** @throws TpotError `cache-directory` for a directory in which others could change what clients get. */
export function requireOwn(path: string, stat: { readonly uid: number; readonly mode: number }): void {
  const own = process.geteuid?.() ?? 0;
  if (stat.uid !== own) {
    const message = `belongs to user ${stat.uid}, who could change what clients get`;
    throw refusal(path, message, `chown ${own} ${path}`);
  }
  if ((stat.mode & WRITABLE_BY_OTHERS) !== 0) {
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
    throw refusal(path, `may be written by others (mode ${mode})`, `chmod 700 ${path}`);
  }
}

export class DiskDirectory {
  readonly path: string;
  readonly #io: DiskIo;
  #serial = 0;

  constructor(path: string, io: DiskIo) {
    this.path = path;
    this.#io = io;
  }

  /**
   * Makes what is missing, and removes what was being written when an earlier process ended.
   *
   * @throws TpotError `cache-directory` for a path that cannot be used whatever happens; errors of the disk as they are.
   */
  async prepare(): Promise<void> {
    try {
      await this.#io.mkdir(this.path, { recursive: true, mode: OWNER_ONLY });
      requireOwn(this.path, await this.#io.stat(this.path));
      for (const part of ['', 'tmp', 'objects']) {
        await this.#io.mkdir(join(this.path, 'v1', part), { recursive: true, mode: OWNER_ONLY });
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (!OF_THE_PATH.has(code)) throw error;
      throw refusal(this.path, `cannot be used (${code})`, 'Give a directory that root may write.');
    }
    for (const file of await this.#io.readdir(join(this.path, 'v1', 'tmp'))) {
      await this.#io.unlink(join(this.path, 'v1', 'tmp', file));
    }
  }

  /** Every folder of objects that there is. */
  async folders(): Promise<string[]> {
    const objects = join(this.path, 'v1', 'objects');
    const names = await this.#io.readdir(objects);
    return names.filter((name) => FOLDER_NAME.test(name)).map((name) => join(objects, name));
  }

  folderOf(name: string): string {
    return join(this.path, 'v1', 'objects', name.slice(0, 2));
  }

  /** The object file, or with a suffix the body file. */
  file(name: string, suffix = ''): string {
    return join(this.folderOf(name), suffix === '' ? name : `${name}.${suffix}`);
  }

  /** Gives a complete file its name. */
  async place(path: string, name: string, suffix = ''): Promise<void> {
    const target = this.file(name, suffix);
    try {
      await this.#io.rename(path, target);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await this.#io.mkdir(this.folderOf(name), { recursive: true, mode: OWNER_ONLY });
      await this.#io.rename(path, target);
    }
  }

  /** A new file for what is being written. */
  async create(): Promise<{ readonly path: string; readonly handle: FileHandle }> {
    const path = join(this.path, 'v1', 'tmp', `${process.pid}-${this.#serial++}`);
    return { path, handle: await this.#io.open(path, 'wx', FILE_MODE) };
  }
}

export async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
  }
}

/** Up to `length` bytes at `position`; fewer at the end of the file. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let have = 0;
  while (have < length) {
    const { bytesRead } = await handle.read(bytes, have, length - have, position + have);
    if (bytesRead === 0) break;
    have += bytesRead;
  }
  return bytes.subarray(0, have);
}

/** Whether an error only says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}
