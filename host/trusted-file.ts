/**
 * Reading files that decide what a node does to other people's connections. Whoever may write such a file is root in
 * effect, so one that others may write is refused, or put another one in its place.
 */
import {
  closeSync,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  statSync,
  type Stats,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { messageOf } from '../core/errors.js';

/** Group and others may write, or, of a secret, do anything. */
const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;
const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_ALL = 0o002;
/** Of a directory: only who owns what is in it may rename or remove it. */
const STICKY = 0o1000;
/** As many as the kernel follows (path_resolution(7)). */
const MOST_LINKS = 40;
/** Twice what the longest bypass list can have. */
const MOST_BYTES = 16 * 2 ** 20;
const CHUNK = 64 * 1024;

interface Problem {
  readonly problem: { readonly message: string; readonly hint: string };
}

export type TrustedText = { readonly text: string } | Problem;

const modeOf = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, '0');

function lets(stat: Stats): boolean {
  const { mode, gid } = stat;
  if ((mode & STICKY) !== 0) return false;
  return (mode & WRITABLE_BY_ALL) !== 0 || ((mode & WRITABLE_BY_GROUP) !== 0 && gid !== 0);
}

/**
 * The first directory on the way to a file, by symbolic links as well, in which others may put another file, or another link,
 * in its place; undefined when there is none.
 */
function openDirectory(file: string): string | undefined {
  let at = '/';
  let left = resolve(file).split('/');
  for (let links = 0; left.length > 0 && links <= MOST_LINKS;) {
    const [name = '', ...rest] = left;
    left = rest;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = dirname(at);
      continue;
    }
    if (lets(statSync(at))) return at;
    const path = join(at, name);
    if (lstatSync(path).isSymbolicLink()) {
      links++;
      const target = readlinkSync(path);
      left = [...target.split('/'), ...left];
      if (target.startsWith('/')) at = '/';
    } else at = path;
  }
  return undefined;
}

/** Of a regular file. Pipes and /dev/stdin have the modes of whoever made them, and nobody changes them behind a reader's back. */
function exposure(file: string, { mode, size }: Stats, secret: boolean): Problem | undefined {
  const problem = (message: string, hint: string): Problem => ({ problem: { message, hint } });
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    return problem(`others than its owner may write it (mode ${modeOf(mode)})`, `chmod go-w ${file}`);
  if (secret && (mode & OPEN_TO_OTHERS) !== 0)
    return problem(`others than its owner may read it (mode ${modeOf(mode)})`, `chmod 600 ${file}`);
  const directory = openDirectory(file);
  if (directory !== undefined) {
    const message = `others may put another file in its place: they may write ${directory} (mode ${modeOf(statSync(directory).mode)})`;
    return problem(message, `chmod go-w ${directory}, or keep it elsewhere: /etc/tpot-node`);
  }
  return size > MOST_BYTES ? tooLong : undefined;
}

const tooLong: Problem = {
  problem: { message: `has more than ${MOST_BYTES} bytes`, hint: 'No file that is meant here is so long.' },
};

function refusal(file: string, stat: Stats, secret: boolean): Problem | undefined {
  const own = process.geteuid?.() ?? 0;
  if (stat.uid !== 0 && stat.uid !== own) {
    const message = `belongs to user ${stat.uid}, who could change what this node does`;
    return { problem: { message, hint: `chown root ${file}` } };
  }
  return stat.isFile() ? exposure(file, stat, secret) : undefined;
}

/** To its end, whatever its size was when it was looked at. */
function readAll(fd: number): TrustedText {
  const chunks: Buffer[] = [];
  for (let length = 0; length <= MOST_BYTES;) {
    const chunk = Buffer.alloc(CHUNK);
    const read = readSync(fd, chunk);
    if (read === 0) return { text: Buffer.concat(chunks).toString('utf8') };
    chunks.push(chunk.subarray(0, read));
    length += read;
  }
  return tooLong;
}

/**
 * The text of a file that belongs to root or to this process's own user and that nobody else may write or replace, nor
 * read when it is `secret`.
 */
export function readTrusted(
  file: string,
  { secret = false }: { readonly secret?: boolean } = {},
): TrustedText {
  const unreadable = (error: unknown): Problem => ({
    problem: {
      message: `cannot be read: ${messageOf(error)}`,
      hint: 'Give an existing file that this process may read.',
    },
  });
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    return unreadable(error);
  }
  try {
    // Of the open file, not of the name: what was checked is what is read.
    return refusal(file, fstatSync(fd), secret) ?? readAll(fd);
  } catch (error) {
    return unreadable(error);
  } finally {
    closeSync(fd);
  }
}
