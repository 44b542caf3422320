/** Numbers as the tables show them. */
import type { Spread } from '../measure/statistics.js';

export function decimals(value: number, places: number): string {
  return Number.isFinite(value) ? value.toFixed(places) : '-';
}

/** `1.02 (0.98–1.05)`; without the spread when there was one round. */
export function range({ median, min, max, count }: Spread, places = 2): string {
  const middle = decimals(median, places);
  return count < 2 ? middle : `${middle} (${decimals(min, places)}–${decimals(max, places)})`;
}
