/**
 * What the specifications ask of a cache, as exchanges: what a client asks, what the origin would answer, and whether the
 * origin is asked. Written from the specifications; docs/cache.md has the same table.
 */
import type { Case } from './case.js';
import { extensions, invalidating, requests, searches, staleness } from './staleness.js';
import { freshness, selecting, storing } from './storing.js';
import { ranges, validating } from './validating.js';

export const CASES: readonly Case[] = [
  ...storing,
  ...freshness,
  ...selecting,
  ...validating,
  ...ranges,
  ...staleness,
  ...requests,
  ...invalidating,
  ...extensions,
  ...searches,
];
