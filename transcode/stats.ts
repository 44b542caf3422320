/** What the transforms of a leg, of a pair of nodes, or of a whole node have done. */

export interface TransformStats {
  /** Bytes before the transform and on the wire, in the direction that this node sends. */
  plainSent: number;
  wireSent: number;
  /** The same as received. */
  plainReceived: number;
  wireReceived: number;
  /** Of the plain bytes sent, those that went as references to chunks the other node has. */
  referenced: number;
  /** Of the plain bytes sent, those of blocks that were compressed. */
  compressed: number;
  /** References that the other node could not resolve any more. */
  missed: number;
  /** Time spent in compressors and chunkers, and in their inverses. */
  packMilliseconds: number;
  unpackMilliseconds: number;
}

export function emptyStats(): TransformStats {
  return {
    plainSent: 0,
    wireSent: 0,
    plainReceived: 0,
    wireReceived: 0,
    referenced: 0,
    compressed: 0,
    missed: 0,
    packMilliseconds: 0,
    unpackMilliseconds: 0,
  };
}

export function addStats(sum: TransformStats, one: Readonly<TransformStats>): void {
  for (const key of Object.keys(sum) as (keyof TransformStats)[]) sum[key] += one[key];
}
