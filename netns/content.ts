/**
 * Deterministic bytes: the same seed gives the same bytes in every process, so a client can tell from a hash alone
 * that it got what the origin has. Every block differs, so a block lost, doubled or moved changes the hash.
 */
import { createHash, type Hash } from 'node:crypto';

const BLOCK = 64 * 1024;
const MULTIPLIER = 1_664_525; // Numerical Recipes' linear congruential generator
const INCREMENT = 1_013_904_223;

function baseBlock(seed: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  let value = createHash('sha256').update(seed).digest().readUInt32LE(0);
  for (let offset = 0; offset < BLOCK; offset += 4) {
    value = (Math.imul(value, MULTIPLIER) + INCREMENT) >>> 0;
    block.writeUInt32LE(value, offset);
  }
  return block;
}

/** The content of `seed`, `length` bytes long, in blocks. */
export function* content(seed: string, length: number): Generator<Buffer, void> {
  const base = baseBlock(seed);
  for (let offset = 0; offset < length; offset += BLOCK) {
    const block = Buffer.from(base);
    block.writeDoubleLE(offset, 0);
    yield block.subarray(0, Math.min(BLOCK, length - offset));
  }
}

/** SHA-256 of {@link content}, in hex. */
export function contentHash(seed: string, length: number): string {
  const hash: Hash = createHash('sha256');
  for (const block of content(seed, length)) hash.update(block);
  return hash.digest('hex');
}
