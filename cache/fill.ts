/**
 * The content of one response while it arrives: written by the fetch, read by every client that shares it.
 *
 * ```
 *            base                    end
 *   chunks    │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│ ◀── push
 *               ▲          ▲          ▲
 *           reader 1    reader 2   reader 3     each at its own place, each at its own pace
 * ```
 *
 * As long as the content fits it is kept whole and the fetch runs at the speed of the next hop. Once it does not
 * fit, it overflows: it will not be stored, what every reader has read is dropped, and the slowest reader sets the pace.
 */

/** How far the slowest reader of an overflowed fill may lag before the fetch pauses. */
const WINDOW = 256 * 1024;
/** Bytes a chunk counts for besides its own. */
const CHUNK_OVERHEAD = 128;
/** Chunks are joined to blocks of at least this size when a fill is stored. */
const BLOCK = 256 * 1024;

/** Bytes all fills together may hold. */
export class FillBudget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

export interface FillEvents {
  /** It has become too large to be stored. */
  overflowed(): void;
  /** The last reader has left. */
  abandoned(): void;
  /** Complete: every byte the next hop meant to send has been pushed. */
  completed(): void;
}

/** What {@link FillReader.next} gives: a chunk, or that there is none yet, or how it ended. */
export type Next = Buffer | 'wait' | 'end' | 'failed';

export class Fill {
  readonly #limit: number;
  readonly #budget: FillBudget;
  readonly #events: FillEvents;
  /** What follows the last chunk that is pushed. */
  readonly #tail: readonly Buffer[];
  readonly #readers = new Set<FillReader>();
  /** Stores the content elsewhere; nobody waits for it, but the fetch. */
  #sink: FillReader | undefined;
  #chunks: Buffer[] = [];
  /** Index of `#chunks[0]` counted from the first chunk ever. */
  #base = 0;
  #length = 0;
  #held = 0;
  #overflowed = false;
  #state: 'open' | 'complete' | 'failed' = 'open';
  #drained: (() => void) | undefined;
  /** Trailer fields, name and value alternating; known when complete. */
  trailers: readonly string[] = [];

  /** `limit` is the most bytes it may keep, `budget` what it shares with other fills, `tail` what `finish` appends. */
  constructor(limit: number, budget: FillBudget, events: FillEvents, tail: readonly Buffer[] = []) {
    this.#limit = limit;
    this.#budget = budget;
    this.#events = events;
    this.#tail = tail;
  }

  get readers(): number {
    return this.#readers.size;
  }

  get length(): number {
    return this.#length;
  }

  /** Bytes between the slowest reader and the end. */
  get behind(): number {
    return this.#lag();
  }

  get complete(): boolean {
    return this.#state === 'complete';
  }

  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** Adds content. `false` asks to pause until `drained` is called, once. */
  push(chunk: Buffer, drained: () => void): boolean {
    if (this.#state !== 'open' || chunk.length === 0) return true;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const cost = chunk.length + CHUNK_OVERHEAD;
    this.#held += cost;
    const granted = this.#budget.take(cost);
    if (!this.#overflowed && (!granted || this.#held > this.#limit)) {
      this.#overflowed = true;
      this.#events.overflowed();
    }
    this.#wake();
    if (!this.#overflowed || this.#lag() <= WINDOW) return true;
    this.#drained = drained;
    return false;
  }

  /** The content is complete. */
  finish(trailers: readonly string[] = []): void {
    if (this.#state !== 'open') return;
    for (const chunk of this.#tail) this.push(chunk, () => undefined);
    this.#state = 'complete';
    this.trailers = trailers;
    this.#events.completed();
    this.#wake();
    this.#tidy();
  }

  /** The content will never be complete; every reader is told. */
  fail(): void {
    if (this.#state !== 'open') return;
    this.#state = 'failed';
    this.#wake();
    this.#release(this.#chunks.length);
  }

  /** The whole content in few large blocks; only of a complete fill that has not overflowed. */
  blocks(): Buffer[] {
    const blocks: Buffer[] = [];
    let run: Buffer[] = [];
    let size = 0;
    const join = (): void => {
      if (size > 0) blocks.push(wholeBuffer(run, size) ?? exactCopy(run, size));
      run = [];
      size = 0;
    };
    for (const chunk of this.#chunks) {
      // What already is a block stays one, although it came in pieces.
      if (chunk.byteOffset === 0 && chunk.buffer.byteLength >= BLOCK) join();
      run.push(chunk);
      size += chunk.length;
      if (size >= BLOCK) join();
    }
    join();
    return blocks;
  }

  /** A new reader, at the beginning. `wake` is called whenever `next` may have something new. */
  read(wake: () => void): FillReader {
    const reader = new FillReader(this, wake);
    this.#readers.add(reader);
    return reader;
  }

  /** A reader that is no client: it sets the pace as one does, and keeps nothing going. One at most. */
  readToStore(wake: () => void): FillReader {
    this.#sink = new FillReader(this, wake);
    return this.#sink;
  }

  /** Whether this reader makes others wait. */
  holdsUp(reader: FillReader): boolean {
    return (
      this.#drained !== undefined && this.#readers.size > 1 && this.#lag() === this.#length - reader.offset
    );
  }

  /** @internal for {@link FillReader} */
  at(position: number): Next {
    if (this.#state === 'failed') return 'failed';
    const chunk = this.#chunks[position - this.#base];
    if (chunk !== undefined) return chunk;
    return this.#state === 'complete' ? 'end' : 'wait';
  }

  /** @internal for {@link FillReader} */
  advanced(): void {
    this.#tidy();
    if (this.#drained === undefined || this.#lag() > WINDOW / 2) return;
    const drained = this.#drained;
    this.#drained = undefined;
    drained();
  }

  /** @internal for {@link FillReader} */
  left(reader: FillReader): void {
    if (reader === this.#sink) {
      this.#sink = undefined;
      this.advanced();
      return;
    }
    if (!this.#readers.delete(reader)) return;
    this.advanced();
    if (this.#readers.size === 0) this.#events.abandoned();
  }

  #wake(): void {
    for (const reader of [...this.#readers]) reader.wake();
    this.#sink?.wake();
  }

  #lag(): number {
    let slowest = this.#sink?.offset ?? this.#length;
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.offset);
    return this.#length - slowest;
  }

  /** Drops what nobody will read any more. */
  #tidy(): void {
    if (!this.#overflowed && this.#state === 'open') return;
    let slowest = this.#sink?.position ?? this.#base + this.#chunks.length;
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.position);
    this.#release(slowest - this.#base);
  }

  #release(count: number): void {
    if (count <= 0) return;
    let freed = 0;
    for (const chunk of this.#chunks.splice(0, count)) freed += chunk.length + CHUNK_OVERHEAD;
    this.#base += count;
    this.#held -= freed;
    this.#budget.give(freed);
  }
}

/** The buffer that the chunks were cut from, when they are all of it, in order. */
function wholeBuffer(chunks: readonly Buffer[], size: number): Buffer | undefined {
  const buffer = chunks[0]?.buffer;
  if (buffer?.byteLength !== size) return undefined;
  let at = 0;
  for (const chunk of chunks) {
    if (chunk.buffer !== buffer || chunk.byteOffset !== at) return undefined;
    at += chunk.length;
  }
  return Buffer.from(buffer, 0, size);
}

/** A copy that pins neither the pool nor the larger buffers the chunks were cut from. */
function exactCopy(chunks: readonly Buffer[], size: number): Buffer {
  const block = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(block, at);
  return block;
}

/** One client's place in a {@link Fill}. */
export class FillReader {
  readonly #fill: Fill;
  readonly wake: () => void;
  /** Index of the next chunk, counted from the first ever. */
  position = 0;
  /** Bytes read. */
  offset = 0;

  constructor(fill: Fill, wake: () => void) {
    this.#fill = fill;
    this.wake = wake;
  }

  next(): Next {
    const next = this.#fill.at(this.position);
    if (typeof next === 'string') return next;
    this.position++;
    this.offset += next.length;
    this.#fill.advanced();
    return next;
  }

  /** All that has not been read yet, of what is there. */
  rest(): Buffer[] {
    const chunks: Buffer[] = [];
    for (let next = this.next(); typeof next !== 'string'; next = this.next()) chunks.push(next);
    return chunks;
  }

  /** See {@link Fill.holdsUp}. */
  holdsUpOthers(): boolean {
    return this.#fill.holdsUp(this);
  }

  get trailers(): readonly string[] {
    return this.#fill.trailers;
  }

  /** The client is gone or done. Idempotent. */
  leave(): void {
    this.#fill.left(this);
  }
}
