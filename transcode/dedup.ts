/**
 * Deduplication: what both nodes have seen crosses as a reference. The list in a `chunks` frame:
 *
 * ```
 * entry = word (4) body       word: | reference 1 bit | keep 1 bit | open 1 bit | length 29 bits |
 * body  = chunk id (16)       of a reference
 *       | bytes (length)      of a literal; with `keep`, both sides put it into their stores
 * ```
 *
 * `open`: the bytes begin a chunk, or go on with it, but do not end it, since its sender did not want them to wait. The `keep`
 * after them ends it. So a stream is cut at the same places however it is paced.
 *
 * References are numbered in the order they are sent. Their sender holds the bytes until the receiver says that it has
 * resolved them (`resolved`); what the receiver does not have, it asks for (`missing`) and gets (`fill`). What came
 * after it waits its turn, and its sender goes on for at most {@link WINDOW} bytes meanwhile.
 */
import type { Budget } from './budget.js';
import { CHUNK_ID_LENGTH, chunkId, type ChunkId, type ChunkStore, type KnownChunks } from './chunk-store.js';
import { cutPoint, MAX_CHUNK, MIN_CHUNK } from './chunker.js';
import { FrameError, MAX_PLAIN, word } from './frame.js';

const REFERENCE = 0x8000_0000;
const KEEP = 0x4000_0000;
const OPEN = 0x2000_0000;
const LENGTH = 0x1fff_ffff;
/** Plain bytes that may be under way after a reference that is not known to be resolved. */
export const WINDOW = 8 * 1024 * 1024;
/** What a frame counts for beside its bytes while it waits at either end, roughly. */
export const FRAME_OVERHEAD = 256;
/** Entries of a list: the end of a chunk, and as many as there is room for of the shortest. */
const MOST_ENTRIES = MAX_PLAIN / MIN_CHUNK + 1;

export interface Chunks {
  /** Parts of the payload of a `chunks` frame, not compressed. */
  readonly list: Buffer[];
  /** The plain bytes it stands for. */
  readonly plain: Buffer;
  /** Bytes that went as references, and how many these are. */
  readonly referenced: number;
  readonly references: number;
}

/** Bytes of a reference. */
export const REFERENCE_LENGTH = 4 + CHUNK_ID_LENGTH;

/** Cuts a direction into chunks and finds those that the other side has. */
export class ChunkSender {
  readonly #store: ChunkStore;
  readonly #known: KnownChunks;
  readonly #budget: Budget;
  /** The chunk that is not cut yet. */
  #pending: Buffer = Buffer.alloc(0);
  /** So much of it has been sent, and so much has been looked at. */
  #opened = 0;
  #seen = 0;
  /** Bytes of references not yet resolved, by number. */
  readonly #held = new Map<number, { readonly bytes: Buffer; readonly at: number; asked: boolean }>();
  #heldBytes = 0;
  #number = 0;
  #resolved = 0;
  /** Plain bytes sent so far. */
  #sent = 0;

  /** `budget`: of the bytes that all senders of a node hold; chunks for which there is no room go as they are. */
  constructor(store: ChunkStore, known: KnownChunks, budget: Budget) {
    this.#store = store;
    this.#known = known;
    this.#budget = budget;
  }

  /** Bytes that wait for the end of their chunk. */
  get pending(): number {
    return this.#pending.length - this.#opened;
  }

  /** Whether a chunk has been sent in part. */
  get inChunk(): boolean {
    return this.#opened > 0;
  }

  /** Whether so much is under way behind an unresolved reference that nothing should follow. */
  get full(): boolean {
    const oldest = this.#held.get(this.#resolved);
    return oldest !== undefined && this.#sent - oldest.at > WINDOW;
  }

  /** What can be sent with these bytes; the rest is held until more comes or {@link flush}. */
  *push(bytes: Buffer): Generator<Chunks, void, undefined> {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    yield* this.#cut();
  }

  /** All that waits; its chunk goes on. */
  *flush(): Generator<Chunks, void, undefined> {
    const plain = this.#pending.subarray(this.#opened);
    if (plain.length === 0) return;
    this.#opened = this.#pending.length;
    this.passed(plain.length);
    yield { list: [word(OPEN + plain.length), plain], plain, referenced: 0, references: 0 };
  }

  /** Bytes have been sent in a frame of their own; they wait at the receiver behind a reference, too. */
  passed(length: number): void {
    this.#sent += length + FRAME_OVERHEAD;
  }

  close(): void {
    this.#budget.give(this.#heldBytes);
    this.#heldBytes = 0;
    this.#held.clear();
  }

  /** Whether references are open that the other side may still ask for. */
  get open(): boolean {
    return this.#held.size > 0;
  }

  /**
   * The bytes of a reference that could not be resolved; throws {@link FrameError} for one that is not open, or has been
   * asked for.
   */
  missing(number: number): Buffer {
    const held = this.#held.get(number);
    if (held?.asked !== false) throw new FrameError(`reference ${number} is missed, which is not open`);
    held.asked = true;
    return held.bytes;
  }

  resolved(upTo: number): void {
    const many = (upTo - this.#resolved) >>> 0;
    if (many > this.#held.size) throw new FrameError(`${upTo} references resolved, of ${this.#number}`);
    for (let count = 0; count < many; count++) {
      const length = this.#held.get(this.#resolved)?.bytes.length ?? 0;
      this.#held.delete(this.#resolved);
      this.#heldBytes -= length;
      this.#budget.give(length);
      this.#resolved = (this.#resolved + 1) >>> 0;
    }
  }

  /** The whole chunks among what is pending, as many in a list as a frame may stand for. */
  *#cut(): Generator<Chunks, void, undefined> {
    const pending = this.#pending;
    let from = 0;
    for (let length = this.#next(from); length > 0;) {
      const start = from + this.#opened;
      const list: Buffer[] = [];
      let [referenced, references] = [0, 0];
      do {
        const went = this.#chunk(pending.subarray(from, from + length), list);
        referenced += went;
        if (went > 0) references++;
        from += length;
        length = this.#next(from);
      } while (length > 0 && from + length - start <= MAX_PLAIN);
      this.#sent += FRAME_OVERHEAD;
      yield { list, plain: pending.subarray(start, from), referenced, references };
    }
    // A copy, so that a few bytes do not keep the read they came in.
    this.#pending = Buffer.from(pending.subarray(from));
    this.#seen = this.#pending.length;
  }

  /** Length of the chunk that begins at `from`; 0: it goes on. */
  #next(from: number): number {
    return cutPoint(this.#pending, from, this.#pending.length, from === 0 ? this.#seen : 0);
  }

  /** Bytes that went as a reference. */
  #chunk(bytes: Buffer, list: Buffer[]): number {
    const id = chunkId(bytes);
    const known = this.#known.meet(id);
    const opened = this.#opened;
    this.#opened = 0;
    this.#sent += bytes.length - opened;
    if (!known || opened > 0 || !this.#budget.take(bytes.length)) {
      this.#store.put(id, bytes);
      list.push(word(KEEP + bytes.length - opened), bytes.subarray(opened));
      return 0;
    }
    // Not as a part of what was read, all of which it would keep.
    const kept = this.#store.get(id) ?? Buffer.from(bytes);
    this.#heldBytes += bytes.length;
    this.#held.set(this.#number, { bytes: kept, at: this.#sent, asked: false });
    this.#number = (this.#number + 1) >>> 0;
    list.push(word(REFERENCE + bytes.length), Buffer.from(id, 'latin1'));
    return bytes.length;
  }
}

/** A place in the received stream whose bytes have been asked for. */
interface Gap {
  readonly number: number;
  readonly id: ChunkId;
  readonly length: number;
}

interface Entry {
  readonly reference: boolean;
  readonly keep: boolean;
  readonly open: boolean;
  readonly length: number;
}

export interface Received {
  /** Bytes, or the number of a gap, in order. */
  readonly parts: (Buffer | Gap)[];
  /** Numbers to ask for. */
  readonly missing: number[];
}

/** Reads lists of chunks; {@link ChunkSender} at the other end wrote them. */
export class ChunkReceiver {
  readonly #store: ChunkStore;
  readonly #known: KnownChunks;
  #next = 0;
  /** What has come of a chunk that goes on. */
  #open: Buffer[] = [];
  #openLength = 0;

  constructor(store: ChunkStore, known: KnownChunks) {
    this.#store = store;
    this.#known = known;
  }

  /** How many references have been met. */
  get references(): number {
    return this.#next;
  }

  read(list: Buffer): Received {
    const received: Received = { parts: [], missing: [] };
    let total = 0;
    let entries = 0;
    for (let at = 0; at < list.length;) {
      if (list.length - at < 4) throw new FrameError('a list of chunks is cut');
      const head = list.readUInt32BE(at);
      const length = head & LENGTH;
      const reference = head >= REFERENCE;
      const end = at + 4 + (reference ? CHUNK_ID_LENGTH : length);
      total += length;
      if (end > list.length || total > MAX_PLAIN) throw new FrameError('a chunk does not fit');
      if (++entries > MOST_ENTRIES) throw new FrameError('a list of too many chunks');
      const entry = { reference, keep: (head & KEEP) !== 0, open: (head & OPEN) !== 0, length };
      this.#entry(list.subarray(at + 4, end), entry, received);
      at = end;
    }
    return received;
  }

  /** Takes in what fills a gap; throws when it is not what the reference stands for. */
  fill(gap: Gap, bytes: Buffer): void {
    if (bytes.length !== gap.length || chunkId(bytes) !== gap.id)
      throw new FrameError('a chunk is filled wrongly');
    this.#store.put(gap.id, bytes);
  }

  #entry(body: Buffer, entry: Entry, to: Received): void {
    if (!entry.reference) {
      if (entry.open) this.#begin(body);
      else if (entry.keep) this.#keep(body);
      else if (entry.length === 0) throw new FrameError('a chunk without bytes');
      to.parts.push(body);
      return;
    }
    if (this.#openLength > 0) throw new FrameError('a reference inside a chunk');
    checkLength(entry.length);
    const id = body.toString('latin1');
    const number = this.#next;
    this.#next = (number + 1) >>> 0;
    const stored = this.#store.get(id);
    if (stored !== undefined && stored.length === entry.length) {
      to.parts.push(stored);
      return;
    }
    to.missing.push(number);
    to.parts.push({ number, id, length: entry.length });
  }

  /** A part of a chunk whose end is still to come; a copy, since frames are views. */
  #begin(part: Buffer): void {
    this.#openLength += part.length;
    if (part.length === 0 || this.#openLength > MAX_CHUNK) throw new FrameError('a chunk of no legal length');
    this.#open.push(Buffer.from(part));
  }

  #keep(last: Buffer): void {
    checkLength(this.#openLength + last.length);
    const bytes = this.#openLength === 0 ? last : Buffer.concat([...this.#open, last]);
    this.#open = [];
    this.#openLength = 0;
    const id = chunkId(bytes);
    this.#store.put(id, bytes);
    this.#known.meet(id);
  }
}

function checkLength(length: number): void {
  if (length > MAX_CHUNK || length < MIN_CHUNK) throw new FrameError('a chunk of no legal length');
}
