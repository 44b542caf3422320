/**
 * Streaming Zstandard (RFC 8878). Calls are synchronous: a block of 64 KiB at level 3 takes less time than handing it to
 * another thread and back.
 */
import { TpotError } from '../core/errors.js';
import {
  checkZstd as check,
  createdZstd as created,
  libzstd as library,
  ZSTD,
  type ZstdContext as Context,
} from '../host/libzstd.js';
import type { Compressor, Decompressor } from './compressor.js';

/** 256 KiB of history: the memory of a direction is bounded by it, about 1 MiB at the levels in use. */
export const WINDOW_BITS = 18;

/** Where blocks are made before they are copied to their own size. One is enough: calls are synchronous. */
const scratch = Buffer.allocUnsafeSlow(160 * 1024);

/** A prefix is only referenced by libzstd: it has to stay where it is for as long as the first block takes. */
export class ZstdCompressor implements Compressor {
  #context: Context | undefined = created(library().createCCtx());

  constructor(level: number) {
    check(library().setC(this.#live, ZSTD.windowLog, WINDOW_BITS));
    check(library().setC(this.#live, ZSTD.contentSizeFlag, 0));
    this.restart(level);
  }

  restart(level: number, dictionary?: Buffer): void {
    const { resetC, setC, prefixC } = library();
    check(resetC(this.#live, ZSTD.sessionOnly));
    check(setC(this.#live, ZSTD.level, level));
    if (dictionary !== undefined) check(prefixC(this.#live, dictionary, dictionary.length));
  }

  compress(plain: Buffer): Buffer {
    const output = { dst: scratch, size: scratch.length, pos: 0 };
    const input = { src: plain, size: plain.length, pos: 0 };
    const left = check(library().compress(this.#live, output, input, ZSTD.flush));
    if (left > 0 || input.pos < plain.length)
      throw new TpotError('zstd-failed', 'zstd: a block does not fit');
    return Buffer.from(scratch.subarray(0, output.pos));
  }

  close(): void {
    if (this.#context !== undefined) library().freeCCtx(this.#context);
    this.#context = undefined;
  }

  get #live(): Context {
    if (this.#context === undefined) throw new Error('the compressor is closed');
    return this.#context;
  }
}

export class ZstdDecompressor implements Decompressor {
  #context: Context | undefined = created(library().createDCtx());

  constructor() {
    check(library().setD(this.#live, ZSTD.windowLogMax, WINDOW_BITS));
  }

  restart(dictionary?: Buffer): void {
    const { resetD, prefixD } = library();
    check(resetD(this.#live, ZSTD.sessionOnly));
    if (dictionary !== undefined) check(prefixD(this.#live, dictionary, dictionary.length));
  }

  decompress(packed: Buffer, limit: number): Buffer {
    const output = { dst: scratch, size: Math.min(limit + 1, scratch.length), pos: 0 };
    const input = { src: packed, size: packed.length, pos: 0 };
    while (input.pos < packed.length && output.pos < output.size) {
      check(library().decompress(this.#live, output, input));
    }
    if (input.pos < packed.length || output.pos > limit) {
      throw new TpotError('zstd-failed', `zstd: a block of more than ${limit} bytes`);
    }
    return Buffer.from(scratch.subarray(0, output.pos));
  }

  close(): void {
    if (this.#context !== undefined) library().freeDCtx(this.#context);
    this.#context = undefined;
  }

  get #live(): Context {
    if (this.#context === undefined) throw new Error('the decompressor is closed');
    return this.#context;
  }
}
