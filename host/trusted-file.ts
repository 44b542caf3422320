/**
 * Reading files that decide what a node does to other people's connections. Whoever may write such a file is root in
 * effect, so one that others may write is refused.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { messageOf } from '../core/errors.js';

/** Group and others may write, or, of a secret, do anything. */
const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;

export type TrustedText =
  { readonly text: string } | { readonly problem: { readonly message: string; readonly hint: string } };

function refusal(
  file: string,
  stat: { readonly uid: number; readonly mode: number; isFile(): boolean },
  secret: boolean,
): TrustedText | undefined {
  const own = process.geteuid?.() ?? 0;
  if (stat.uid !== 0 && stat.uid !== own) {
    const message = `belongs to user ${stat.uid}, who could change what this node does`;
    return { problem: { message, hint: `chown root ${file}` } };
  }
  // Pipes and /dev/stdin have the modes of whoever made them, and nobody can change them behind a reader's back.
  if (stat.isFile() && (stat.mode & WRITABLE_BY_OTHERS) !== 0) {
    const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
    const message = `others than its owner may write it (mode ${mode})`;
    return { problem: { message, hint: `chmod go-w ${file}` } };
  }
  if (secret && stat.isFile() && (stat.mode & OPEN_TO_OTHERS) !== 0) {
    const message = `others than its owner may read it (mode ${(stat.mode & 0o777).toString(8).padStart(4, '0')})`;
    return { problem: { message, hint: `chmod 600 ${file}` } };
  }
  return undefined;
}

/**
 * The text of a file that belongs to root or to this process's own user and that nobody else may write, nor read when it
 * is `secret`.
 */
export function readTrusted(
  file: string,
  { secret = false }: { readonly secret?: boolean } = {},
): TrustedText {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    const hint = 'Give an existing file that this process may read.';
    return { problem: { message: `cannot be read: ${messageOf(error)}`, hint } };
  }
  try {
    // Of the open file, not of the name: what was checked is what is read.
    return refusal(file, fstatSync(fd), secret) ?? { text: readFileSync(fd, 'utf8') };
  } catch (error) {
    const hint = 'Give an existing file that this process may read.';
    return { problem: { message: `cannot be read: ${messageOf(error)}`, hint } };
  } finally {
    closeSync(fd);
  }
}
