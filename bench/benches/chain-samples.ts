/** What the chain bench measures: who answered each request of a load, in the order in which they ended. */

/** In the order of the path. */
export const LEVELS = ['p1', 'p2', 'p3'] as const;
export type Level = (typeof LEVELS)[number];
/** Which node each client is behind. */
export const CLIENTS = { c1: 'p1', c2: 'p2', c3: 'p3' } as const satisfies Readonly<Record<string, Level>>;

/** How the nodes share the work. */
export interface ChainContender {
  readonly name: string;
  readonly title: string;
  /** Nodes that a connection of a client may pass. */
  readonly hops: number;
  /** Of the nodes that have others behind them. */
  readonly cache: Readonly<Record<string, unknown>>;
}

export const CHAIN_CONTENDERS: readonly ChainContender[] = [
  { name: 'alone', title: 'each node by itself', hops: 1, cache: {} },
  { name: 'chain', title: 'chain', hops: 8, cache: {} },
  {
    name: 'second',
    title: 'chain, stored at the second request',
    hops: 8,
    cache: { admit: 'second-request' },
  },
  { name: 'once', title: 'chain, stored at one level', hops: 8, cache: { keepHits: false } },
];

/** One request that was answered. */
export interface Answered {
  /** The nodes that it came to, and the origin if none of them had it. */
  readonly asked: readonly Level[];
  readonly by: Level | 'origin';
  readonly bytes: number;
}

export interface ChainLoad {
  readonly contender: string;
  readonly title: string;
  readonly exponent: number;
  readonly answered: readonly Answered[];
  /** Requests without a whole answer. */
  readonly failed: number;
  /** Bytes of content that the origin has sent, and responses. */
  readonly originBytes: number;
  readonly originRequests: number;
}
