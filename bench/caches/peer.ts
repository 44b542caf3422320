/** A cache in the middle: a node on the route, or another server that clients address instead of the origin. */
import type { Host, Program } from '../../netns/host.js';
import type { NodeSpec } from '../../netns/spec.js';

export interface CacheSiteFacts {
  readonly host: Host;
  /** Configuration and logs. */
  readonly directory: string;
  /** Where stored responses go that are files: in memory. */
  readonly store: string;
  readonly origin: string;
}

export interface CachePeer {
  readonly name: string;
  readonly title: string;
  readonly packages: readonly string[];
  /** The configuration of a tpot-node that is the peer. */
  readonly node?: NodeSpec['config'];
  /** Starts the program and resolves when it takes connections. */
  readonly start?: (site: CacheSiteFacts) => Promise<Program>;
  /** Clients address the peer, not the origin. */
  readonly addressed: boolean;
}

/** Bytes that each may store. */
export const STORE_MIBIBYTES = 1024;
