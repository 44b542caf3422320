/** What an operator can choose about a cache. */

/** What of the responses that may be stored is. A rule of a node may choose otherwise than the node does. */
export interface AdmissionPolicy {
  /** Store only what is asked for a second time. */
  readonly secondRequest: boolean;
  /** Store also what the next hop has answered from its own store. */
  readonly keepHits: boolean;
}

export type AdmissionChoice = Partial<AdmissionPolicy>;

export interface CachePolicy extends AdmissionPolicy {
  /** Targeted fields that speak to this cache (RFC 9213), lower-case, by precedence. */
  readonly targets: readonly string[];
  /** Seconds past its freshness for which a response may be used when the next hop cannot be reached; 0 for never. */
  readonly disconnectedSeconds: number;
  /** Use what is stored under another query where the origin says that it is the same (No-Vary-Search). */
  readonly noVarySearch: boolean;
}

export const DEFAULT_POLICY: CachePolicy = {
  targets: ['cdn-cache-control'],
  disconnectedSeconds: 86_400,
  secondRequest: false,
  keepHits: true,
  noVarySearch: true,
};
