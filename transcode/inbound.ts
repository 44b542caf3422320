/** The direction of a transformed leg that this node receives: frames in, plain bytes out, in order. */
import type { Agreement } from './capabilities.js';
import { ChunkReceiver, FRAME_OVERHEAD, WINDOW } from './dedup.js';
import { Fifo } from './fifo.js';
import {
  crcOf,
  FORM,
  FrameError,
  FrameReader,
  HELLO_LENGTH,
  joined,
  KIND,
  MAX_PLAIN,
  readHello,
  type Frame,
  type Hello,
  type Kind,
} from './frame.js';
import type { Shared } from './outbound.js';
import { Unpacker } from './packer.js';
import type { TransformStats } from './stats.js';

export interface InboundPorts {
  deliver(plain: Buffer): void;
  /** Whether nothing more should be delivered for now; {@link Inbound.goOn} ends that. */
  full(): boolean;
  /** The direction has ended in order. */
  ended(): void;
  /** How the direction begins: with a hello, or as plain bytes, which it then is to its end. */
  begun(hello: Hello | 'plain'): void;
  /** It is plain from here on: the other node answers nothing any more. */
  plain(): void;
  /** Answers for the sender. */
  ask(number: number): void;
  tellResolved(upTo: number): void;
  /** What the receiver of our direction says. */
  missing(number: number): void;
  resolved(upTo: number): void;
}

type Gap = Exclude<ReturnType<ChunkReceiver['read']>['parts'][number], Buffer>;

/** A frame whose bytes are not all there yet, or that follows such a one. */
interface Waiting {
  readonly parts: (Buffer | Gap)[];
  readonly xxh3: boolean;
  readonly checksum: number;
  readonly references: number;
  /** Gaps among the parts. */
  missing: number;
}

/** More than an honest sender has under way behind a gap. */
const MOST_WAITING = 2 * WINDOW + 4 * MAX_PLAIN;

export class Inbound {
  readonly #agreement: Agreement;
  readonly #shared: Shared;
  readonly #ports: InboundPorts;
  readonly #stats: TransformStats;
  readonly #reader = new FrameReader();
  readonly #dictionary: Buffer | undefined;
  /** Frames in the order of the stream, not looked into yet, and what they take. */
  readonly #untaken = new Fifo<Frame>();
  #untakenBytes = 0;
  readonly #waiting = new Fifo<Waiting>();
  #waitingBytes = 0;
  /** Where the bytes belong that have been asked for, by number. */
  readonly #gaps = new Map<number, { readonly frame: Waiting; readonly at: number }>();
  #told = 0;
  #beginning: Buffer = Buffer.alloc(0);
  #mode: 'unknown' | 'framed' | 'plain' = 'unknown';
  #unpacker: Unpacker | undefined;
  #chunks: ChunkReceiver | undefined;
  #bytes = 0n;
  #end: bigint | undefined;
  /** No reference follows. */
  #last = false;
  /** The plain bytes behind the last frame, while that has not had its turn or nobody wants them. */
  #tail: Fifo<Buffer> | undefined;
  #tailBytes = 0;
  /** The leg's FIN has come. */
  #over = false;
  #going = false;
  #closed = false;

  /** `dictionary`: the one that our own hello names. */
  constructor(
    agreement: Agreement,
    shared: Shared,
    dictionary: Buffer | undefined,
    ports: InboundPorts,
    stats: TransformStats,
  ) {
    this.#agreement = agreement;
    this.#shared = shared;
    this.#dictionary = dictionary;
    this.#ports = ports;
    this.#stats = stats;
  }

  /** Bytes that have been received and not been looked into, because `ports` wanted no more. */
  get behind(): number {
    return this.#untakenBytes + this.#tailBytes;
  }

  /** Whether the direction is plain and none of it is held here. */
  get plain(): boolean {
    return this.#mode === 'plain';
  }

  /** Whether the other node refers to nothing any more. */
  get last(): boolean {
    return this.#last;
  }

  /** Whether nothing of what has come, or will come, needs an answer. */
  get silent(): boolean {
    const over = this.#last || this.#end !== undefined || this.#mode === 'plain' || !this.#agreement.dedup;
    return over && this.#waiting.length === 0;
  }

  /** Bytes of the leg; throws {@link FrameError} when they cannot be what the other node meant. */
  receive(bytes: Buffer): void {
    this.#stats.wireReceived += bytes.length;
    if (this.#mode === 'unknown') {
      this.#begin(bytes);
      return;
    }
    if (this.#mode === 'plain') {
      this.#deliver(bytes);
      return;
    }
    if (this.#tail === undefined) {
      this.#reader.push(bytes);
      this.#sort();
    } else {
      this.#tail.push(bytes);
      this.#tailBytes += bytes.length;
    }
    this.goOn();
  }

  /** Delivers what it can of what has been received; throws {@link FrameError}. */
  goOn(): void {
    if (this.#going || this.#mode !== 'framed') return; // whoever gets bytes may ask for more at once
    this.#going = true;
    try {
      this.#drain();
      while (!this.#closed && !this.#ports.full()) {
        const frame = this.#untaken.shift();
        if (frame === undefined) break;
        this.#count(-sizeOf(frame));
        this.#take(frame);
      }
      if (this.#tail !== undefined && this.#untaken.length === 0) this.#passTail(this.#tail);
    } finally {
      this.#going = false;
    }
    if (this.#over && !this.#closed && this.#untaken.length === 0) this.#checkEnd();
  }

  /** The leg's FIN has come, and every frame before it has had its turn. */
  #checkEnd(): void {
    if (this.#mode === 'plain') this.#ports.ended();
    else if (this.#tail === undefined && (this.#end === undefined || this.#gaps.size > 0))
      throw new FrameError('it ends before its end');
  }

  /** Delivers what is behind the last frame; when that is all, the direction is plain. */
  #passTail(tail: Fifo<Buffer>): void {
    while (!this.#closed && !this.#ports.full()) {
      const bytes = tail.shift();
      if (bytes === undefined) {
        this.#tail = undefined;
        this.#mode = 'plain';
        return;
      }
      this.#tailBytes -= bytes.length;
      this.#deliver(bytes);
    }
  }

  /** The leg's FIN. */
  receiveEnd(): void {
    if (this.#mode === 'unknown') {
      this.#mode = 'plain';
      this.#ports.begun('plain');
      if (this.#beginning.length > 0) this.#deliver(this.#beginning);
    }
    this.#over = true;
    if (this.#mode === 'plain') this.#ports.ended();
    else this.goOn();
  }

  close(): void {
    this.#closed = true;
    this.#unpacker?.close();
    this.#shared.waiting.give(this.#waitingBytes);
    this.#waitingBytes = 0;
    this.#waiting.clear();
    this.#untaken.clear();
    this.#tail?.clear();
    this.#gaps.clear();
  }

  #begin(bytes: Buffer): void {
    const beginning = Buffer.concat([this.#beginning, bytes]);
    const hello = readHello(beginning);
    this.#beginning = beginning;
    if (hello === undefined) return;
    this.#beginning = Buffer.alloc(0);
    this.#mode = hello === 'plain' ? 'plain' : 'framed';
    if (hello !== 'plain') this.#prepare(hello);
    this.#ports.begun(hello);
    const rest = hello === 'plain' ? beginning : beginning.subarray(HELLO_LENGTH);
    this.#stats.wireReceived -= rest.length;
    if (rest.length > 0) this.receive(rest);
  }

  #prepare({ storeId }: Hello): void {
    const { store } = this.#shared;
    this.#unpacker = new Unpacker(this.#agreement.codec, this.#dictionary);
    if (this.#agreement.dedup) this.#chunks = new ChunkReceiver(store, store.known(storeId));
  }

  /** Takes what is about the other direction at once, since that may wait for it; the stream itself waits its turn. */
  #sort(): void {
    for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
      if (isControl(frame.kind)) this.#control(frame);
      else {
        if (this.#end !== undefined) throw new FrameError('it goes on after its end');
        this.#untaken.push(frame);
        this.#count(sizeOf(frame));
      }
      if (frame.kind === KIND.plain) {
        this.#tail = new Fifo();
        for (const bytes of this.#reader.rest()) {
          this.#tail.push(bytes);
          this.#tailBytes += bytes.length;
        }
        return;
      }
    }
  }

  #count(bytes: number): void {
    this.#untakenBytes += bytes;
  }

  #take(frame: Frame): void {
    if (this.#end !== undefined) throw new FrameError('it goes on after its end');
    if (frame.kind === KIND.end) {
      this.#end = this.#checked(frame, 8).readBigUInt64BE(0);
      this.#drain();
      return;
    }
    if (frame.kind === KIND.last) {
      this.#checked(frame, 0);
      this.#last = true;
      return;
    }
    if (frame.kind === KIND.plain) {
      this.#leaveFrames(this.#checked(frame, 8).readBigUInt64BE(0));
      return;
    }
    const waiting = this.#spend(() => this.#opened(frame));
    this.#enter(waiting);
  }

  #leaveFrames(total: bigint): void {
    // It may go on like this only when all that it refers to has been resolved.
    if (this.#waiting.length > 0 || total !== this.#bytes)
      throw new FrameError(`its frames end after ${this.#bytes} bytes and say ${total}`);
    this.#ports.plain();
  }

  /** Its plain bytes, as far as they are there. */
  #opened({ kind, form, xxh3, checksum, payload }: Frame): Waiting {
    const packed = form !== FORM.plain;
    const plain = packed ? [(this.#unpacker as Unpacker).unpack(form, joined(payload))] : payload;
    if (kind === KIND.data) {
      if (lengthOf(plain) > MAX_PLAIN) throw new FrameError('a frame stands for too much');
      const references = this.#chunks?.references ?? 0;
      return { parts: [...plain], xxh3, checksum, references, missing: 0 };
    }
    if (this.#chunks === undefined || this.#last) throw new FrameError('chunks where none were agreed');
    const { parts, missing } = this.#chunks.read(joined(plain));
    return { parts, xxh3, checksum, references: this.#chunks.references, missing: missing.length };
  }

  /** The payload of a frame that is not compressed and has a checksum of its own. */
  #checked({ form, checksum, payload }: Frame, least: number): Buffer {
    const bytes = joined(payload);
    if (form !== FORM.plain || crcOf([bytes]) !== checksum)
      throw new FrameError('a control frame is damaged');
    if (bytes.length < least) throw new FrameError('a control frame is cut');
    return bytes;
  }

  #control(frame: Frame): void {
    const bytes = this.#checked(frame, 4);
    const number = bytes.readUInt32BE(0);
    if (frame.kind === KIND.fill) this.#fill(number, bytes.subarray(4));
    else if (frame.kind === KIND.missing) this.#ports.missing(number);
    else this.#ports.resolved(number);
  }

  #enter(frame: Waiting): void {
    if (frame.missing === 0 && this.#waiting.length === 0) {
      this.#complete(frame);
      return;
    }
    for (const [at, part] of frame.missing === 0 ? [] : frame.parts.entries()) {
      if (Buffer.isBuffer(part)) continue;
      this.#gaps.set(part.number, { frame, at });
      this.#ports.ask(part.number);
    }
    const size = sizeInLine(frame);
    if (this.#waitingBytes + size > MOST_WAITING) throw new FrameError('too much follows a missing chunk');
    if (!this.#shared.waiting.take(size)) throw new FrameError('too much follows missing chunks, in all');
    this.#waiting.push(frame);
    this.#waitingBytes += size;
  }

  #fill(number: number, bytes: Buffer): void {
    const gap = this.#gaps.get(number);
    if (gap === undefined) throw new FrameError(`reference ${number} is filled, which was not missed`);
    const { frame, at } = gap;
    this.#chunks?.fill(frame.parts[at] as Gap, bytes);
    frame.parts[at] = Buffer.from(bytes);
    frame.missing--;
    this.#gaps.delete(number);
  }

  /** Delivers what is complete and wanted, in order, and the end behind it. */
  #drain(): void {
    const line = this.#waiting;
    for (let first = line.first; first !== undefined; first = line.first) {
      if (first.missing > 0 || this.#ports.full()) return;
      line.shift();
      const size = sizeInLine(first);
      this.#waitingBytes -= size;
      this.#shared.waiting.give(size);
      this.#complete(first);
      if (this.#closed) return;
    }
    if (this.#end !== undefined && !this.#closed) this.#finish(this.#end);
  }

  /** Lets the sender forget what it held for these references. */
  #tell(references: number): void {
    if (references === this.#told) return;
    this.#told = references;
    this.#ports.tellResolved(references);
  }

  /** Delivers a frame that misses nothing. */
  #complete(frame: Waiting): void {
    const parts = frame.parts as readonly Buffer[];
    const sumOf = frame.xxh3 ? this.#shared.xxh3 : crcOf;
    if (sumOf === undefined) throw new FrameError('a checksum that this node did not say it can check');
    if (this.#spend(() => sumOf(parts)) !== frame.checksum)
      throw new FrameError('the checksum of its plain bytes is wrong');
    for (const part of parts) this.#deliver(part);
    if (!this.#closed) this.#tell(frame.references);
  }

  #finish(total: bigint): void {
    if (total !== this.#bytes) throw new FrameError(`it ends after ${this.#bytes} bytes and says ${total}`);
    this.#ports.ended();
  }

  #deliver(plain: Buffer): void {
    this.#bytes += BigInt(plain.length);
    this.#stats.plainReceived += plain.length;
    this.#ports.deliver(plain);
  }

  #spend<T>(work: () => T): T {
    const started = performance.now();
    const done = work();
    this.#stats.unpackMilliseconds += performance.now() - started;
    return done;
  }
}

/** About the other direction. */
function isControl(kind: Kind): boolean {
  return kind === KIND.missing || kind === KIND.fill || kind === KIND.resolved;
}

function lengthOf(parts: readonly { readonly length: number }[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/** What a frame takes that has not been looked into. */
function sizeOf({ payload }: Frame): number {
  return FRAME_OVERHEAD + lengthOf(payload);
}

/** What one takes that has. */
function sizeInLine({ parts }: Waiting): number {
  return FRAME_OVERHEAD + lengthOf(parts);
}
