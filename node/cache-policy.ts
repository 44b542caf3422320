/** The keys of the configuration under `cache` as the cache's policy. */
import { DEFAULT_POLICY, type CachePolicy } from '../cache/policy.js';
import type { RawCache } from './config-schema.js';
import { parseDuration } from './units.js';

export function toCachePolicy({ targeted, staleIfDown, admit, keepHits }: RawCache = {}): CachePolicy {
  const down = staleIfDown === undefined ? undefined : parseDuration(staleIfDown);
  return {
    targets: targeted?.map((name) => name.toLowerCase()) ?? DEFAULT_POLICY.targets,
    disconnectedSeconds: down === undefined ? DEFAULT_POLICY.disconnectedSeconds : Math.floor(down / 1000),
    secondRequest: admit === undefined ? DEFAULT_POLICY.secondRequest : admit === 'second-request',
    keepHits: keepHits ?? DEFAULT_POLICY.keepHits,
  };
}
