/** The client who waits for a fetch, as the fetch sees it. */
import type { CacheStatus } from '../../cache/cache-status.js';
import type { Fill } from '../../cache/fill.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredHead, StoredResponse } from '../../cache/stored.js';
import type { Arrival } from './arrival.js';
import type { FillSource } from './tapped-body.js';
import type { Information, Upstream, UpstreamFailure } from './upstream.js';

export type Forwarded = Extract<CacheStatus, { hit: false }>;

/** A renewal behind an answer has none. */
export interface FetchClient {
  information(info: Information): void;
  /**
   * The content comes in `fill`: with `response`'s head, or, where that is only the missing part, with `stored`. From
   * where it comes is told where all of it is to be stored.
   */
  fill(
    fill: Fill,
    response: ResponseHead,
    stored: StoredHead | undefined,
    status: Forwarded,
    source: FillSource | undefined,
  ): void;
  stored(entry: StoredResponse, status: Forwarded): void;
  /** Not for the cache: it is the client's. */
  pass(upstream: Upstream, arrival: Arrival, status: Forwarded): void;
  failed(failure: UpstreamFailure, status: Forwarded): void;
}
