/**
 * A byte stream put together from copies of its segments, of which some may be missing, double, or not genuine.
 *
 * ```
 *   base              given           acknowledged     end of what is there without a gap
 *    │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│        ▒▒▒▒▒▒▒ a later segment
 *                        └──── take() ───────┘
 * ```
 *
 * Nothing checks the copies: a segment with a wrong checksum, or one that somebody else sent, was copied as well. What its
 * receiver makes of them is seen in two ways. It acknowledges what it has, and only that is given out. And whatever it
 * took is among the copies, since every segment came by: so where all copies of a byte are equal, that one was taken;
 * where two differ, nobody here can tell, and it is a conflict.
 *
 * Pure: no I/O, no clock.
 */
import { diff, seq, type Seq } from '../wire/seq.js';

/** Memory is taken in such pieces. */
export const SLAB = 256 * 1024;
/** Stretches that may be there behind gaps. */
const MOST_RANGES = 256;

export type Trouble =
  /** Two copies of the same bytes differ. */
  | 'conflict'
  /** The receiver has bytes of which no copy came. */
  | 'lost'
  /** More gaps than a TCP makes. */
  | 'gaps';

/** Offsets of a stretch that is there: `from` included, `to` not. */
interface Range {
  from: number;
  to: number;
}

export class Reassembly {
  readonly #base: Seq;
  readonly #window: number;
  /** What is there, in order; no two touch. */
  readonly #ranges: Range[] = [{ from: 0, to: 0 }];
  #slabs: Buffer[] = [];
  #allocated = 0;
  #acknowledged = 0;
  #given = 0;
  #ignored = 0;

  /** `base` is the sequence number of the first byte; `window` how many bytes beyond what has been given out may come. */
  constructor(base: Seq, window: number) {
    this.#base = base;
    this.#window = window;
  }

  /** Bytes of memory that hold what has not been given out yet, in whole slabs. */
  get held(): number {
    return this.#allocated - Math.floor(this.#given / SLAB) * SLAB;
  }

  /** Bytes given out. */
  get given(): number {
    return this.#given;
  }

  /** Segments that lie too far from what is expected. */
  get ignored(): number {
    return this.#ignored;
  }

  /** A copy of (a part of) a segment; its bytes are copied once more. */
  add(sequence: number, bytes: Uint8Array): Trouble | undefined {
    const at = this.#offset(sequence);
    if (at + bytes.length > this.#given + this.#window) {
      this.#ignored++;
      return undefined;
    }
    // Before the base stands what was relayed, of which nothing is here.
    const from = Math.max(at, 0);
    const to = at + bytes.length;
    if (to <= from) return undefined;
    if (!this.#agrees(from, to, at, bytes)) return 'conflict';
    if (!this.#isThere(from, to)) {
      this.#write(from, at < from ? bytes.subarray(from - at) : bytes);
      this.#enter(from, to);
    }
    return this.#ranges.length > MOST_RANGES ? 'gaps' : undefined;
  }

  /**
   * The receiver has acknowledged everything before `sequence`. To be called when every copy that was made before the
   * acknowledgment passed has been added. One of what was never sent is none (RFC 9293 section 3.10.7.4).
   */
  acknowledge(sequence: number): Trouble | undefined {
    const to = this.#offset(sequence);
    const end = this.#ranges.at(-1)?.to ?? 0;
    if (to <= this.#acknowledged || to > end + 1) return undefined;
    this.#acknowledged = Math.min(to, end); // a FIN counts as one more
    return this.#acknowledged > this.#contiguous ? 'lost' : undefined;
  }

  /** Bytes that {@link take} would give, in several calls. */
  get ready(): number {
    return this.#acknowledged - this.#given;
  }

  /** The next bytes, at most {@link SLAB}; undefined when there are none. They stay as they are. */
  take(): Buffer | undefined {
    const from = this.#given;
    const index = Math.floor(from / SLAB);
    const to = Math.min(this.#acknowledged, (index + 1) * SLAB);
    if (to <= from) return undefined;
    this.#given = to;
    return this.#slabs[index]?.subarray(from - index * SLAB, to - index * SLAB);
  }

  get #contiguous(): number {
    return this.#ranges[0]?.to ?? 0;
  }

  /** Counted from the base, by what is nearest to the place that has been reached. */
  #offset(sequence: number): number {
    const here = seq(this.#base + this.#given);
    return this.#given + diff(seq(sequence), here);
  }

  #isThere(from: number, to: number): boolean {
    return this.#ranges.some((range) => range.from <= from && to <= range.to);
  }

  /** Whether what is there already is the same. */
  #agrees(from: number, to: number, at: number, bytes: Uint8Array): boolean {
    for (let index = this.#ranges.length - 1; index >= 0; index--) {
      const range = this.#ranges[index];
      if (range === undefined || range.to <= from) return true;
      const [first, last] = [Math.max(range.from, from), Math.min(range.to, to)];
      if (first < last && !this.#equals(first, bytes.subarray(first - at, last - at))) return false;
    }
    return true;
  }

  #equals(at: number, bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length;) {
      const [slab, inside] = this.#place(at + done);
      const length = Math.min(SLAB - inside, bytes.length - done);
      if (slab.compare(bytes, done, done + length, inside, inside + length) !== 0) return false;
      done += length;
    }
    return true;
  }

  #write(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const [slab, inside] = this.#place(at + done);
      const length = Math.min(SLAB - inside, bytes.length - done);
      slab.set(bytes.subarray(done, done + length), inside);
      done += length;
    }
  }

  #place(at: number): [Buffer, number] {
    const index = Math.floor(at / SLAB);
    let slab = this.#slabs[index];
    if (slab === undefined) {
      slab = Buffer.allocUnsafeSlow(SLAB);
      this.#slabs[index] = slab;
      this.#allocated += SLAB;
    }
    return [slab, at - index * SLAB];
  }

  /** One more stretch, joined with those that it touches. */
  #enter(from: number, to: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && last.from <= from && from <= last.to) {
      last.to = Math.max(last.to, to);
      return;
    }
    const first = this.#ranges.findIndex((range) => range.to >= from);
    const at = first < 0 ? this.#ranges.length : first;
    let end = at;
    const joined = { from, to };
    for (
      let range = this.#ranges[end];
      range !== undefined && range.from <= to;
      range = this.#ranges[++end]
    ) {
      joined.from = Math.min(joined.from, range.from);
      joined.to = Math.max(joined.to, range.to);
    }
    this.#ranges.splice(at, end - at, joined);
  }
}
