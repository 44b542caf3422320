/** What the labs share. */
import { TpotError } from '../../core/errors.js';
import { answeredBy } from '../cache-status.js';
import type { LinkCapture } from '../capture.js';
import type { FetchResult } from '../fetch.js';
import type { RouteSpec } from '../spec.js';
import type { Topology } from '../topology.js';

/** The labs' clients and nodes have addresses in here (RFC 2544); origins have theirs in 192.0.2.0/24 (RFC 5737). */
const LAB_PREFIX = '198.18.0.0/15';

/** Rules of a node that caches what it can, and of one that only relays. */
export const CACHE_RULES = [{ match: { dport: 80 }, action: 'cache' }, { action: 'relay' }];
export const RELAY_RULES = [{ action: 'relay' }];

/** Routes along a chain of hosts, the origin last, with clients hanging off them: `{ c1: 'p1' }`. */
export function chainRoutes(
  chain: readonly string[],
  clients: Readonly<Record<string, string>>,
): RouteSpec[] {
  const routes: RouteSpec[] = Object.entries(clients).map(([host, via]) => ({ host, to: 'default', via }));
  for (const [index, host] of chain.entries()) {
    const next = chain[index + 1];
    const previous = chain[index - 1];
    if (next !== undefined) routes.push({ host, to: 'default', via: next });
    if (previous !== undefined)
      routes.push({ host, to: next === undefined ? 'default' : LAB_PREFIX, via: previous });
  }
  return routes;
}

export function captureOf(captures: ReadonlyMap<string, LinkCapture>, link: string): LinkCapture {
  const capture = captures.get(link);
  if (capture === undefined) throw new TpotError('capture-missing', `nothing was captured on ${link}`);
  return capture;
}

/** The address by which `host` is on its link with `peer`. */
export function addressTowards(topology: Topology, host: string, peer: string): string {
  for (const { ends } of topology.links) {
    const own = ends.find((end) => end.host === host);
    if (own !== undefined && ends.some((end) => end.host === peer)) return own.address;
  }
  throw new TpotError('topology-invalid', `${host} and ${peer} share no link`);
}

/** The host whose node's cache answered, or `origin`. Nodes call themselves by host and lab. */
export function answererOf(topology: Topology, result: FetchResult): string {
  const cache = answeredBy(result.headers['cache-status'] ?? '');
  if (cache === undefined) return 'origin';
  return topology.hosts.find(({ name }) => topology.nodeName(name) === cache)?.name ?? cache;
}

/** A fetch in one line. */
export function describeFetch(topology: Topology, result: FetchResult): string {
  if (result.exit !== 0) {
    return `failed after ${result.bytes} bytes: ${result.complaint || `exit ${result.exit ?? 'by signal'}`}`;
  }
  const from = answererOf(topology, result);
  return `${result.status}, ${result.bytes} bytes from ${from} in ${result.milliseconds} ms`;
}
