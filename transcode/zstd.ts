/**
 * Streaming Zstandard (RFC 8878) through Debian's libzstd.so.1, which dpkg itself depends on. Node 20's zlib has none.
 * Calls are synchronous: a block of 64 KiB at level 3 takes less time than handing it to another thread and back.
 */
import koffi from 'koffi';
import { TpotError } from '../core/errors.js';
import type { Compressor, Decompressor } from './compressor.js';

const LEVEL = 100; // ZSTD_c_compressionLevel
const WINDOW_LOG = 101; // ZSTD_c_windowLog
const WINDOW_LOG_MAX = 100; // ZSTD_d_windowLogMax
const CONTENT_SIZE_FLAG = 200; // ZSTD_c_contentSizeFlag
const FLUSH = 1; // ZSTD_e_flush
/** 256 KiB of history: the memory of a direction is bounded by it, about 1 MiB at the levels in use. */
export const WINDOW_BITS = 18;

interface Output {
  dst: Buffer;
  size: number;
  pos: number;
}
interface Input {
  src: Buffer;
  size: number;
  pos: number;
}
type Context = object;

function bind() {
  const lib = koffi.load('libzstd.so.1');
  koffi.struct('ZSTD_outBuffer', { dst: 'void *', size: 'size_t', pos: 'size_t' });
  koffi.struct('ZSTD_inBuffer', { src: 'const void *', size: 'size_t', pos: 'size_t' });
  return {
    createCCtx: lib.func('void *ZSTD_createCCtx()') as () => Context | null,
    freeCCtx: lib.func('size_t ZSTD_freeCCtx(void *c)') as (c: Context) => number,
    setC: lib.func('size_t ZSTD_CCtx_setParameter(void *c, int p, int v)') as (
      c: Context,
      p: number,
      v: number,
    ) => number,
    resetC: lib.func('size_t ZSTD_CCtx_reset(void *c, int directive)') as (c: Context, d: number) => number,
    prefixC: lib.func('size_t ZSTD_CCtx_refPrefix(void *c, const void *p, size_t n)') as (
      c: Context,
      p: unknown,
      n: number,
    ) => number,
    compress: lib.func(
      'size_t ZSTD_compressStream2(void *c, _Inout_ ZSTD_outBuffer *o, _Inout_ ZSTD_inBuffer *i, int end)',
    ) as (c: Context, o: Output, i: Input, end: number) => number,
    createDCtx: lib.func('void *ZSTD_createDCtx()') as () => Context | null,
    freeDCtx: lib.func('size_t ZSTD_freeDCtx(void *c)') as (c: Context) => number,
    setD: lib.func('size_t ZSTD_DCtx_setParameter(void *c, int p, int v)') as (
      c: Context,
      p: number,
      v: number,
    ) => number,
    resetD: lib.func('size_t ZSTD_DCtx_reset(void *c, int directive)') as (c: Context, d: number) => number,
    prefixD: lib.func('size_t ZSTD_DCtx_refPrefix(void *c, const void *p, size_t n)') as (
      c: Context,
      p: unknown,
      n: number,
    ) => number,
    decompress: lib.func(
      'size_t ZSTD_decompressStream(void *c, _Inout_ ZSTD_outBuffer *o, _Inout_ ZSTD_inBuffer *i)',
    ) as (c: Context, o: Output, i: Input) => number,
    isError: lib.func('uint ZSTD_isError(size_t code)') as (code: number) => number,
    errorName: lib.func('const char *ZSTD_getErrorName(size_t code)') as (code: number) => string,
  };
}

let bound: ReturnType<typeof bind> | undefined;

function library(): ReturnType<typeof bind> {
  try {
    return (bound ??= bind());
  } catch (cause) {
    throw new TpotError('zstd-missing', 'libzstd.so.1 cannot be loaded', {
      hint: 'Install the package libzstd1, or take "zstd" out of `transforms`.',
      cause,
    });
  }
}

function check(result: number): number {
  const { isError, errorName } = library();
  if (isError(result)) throw new TpotError('zstd-failed', `zstd: ${errorName(result)}`);
  return result;
}

function created(context: Context | null): Context {
  if (context === null)
    throw new TpotError('zstd-failed', 'zstd: no memory for a context', { retryable: true });
  return context;
}

const SESSION_ONLY = 1; // ZSTD_reset_session_only

/** Where blocks are made before they are copied to their own size. One is enough: calls are synchronous. */
const scratch = Buffer.allocUnsafeSlow(160 * 1024);

/** A prefix is only referenced by libzstd: it has to stay where it is for as long as the first block takes. */
export class ZstdCompressor implements Compressor {
  #context: Context | undefined = created(library().createCCtx());

  constructor(level: number) {
    check(library().setC(this.#live, WINDOW_LOG, WINDOW_BITS));
    check(library().setC(this.#live, CONTENT_SIZE_FLAG, 0));
    this.restart(level);
  }

  restart(level: number, dictionary?: Buffer): void {
    const { resetC, setC, prefixC } = library();
    check(resetC(this.#live, SESSION_ONLY));
    check(setC(this.#live, LEVEL, level));
    if (dictionary !== undefined) check(prefixC(this.#live, dictionary, dictionary.length));
  }

  compress(plain: Buffer): Buffer {
    const output = { dst: scratch, size: scratch.length, pos: 0 };
    const input = { src: plain, size: plain.length, pos: 0 };
    const left = check(library().compress(this.#live, output, input, FLUSH));
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
    check(library().setD(this.#live, WINDOW_LOG_MAX, WINDOW_BITS));
  }

  restart(dictionary?: Buffer): void {
    const { resetD, prefixD } = library();
    check(resetD(this.#live, SESSION_ONLY));
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
