/** The compressors there are. */
import type { Compressor, Decompressor } from './compressor.js';
import { DeflateCompressor, DeflateDecompressor } from './deflate.js';
import { ZstdCompressor, ZstdDecompressor } from './zstd.js';

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
