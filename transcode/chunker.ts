/**
 * Content-defined chunking: where a stream is cut depends on the bytes just before the cut alone, so that after an
 * insertion the cuts fall into step again. The rolling hash is Gear with normalised chunking (Xia et al., *FastCDC*,
 * USENIX ATC 2016, sections 3.2 to 3.4).
 */
import { createHash } from 'node:crypto';

export const MIN_CHUNK = 2 * 1024;
/** A cut becomes more probable from here on, so that most chunks are about so long. */
export const NORMAL_CHUNK = 8 * 1024;
export const MAX_CHUNK = 32 * 1024;

/** One place in 2^15 is a cut before the normal length, one in 2^11 after. The upper bits depend on most bytes. */
const MASK_BEFORE = 0xfffe0000 | 0;
const MASK_AFTER = 0xffe00000 | 0;
/** The Gear hash of a place is made of the 32 bytes before it. */
const WINDOW = 32;

/** 256 numbers that are the same on every node: from SHA-256, so that nobody has to wonder where they come from. */
const GEAR = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(Uint8Array.of(byte)).digest().readInt32BE(0),
);

/**
 * Length of the first chunk of `bytes` between `from` and `to`, or 0 when its end is not among them. `seen`: so many of its
 * bytes are known to hold no end.
 */
export function cutPoint(bytes: Uint8Array, from: number, to: number, seen = 0): number {
  const normal = Math.min(to, from + NORMAL_CHUNK);
  const last = Math.min(to, from + MAX_CHUNK);
  const first = from + Math.max(MIN_CHUNK, seen);
  let at = first - WINDOW;
  let hash = 0;
  for (const warm = Math.min(to, first); at < warm; at++) hash = ((hash << 1) + gear(bytes, at)) | 0;
  for (; at < normal; at++) {
    hash = ((hash << 1) + gear(bytes, at)) | 0;
    if ((hash & MASK_BEFORE) === 0) return at + 1 - from;
  }
  for (; at < last; at++) {
    hash = ((hash << 1) + gear(bytes, at)) | 0;
    if ((hash & MASK_AFTER) === 0) return at + 1 - from;
  }
  return to - from >= MAX_CHUNK ? MAX_CHUNK : 0;
}

function gear(bytes: Uint8Array, at: number): number {
  return GEAR[bytes[at] ?? 0] ?? 0;
}
