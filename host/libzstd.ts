/** Zstandard (RFC 8878) as Debian's libzstd.so.1 does it, which dpkg itself depends on. Node 20's zlib has none. */
import koffi from 'koffi';
import { TpotError } from '../core/errors.js';

/** Parameters and directives of zstd.h. */
export const ZSTD = {
  /** ZSTD_c_compressionLevel */
  level: 100,
  /** ZSTD_c_windowLog */
  windowLog: 101,
  /** ZSTD_d_windowLogMax */
  windowLogMax: 100,
  /** ZSTD_c_contentSizeFlag */
  contentSizeFlag: 200,
  /** ZSTD_e_flush */
  flush: 1,
  /** ZSTD_e_end */
  end: 2,
  /** ZSTD_reset_session_only */
  sessionOnly: 1,
} as const;

export interface ZstdOutput {
  dst: Buffer;
  size: number;
  pos: number;
}
export interface ZstdInput {
  src: Buffer;
  size: number;
  pos: number;
}
export type ZstdContext = object;

function bind() {
  // Newer releases of Node have symbols of the same names, of another version: the library is to find its own first.
  const lib = koffi.load('libzstd.so.1', { deep: true });
  koffi.struct('ZSTD_outBuffer', { dst: 'void *', size: 'size_t', pos: 'size_t' });
  koffi.struct('ZSTD_inBuffer', { src: 'const void *', size: 'size_t', pos: 'size_t' });
  return {
    createCCtx: lib.func('void *ZSTD_createCCtx()') as () => ZstdContext | null,
    freeCCtx: lib.func('size_t ZSTD_freeCCtx(void *c)') as (c: ZstdContext) => number,
    setC: lib.func('size_t ZSTD_CCtx_setParameter(void *c, int p, int v)') as (
      c: ZstdContext,
      p: number,
      v: number,
    ) => number,
    resetC: lib.func('size_t ZSTD_CCtx_reset(void *c, int directive)') as (
      c: ZstdContext,
      d: number,
    ) => number,
    prefixC: lib.func('size_t ZSTD_CCtx_refPrefix(void *c, const void *p, size_t n)') as (
      c: ZstdContext,
      p: unknown,
      n: number,
    ) => number,
    compress: lib.func(
      'size_t ZSTD_compressStream2(void *c, _Inout_ ZSTD_outBuffer *o, _Inout_ ZSTD_inBuffer *i, int end)',
    ) as (c: ZstdContext, o: ZstdOutput, i: ZstdInput, end: number) => number,
    compressBound: lib.func('size_t ZSTD_compressBound(size_t n)') as (n: number) => number,
    createDCtx: lib.func('void *ZSTD_createDCtx()') as () => ZstdContext | null,
    freeDCtx: lib.func('size_t ZSTD_freeDCtx(void *c)') as (c: ZstdContext) => number,
    setD: lib.func('size_t ZSTD_DCtx_setParameter(void *c, int p, int v)') as (
      c: ZstdContext,
      p: number,
      v: number,
    ) => number,
    resetD: lib.func('size_t ZSTD_DCtx_reset(void *c, int directive)') as (
      c: ZstdContext,
      d: number,
    ) => number,
    prefixD: lib.func('size_t ZSTD_DCtx_refPrefix(void *c, const void *p, size_t n)') as (
      c: ZstdContext,
      p: unknown,
      n: number,
    ) => number,
    decompress: lib.func(
      'size_t ZSTD_decompressStream(void *c, _Inout_ ZSTD_outBuffer *o, _Inout_ ZSTD_inBuffer *i)',
    ) as (c: ZstdContext, o: ZstdOutput, i: ZstdInput) => number,
    isError: lib.func('uint ZSTD_isError(size_t code)') as (code: number) => number,
    errorName: lib.func('const char *ZSTD_getErrorName(size_t code)') as (code: number) => string,
  };
}

let bound: ReturnType<typeof bind> | undefined;

/** @throws TpotError `zstd-missing` */
export function libzstd(): ReturnType<typeof bind> {
  try {
    return (bound ??= bind());
  } catch (cause) {
    throw new TpotError('zstd-missing', 'libzstd.so.1 cannot be loaded', {
      hint: 'Install the package libzstd1, or take "zstd" out of `transforms`.',
      cause,
    });
  }
}

/** The result of a call; throws a TpotError `zstd-failed` where it is an error code. */
export function checkZstd(result: number): number {
  const { isError, errorName } = libzstd();
  if (isError(result)) throw new TpotError('zstd-failed', `zstd: ${errorName(result)}`);
  return result;
}

/** A context that was to be created; throws a TpotError `zstd-failed` where there was no memory for it. */
export function createdZstd(context: ZstdContext | null): ZstdContext {
  if (context === null)
    throw new TpotError('zstd-failed', 'zstd: no memory for a context', { retryable: true });
  return context;
}
