/** Compression of one direction: when it is worth it, and how hard to try. */
import type { Codec } from './codec.js';
import type { Compressor, Decompressor } from './compressor.js';
import { FORM, FrameError, MAX_PAYLOAD, type Form } from './frame.js';
import { LevelControl, type LevelCeiling } from './level.js';
import type { TransformStats } from './stats.js';

/** Shorter than this, a block costs more than it can save. */
const SHORTEST = 32;
/** What is left of a block that counts as compressible. */
const WORTH = 0.95;
/** After a block that was not, so many bytes pass without a try; doubles up to the second figure. */
const FIRST_PAUSE = 128 * 1024;
const LONGEST_PAUSE = 8 * 1024 * 1024;

export interface Packed {
  readonly form: Form;
  readonly bytes: Buffer;
}

export class Packer {
  readonly #codec: Codec;
  readonly #stats: TransformStats;
  #compressor: Compressor | undefined;
  #dictionary: Buffer | undefined;
  /** The receiver's decompressor does not have what ours has seen. */
  #stale = true;
  #pause = 0;
  #nextPause = FIRST_PAUSE;
  readonly #control: LevelControl;

  constructor(codec: Codec, stats: TransformStats, ceiling: LevelCeiling) {
    this.#codec = codec;
    this.#stats = stats;
    this.#control = new LevelControl(codec.levels, ceiling);
  }

  /** The level of the last block; undefined when nothing has been compressed yet, or nothing will be any more. */
  get level(): number | undefined {
    return this.#compressor === undefined ? undefined : this.#control.level;
  }

  /** The receiver has this dictionary; it serves the first block. */
  useDictionary(dictionary: Buffer): void {
    if (this.#compressor === undefined) this.#dictionary = dictionary;
  }

  /** `backedUp`: whether the leg has more to send than it can just now; a system call, so it is asked only where it matters. */
  pack(plain: Buffer, backedUp: () => boolean): Packed {
    if (plain.length < SHORTEST || this.#pausing(plain.length)) return { form: FORM.plain, bytes: plain };
    if (this.#control.look(plain.length, backedUp())) this.#stale = true;
    const started = performance.now();
    const packed = this.#compress(plain);
    const spent = performance.now() - started;
    this.#stats.packMilliseconds += spent;
    this.#control.spent(spent);
    if (packed !== undefined && packed.bytes.length <= plain.length * WORTH) {
      this.#nextPause = FIRST_PAUSE;
      return packed;
    }
    this.#stale = true;
    this.#control.pauses();
    this.#pause = this.#nextPause;
    this.#nextPause = Math.min(2 * this.#nextPause, LONGEST_PAUSE);
    return { form: FORM.plain, bytes: plain };
  }

  /** Without memory for a compressor, or where it fails, bytes go as they are. */
  #compress(plain: Buffer): Packed | undefined {
    try {
      const form = this.#ready();
      return { form, bytes: (this.#compressor as Compressor).compress(plain) };
    } catch {
      this.#stats.compressorFailures++;
      this.close();
      return undefined;
    }
  }

  close(): void {
    this.#compressor?.close();
    this.#compressor = undefined;
    this.#stale = true;
  }

  #pausing(length: number): boolean {
    if (this.#pause <= 0) return false;
    this.#pause -= length;
    return true;
  }

  /** Restarts the compressor where the receiver's must, and says so. */
  #ready(): Form {
    if (!this.#stale) return FORM.packed;
    const { level } = this.#control;
    const dictionary = this.#dictionary;
    this.#compressor ??= this.#codec.compressor(level);
    this.#compressor.restart(level, dictionary);
    this.#stale = false;
    return dictionary === undefined ? FORM.anew : FORM.withDictionary;
  }
}

/** The other end of a {@link Packer}. */
export class Unpacker {
  readonly #codec: Codec | undefined;
  readonly #dictionary: Buffer | undefined;
  #decompressor: Decompressor | undefined;

  constructor(codec: Codec | undefined, dictionary: Buffer | undefined) {
    this.#codec = codec;
    this.#dictionary = dictionary;
  }

  /** The payload as its sender's packer got it; throws {@link FrameError}. */
  unpack(form: Form, payload: Buffer): Buffer {
    if (form === FORM.plain) return payload;
    if (this.#codec === undefined) throw new FrameError('a compressed frame where no compression was agreed');
    if (form === FORM.withDictionary && this.#dictionary === undefined) {
      throw new FrameError('a frame with a dictionary that was not offered');
    }
    if (form === FORM.packed && this.#decompressor === undefined) throw new FrameError('no first block');
    try {
      this.#decompressor ??= this.#codec.decompressor();
      if (form !== FORM.packed) {
        this.#decompressor.restart(form === FORM.withDictionary ? this.#dictionary : undefined);
      }
      return this.#decompressor.decompress(payload, MAX_PAYLOAD);
    } catch (error) {
      throw new FrameError(error instanceof Error ? error.message : String(error));
    }
  }

  close(): void {
    this.#decompressor?.close();
    this.#decompressor = undefined;
  }
}
