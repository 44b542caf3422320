/** What the cache bench measures. */
import type { LoadResult } from '../caches/site.js';

export interface CacheLoad {
  readonly name: string;
  readonly title: string;
  /** Connections, each of which asks again as soon as it is answered. */
  readonly connections: number;
  readonly path: string;
  /** Every request is for another URL. */
  readonly misses: boolean;
}

export const CACHE_LOADS: readonly CacheLoad[] = [
  { name: '1k', title: 'hits, 1 KiB', connections: 32, path: '/1k', misses: false },
  { name: '1k-one', title: 'hits, 1 KiB, one connection', connections: 1, path: '/1k', misses: false },
  { name: '64k', title: 'hits, 64 KiB', connections: 16, path: '/64k', misses: false },
  { name: '1m', title: 'hits, 1 MiB', connections: 8, path: '/1m', misses: false },
  { name: 'miss', title: 'misses, 1 KiB', connections: 32, path: '/1k', misses: true },
];

export interface CacheRound extends LoadResult {
  /** Bytes of memory that the peer has taken meanwhile; only of misses, all of which are stored. */
  readonly grown: number | undefined;
}

export interface CacheCell {
  readonly contender: string;
  readonly title: string;
  readonly load: string;
  readonly rounds: CacheRound[];
}
