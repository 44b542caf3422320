/** What stands between client and origin in one run of a bench: nothing but routing, a node, or another proxy. */
import type { Host } from '../../netns/host.js';
import type { NodeSpec } from '../../netns/spec.js';
import type { Target } from '../load/protocol.js';

export interface PeerSite {
  /** The host in the middle. */
  readonly host: Host;
  /** Where the peer's configuration, logs and pid files go. */
  readonly directory: string;
  readonly origin: string;
  /** The processors that the peer may use, as threads or worker processes. */
  readonly threads: number;
}

export interface Peer {
  readonly name: string;
  /** As tables and figures call it. */
  readonly title: string;
  /** Debian packages, installed when missing. */
  readonly packages: readonly string[];
  /** The configuration of a tpot-node that is the peer. */
  readonly node?: NodeSpec['config'];
  /** Starts the program and resolves when it takes connections; absent for peers that are no program. */
  readonly start?: (site: PeerSite) => Promise<void>;
  /** Where the client connects to, so that it reaches that port of the origin. */
  readonly target: (site: PeerSite, port: number) => Target;
}

/** The client talks to the origin's address, as with routers and transparent proxies. */
export function throughRoute(site: PeerSite, port: number): Target {
  return { address: site.origin, port };
}

/** The client talks to the proxy's address, which has the origin's ports. */
export function throughProxy(site: PeerSite, port: number): Target {
  return { address: site.host.address, port };
}
