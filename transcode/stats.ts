/** What the transforms of a leg, of a pair of nodes, or of a whole node have done. */

export interface TransformStats {
  /** Bytes before the transform and on the wire, in the direction that this node sends. */
  plainSent: number;
  wireSent: number;
  /** The same as received. */
  plainReceived: number;
  wireReceived: number;
  /** Of the plain bytes sent, those that went as references to chunks the other node has, and what the references took. */
  referenced: number;
  referencedTo: number;
  /** Of the bytes that were left, those of blocks that were compressed, and what they came to. */
  compressed: number;
  compressedTo: number;
  /** References that the other node could not resolve any more. */
  missed: number;
  /** Blocks that went as they were because the compressor failed. */
  compressorFailures: number;
  /** Time spent in compressors, in cutting and naming chunks, and in the inverse of both. */
  packMilliseconds: number;
  chunkMilliseconds: number;
  /** Frames sent, and how long bytes waited for the rest of their chunk. */
  framesSent: number;
  waitMilliseconds: number;
  unpackMilliseconds: number;
}

export function emptyStats(): TransformStats {
  return {
    plainSent: 0,
    wireSent: 0,
    plainReceived: 0,
    wireReceived: 0,
    referenced: 0,
    referencedTo: 0,
    compressed: 0,
    compressedTo: 0,
    missed: 0,
    compressorFailures: 0,
    packMilliseconds: 0,
    chunkMilliseconds: 0,
    framesSent: 0,
    waitMilliseconds: 0,
    unpackMilliseconds: 0,
  };
}

export function addStats(sum: TransformStats, one: Readonly<TransformStats>): void {
  for (const key of Object.keys(sum) as (keyof TransformStats)[]) sum[key] += one[key];
}

/** One transform, in the direction that this node sends. */
export interface TransformSums {
  readonly transform: string;
  /** Bytes that it replaced, and by how many. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly cpuSeconds: number;
}

/** `names`: as in configuration files; whichever compressor two nodes share does all their compression. */
export function sumsByTransform(names: readonly string[], stats: Readonly<TransformStats>): TransformSums[] {
  return names.map((transform) =>
    transform === 'dedup'
      ? {
          transform,
          bytesIn: stats.referenced,
          bytesOut: stats.referencedTo,
          cpuSeconds: stats.chunkMilliseconds / 1000,
        }
      : {
          transform,
          bytesIn: stats.compressed,
          bytesOut: stats.compressedTo,
          cpuSeconds: stats.packMilliseconds / 1000,
        },
  );
}
