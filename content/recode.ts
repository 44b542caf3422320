/** Taking content codings off and putting them on, in a worker process: what is taken off was chosen by strangers. */
import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  deflateSync,
  gunzipSync,
  gzipSync,
  inflateSync,
} from 'node:zlib';
import { messageOf, TpotError } from '../core/errors.js';
import { checkZstd, createdZstd, libzstd, ZSTD } from '../host/libzstd.js';
import type { AnyCoding, Coding } from './content-coding.js';

/** What a decoder for the web has to have memory for (RFC 9659), and so the most that one here is given: 8 MiB. */
const ZSTD_WINDOW_BITS = 23;
const ZSTD_LEVEL = 12;
const BROTLI_QUALITY = 9;
const ZLIB_LEVEL = 9;
const PIECE = 128 * 1024;

function tooLarge(largest: number): TpotError {
  return new TpotError('decoded-too-large', `it stands for more than ${largest} bytes`);
}

function zstdDecode(content: Buffer, largest: number): Buffer {
  const { createDCtx, freeDCtx, setD, decompress } = libzstd();
  const context = createdZstd(createDCtx());
  try {
    checkZstd(setD(context, ZSTD.windowLogMax, ZSTD_WINDOW_BITS));
    const pieces: Buffer[] = [];
    const input = { src: content, size: content.length, pos: 0 };
    for (let [size, more] = [0, true]; more;) {
      const piece = Buffer.allocUnsafeSlow(PIECE);
      const output = { dst: piece, size: PIECE, pos: 0 };
      const wanted = checkZstd(decompress(context, output, input));
      size += output.pos;
      if (size > largest) throw tooLarge(largest);
      pieces.push(piece.subarray(0, output.pos));
      const ended = input.pos === content.length && output.pos < PIECE;
      if (ended && wanted !== 0) throw new TpotError('undecodable', 'it is cut short');
      more = !ended;
    }
    return Buffer.concat(pieces);
  } finally {
    freeDCtx(context);
  }
}

function zstdEncode(content: Buffer): Buffer {
  const { createCCtx, freeCCtx, setC, compress, compressBound } = libzstd();
  const context = createdZstd(createCCtx());
  try {
    checkZstd(setC(context, ZSTD.level, ZSTD_LEVEL));
    const size = compressBound(content.length);
    const coded = Buffer.allocUnsafeSlow(size);
    const output = { dst: coded, size, pos: 0 };
    checkZstd(compress(context, output, { src: content, size: content.length, pos: 0 }, ZSTD.end));
    return coded.subarray(0, output.pos);
  } finally {
    freeCCtx(context);
  }
}

/** The `info` of Node's zlib functions, which its types leave out. */
interface Decoded {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

type ZlibDecode = (content: Buffer, options: { maxOutputLength: number; info: true }) => Buffer;
const ZLIB: Readonly<Record<Exclude<Coding, 'zstd'>, ZlibDecode>> = {
  br: brotliDecompressSync,
  gzip: gunzipSync,
  deflate: inflateSync,
};

function zlibDecode(coding: Exclude<Coding, 'zstd'>, content: Buffer, largest: number): Buffer {
  const decoded = ZLIB[coding](content, { maxOutputLength: largest, info: true }) as unknown as Decoded;
  if (decoded.engine.bytesWritten !== content.length) throw new TpotError('undecodable', 'more follows it');
  return decoded.buffer;
}

/**
 * The content without its coding. No more than `largest` bytes of it are ever made.
 *
 * @throws TpotError `decoded-too-large`, or `undecodable`
 */
export function decode(coding: Coding, content: Buffer, largest: number): Buffer {
  try {
    return coding === 'zstd' ? zstdDecode(content, largest) : zlibDecode(coding, content, largest);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(largest);
    if (error instanceof TpotError && error.code === 'decoded-too-large') throw error;
    throw new TpotError('undecodable', messageOf(error), { cause: error });
  }
}

export function encode(coding: AnyCoding, content: Buffer): Buffer {
  switch (coding) {
    case 'identity':
      return content;
    case 'br':
      return brotliCompressSync(content, {
        params: {
          [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
          [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
        },
      });
    case 'zstd':
      return zstdEncode(content);
    case 'gzip':
      return gzipSync(content, { level: ZLIB_LEVEL });
    case 'deflate':
      return deflateSync(content, { level: ZLIB_LEVEL });
  }
}
