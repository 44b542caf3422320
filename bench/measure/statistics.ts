/** Order statistics of small samples. Every figure of the bench goes through these; all of them are pure. */

/** A measured quantity over several rounds: the median is what is quoted, with the spread beside it. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

/** What tables of latencies show. Units are those of the samples. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  readonly standardDeviation: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

export function ascending(samples: Iterable<number>): Float64Array {
  return Float64Array.from(samples).sort();
}

/** The quantile between 0 and 1 of samples in ascending order, interpolated between neighbours; NaN of none. */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  if (sorted.length === 0) return NaN;
  const place = (sorted.length - 1) * Math.min(1, Math.max(0, fraction));
  const below = sorted[Math.floor(place)] ?? NaN;
  const above = sorted[Math.ceil(place)] ?? NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export function median(samples: Iterable<number>): number {
  return quantile(ascending(samples), 0.5);
}

export function spreadOf(samples: Iterable<number>): Spread {
  const sorted = ascending(samples);
  return {
    median: quantile(sorted, 0.5),
    min: quantile(sorted, 0),
    max: quantile(sorted, 1),
    count: sorted.length,
  };
}

/**
 * Ratios to the baseline of the same round, so that what disturbs a round disturbs both sides. Rounds that lack one
 * of the two are left out.
 */
export function ratioSpread(samples: readonly number[], baseline: readonly number[]): Spread {
  const ratios = samples.flatMap((sample, round) => {
    const base = baseline[round];
    return base === undefined || base === 0 ? [] : [sample / base];
  });
  return spreadOf(ratios);
}

export function distributionOf(samples: Iterable<number>): Distribution {
  const sorted = ascending(samples);
  const mean = sorted.reduce((sum, sample) => sum + sample, 0) / sorted.length;
  const variance = sorted.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / sorted.length;
  return {
    count: sorted.length,
    mean,
    standardDeviation: Math.sqrt(variance),
    min: quantile(sorted, 0),
    p50: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    p99: quantile(sorted, 0.99),
    max: quantile(sorted, 1),
  };
}

/** At most `count` of the values, evenly spread over their order, the first and the last among them. */
export function thin<T>(values: readonly T[], count: number): T[] {
  if (values.length <= count) return [...values];
  const step = (values.length - 1) / (count - 1);
  return Array.from({ length: count }, (_, index) => values[Math.round(index * step)]).filter(
    (value) => value !== undefined,
  );
}
