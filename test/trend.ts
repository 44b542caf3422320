/** What grows, told from samples that jump. */

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** What a sample adds to the one before it: the median of all slopes between two samples (Theil 1950, Sen 1968). */
export function slopeOf(values: readonly number[]): number {
  return median(
    values.flatMap((from, at) => values.slice(at + 1).map((to, further) => (to - from) / (further + 1))),
  );
}

/** The first half fills caches and pools. */
export const secondHalf = <T>(values: readonly T[]): readonly T[] => values.slice(values.length >> 1);

export const listed = (values: readonly number[]): string => values.map((one) => one.toFixed(0)).join(' ');
