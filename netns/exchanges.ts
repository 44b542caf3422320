/** What netns/requests-child.ts is told and tells, and what of it happened where. */
import { readMembers } from './cache-status.js';

/** One request; the next one is sent when this one is over, or as many at once as the program is told to. */
export interface Ask {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Asked for again until this status comes, for a while. */
  readonly until?: number;
  /** Not before this file is there. */
  readonly after?: string;
}

/** What came of it. */
export interface Exchange {
  readonly path: string;
  /** Milliseconds since the epoch. */
  readonly began: number;
  readonly ended: number;
  /** 0 when there was no response. */
  readonly status: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly age: number | undefined;
  readonly cacheStatus: string;
  /** Why it is not complete. */
  readonly error?: string;
}

/** What one node did for one request. */
export interface Deed {
  readonly node: string;
  readonly hit: boolean;
  /** Seconds of freshness that were left at a hit. */
  readonly ttl: number | undefined;
  /** What the next hop answered. */
  readonly forwardStatus: number | undefined;
}

/**
 * What the nodes did for this very request, the one nearest to the origin first. A stored response keeps what was said when
 * it was fetched, so what stands before the last hit is about another request.
 */
export function deedsOf({ cacheStatus }: Pick<Exchange, 'cacheStatus'>): Deed[] {
  const members = readMembers(cacheStatus);
  const from = Math.max(
    0,
    members.findLastIndex(({ parameters }) => parameters.has('hit')),
  );
  return members.slice(from).map(({ cache, parameters }) => {
    const number = (name: string): number | undefined =>
      parameters.has(name) ? Number(parameters.get(name)) : undefined;
    return {
      node: cache,
      hit: parameters.has('hit'),
      ttl: number('ttl'),
      forwardStatus: number('fwd-status'),
    };
  });
}

/** Who answered: a node by its name, `origin`, or `nobody` when it failed. */
export function answererOf(exchange: Exchange): string {
  if (exchange.error !== undefined) return 'nobody';
  return deedsOf(exchange).find(({ hit }) => hit)?.node ?? 'origin';
}

export interface NodeCounts {
  /** Requests it was asked, of those that got an answer. */
  readonly requests: number;
  readonly hits: number;
  /** Stale responses that the next hop has confirmed with a 304. */
  readonly revalidations: number;
}

/** What `node` did for these. */
export function countsOf(node: string, exchanges: readonly Exchange[]): NodeCounts {
  const deeds = exchanges
    .filter(({ error }) => error === undefined)
    .flatMap((exchange) => deedsOf(exchange).filter((deed) => deed.node === node));
  return {
    requests: deeds.length,
    hits: deeds.filter(({ hit }) => hit).length,
    revalidations: deeds.filter(({ forwardStatus }) => forwardStatus === 304).length,
  };
}

/** How many of the exchanges each of `names` answered, in `parts` stretches of the time that they took. */
export function answeredOverTime(
  exchanges: readonly Exchange[],
  names: readonly string[],
  parts: number,
): { readonly seconds: number; readonly counts: ReadonlyMap<string, number> }[] {
  const start = Math.min(...exchanges.map(({ ended }) => ended));
  const length = Math.max(1, Math.max(...exchanges.map(({ ended }) => ended)) - start);
  const stretches = Array.from({ length: parts }, () => new Map(names.map((name) => [name, 0])));
  for (const exchange of exchanges) {
    const part = Math.min(parts - 1, Math.floor(((exchange.ended - start) * parts) / length));
    const counts = stretches[part];
    const name = answererOf(exchange);
    counts?.set(name, (counts.get(name) ?? 0) + 1);
  }
  return stretches.map((counts, part) => ({ seconds: ((part + 0.5) * length) / parts / 1000, counts }));
}
