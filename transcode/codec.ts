/** What a compressor of a stream can do, and which ones there are. */
import { DeflateCompressor, DeflateDecompressor } from './deflate.js';
import { ZstdCompressor, ZstdDecompressor } from './zstd.js';

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

export interface Codec {
  /** As in configuration files. */
  readonly name: string;
  /** In `capabilities` of requests and replies. */
  readonly bit: number;
  /** From the fastest to the one that compresses best. */
  readonly levels: readonly number[];
  compressor(level: number): Compressor;
  decompressor(): Decompressor;
}

/** The best first: of those both nodes have, this one is used. */
export const CODECS: readonly Codec[] = [
  {
    name: 'zstd',
    bit: 0x0001,
    levels: [1, 3, 6, 9],
    compressor: (level) => new ZstdCompressor(level),
    decompressor: () => new ZstdDecompressor(),
  },
  {
    name: 'deflate',
    bit: 0x0002,
    levels: [1, 4, 6],
    compressor: (level) => new DeflateCompressor(level),
    decompressor: () => new DeflateDecompressor(),
  },
];
