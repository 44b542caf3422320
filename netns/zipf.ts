/** Requests as people make them: a few objects are asked for often, most of them once or never (Zipf's law). */

/** xorshift32 (Marsaglia, *Xorshift RNGs*): the same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * `count` ranks from 0 to `objects - 1`; rank r has a probability in proportion to 1 / (r + 1)^exponent. Decided by the
 * seed.
 */
export function zipf(objects: number, count: number, seed: number, exponent = 0.9): number[] {
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= objects; rank++) sums.push((sum += rank ** -exponent));
  const random = randomOf(seed);
  return Array.from({ length: count }, () => {
    const at = random() * sum;
    return Math.max(
      0,
      sums.findIndex((upTo) => at < upTo),
    );
  });
}
