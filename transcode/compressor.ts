/** What a compressor of a stream can do. */

/** One direction's compressor. Every block is flushed: the receiver can use it at once. */
export interface Compressor {
  /** The next block; it needs all blocks since the last restart. At most MAX_PLAIN bytes go in. */
  compress(plain: Buffer): Buffer;
  /** Forgets all history; the next block is decompressed after a restart with the same dictionary. */
  restart(level: number, dictionary?: Buffer): void;
  close(): void;
}

export interface Decompressor {
  /** Throws when the block is broken, or stands for more than `limit` bytes. */
  decompress(packed: Buffer, limit: number): Buffer;
  restart(dictionary?: Buffer): void;
  close(): void;
}
