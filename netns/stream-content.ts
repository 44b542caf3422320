/**
 * What the lab of transforms sends: the same bytes in every process of one machine, so that a client can tell from a hash
 * alone that it got what the origin has. Text is this machine's own.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** `random` cannot be compressed; `gzip` has been. */
export type StreamKind = 'text' | 'gzip' | 'random';
export const STREAM_KINDS: readonly StreamKind[] = ['text', 'gzip', 'random'];

/** The text of the licences and the list of the packages, which every Debian has. */
const LICENCES = '/usr/share/common-licenses';
const PACKAGES = '/var/lib/dpkg/status';
/** A later edition differs in runs of so many bytes, which are one in so many. */
export const EDIT_RUN = 8 * 1024;
export const EDIT_SHARE = 0.01;

let corpus: Buffer | undefined;

function text(): Buffer {
  const files = readdirSync(LICENCES)
    .map((name) => join(LICENCES, name))
    .filter((file) => lstatSync(file).isFile())
    .sort();
  corpus ??= Buffer.concat([...files, PACKAGES].map((file) => readFileSync(file)));
  return corpus;
}

/** AES-256 in counter mode over zeros: as good as random, and known from its seed. */
function random(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

function edit(bytes: Buffer, edition: number): Buffer {
  const runs = edition === 0 ? 0 : Math.floor((bytes.length * EDIT_SHARE) / EDIT_RUN);
  const apart = Math.floor(bytes.length / Math.max(1, runs));
  for (let run = 0; run < runs; run++) random(`${edition} ${run}`, EDIT_RUN).copy(bytes, run * apart);
  return bytes;
}

/** At most `length` bytes; of `random` exactly so many. Edition 0 is the first one. */
export function streamContent(kind: StreamKind, length: number, edition = 0): Buffer {
  if (kind === 'text') return text().subarray(0, length);
  if (kind === 'gzip') return gzipSync(text()).subarray(0, length);
  return edit(random(`stream ${length}`, length), edition);
}
