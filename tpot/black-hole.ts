/**
 * What a source remembers of a destination whose path loses SYNs that carry the request (protocol rule 1). Pure: the
 * owner of the table keeps the entries, by destination address.
 */

export interface BlackHoleEntry {
  /** On the clock of the caller, in milliseconds. */
  readonly until: number;
  /** How long it was remembered this time, in milliseconds. */
  readonly period: number;
}

export interface BlackHoleLimits {
  readonly first: number;
  readonly longest: number;
}

const MINUTE = 60_000;

export const DEFAULT_BLACK_HOLE_LIMITS: BlackHoleLimits = { first: 10 * MINUTE, longest: 24 * 60 * MINUTE };

/** Whether the destination is to get no request now. */
export function isBlackHole(entry: BlackHoleEntry | undefined, now: number): boolean {
  return entry !== undefined && now < entry.until;
}

/**
 * The entry after one more plain SYN was answered where SYNs with the request were not. The period doubles with each
 * new episode; connections that were opened side by side and learn the same thing are one episode.
 */
export function learnBlackHole(
  known: BlackHoleEntry | undefined,
  now: number,
  limits: BlackHoleLimits = DEFAULT_BLACK_HOLE_LIMITS,
): BlackHoleEntry {
  if (known !== undefined && isBlackHole(known, now)) return known;
  const period = Math.min(known === undefined ? limits.first : known.period * 2, limits.longest);
  return { until: now + period, period };
}
