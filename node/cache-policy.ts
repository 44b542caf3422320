/** The keys of the configuration under `cache`. */
import { DEFAULT_POLICY, type AdmissionChoice, type CachePolicy } from '../cache/policy.js';
import type { RawAdmission, RawCache } from './config-schema.js';
import { parseDuration, parseSize } from './units.js';

const DEFAULT_MEMORY = '256MiB';
const DEFAULT_SPLICE_ABOVE = '16MiB';
const DEFAULT_STALL_TIMEOUT = '30s';
const DEFAULT_TAP_ABOVE = '0';

/** What a rule says about what is stored; `undefined` when it says nothing. */
export function toAdmission({ admit, keepHits }: RawAdmission): AdmissionChoice | undefined {
  if (admit === undefined && keepHits === undefined) return undefined;
  return {
    ...(admit === undefined ? {} : { secondRequest: admit === 'second-request' }),
    ...(keepHits === undefined ? {} : { keepHits }),
  };
}

function toPolicy(raw: RawCache): CachePolicy {
  const { targeted, staleIfDown, noVarySearch } = raw;
  const down = staleIfDown === undefined ? undefined : parseDuration(staleIfDown);
  return {
    targets: targeted?.map((name) => name.toLowerCase()) ?? DEFAULT_POLICY.targets,
    disconnectedSeconds: down === undefined ? DEFAULT_POLICY.disconnectedSeconds : Math.floor(down / 1000),
    secondRequest: DEFAULT_POLICY.secondRequest,
    keepHits: DEFAULT_POLICY.keepHits,
    ...toAdmission(raw),
    noVarySearch: noVarySearch ?? DEFAULT_POLICY.noVarySearch,
  };
}

export interface DiskSettings {
  readonly path: string;
  readonly maxBytes: number;
}

/** The part of a node's configuration that is about its cache; sizes in bytes. */
export interface CacheSettings {
  readonly cacheBytes: number;
  /** Where responses are stored beyond memory. */
  readonly cacheDisk: DiskSettings | undefined;
  /** Bytes from which on a response body that is not stored leaves for the kernel; 0: none does. */
  readonly spliceAbove: number;
  /** Bytes from which on one that is stored does, while a copy is made of it; 0: none does. */
  readonly tapAbove: number;
  readonly cachePolicy: CachePolicy;
  /** Whether addresses of one name share what is stored, after a look at DNS. */
  readonly verifyHost: boolean;
  /** Milliseconds a client may take nothing of a response while others wait for it. */
  readonly stallTimeoutMs: number;
}

function toDisk(raw: RawCache['disk']): DiskSettings | undefined {
  return raw && { path: raw.path, maxBytes: parseSize(String(raw.size)) ?? 0 };
}

export function toCacheSettings(raw: RawCache = {}): CacheSettings {
  return {
    cacheBytes: parseSize(String(raw.memory ?? DEFAULT_MEMORY)) ?? 0,
    cacheDisk: toDisk(raw.disk),
    spliceAbove: parseSize(String(raw.spliceAbove ?? DEFAULT_SPLICE_ABOVE)) ?? 0,
    tapAbove: parseSize(String(raw.tapAbove ?? DEFAULT_TAP_ABOVE)) ?? 0,
    cachePolicy: toPolicy(raw),
    verifyHost: raw.verifyHost ?? false,
    stallTimeoutMs: parseDuration(raw.stallTimeout ?? DEFAULT_STALL_TIMEOUT) ?? 0,
  };
}
