/** The direction of a transformed leg that this node receives: frames in, plain bytes out, in order. */
import { crc32 } from 'node:zlib';
import type { Agreement } from './capabilities.js';
import { ChunkReceiver, WINDOW } from './dedup.js';
import {
  FORM,
  FrameError,
  FrameReader,
  HELLO_LENGTH,
  KIND,
  MAX_PLAIN,
  readHello,
  type Frame,
  type Hello,
} from './frame.js';
import type { Shared } from './outbound.js';
import { Unpacker } from './packer.js';
import type { TransformStats } from './stats.js';

export interface InboundPorts {
  deliver(plain: Buffer): void;
  /** The direction has ended in order. */
  ended(): void;
  /** How the direction begins: with a hello, or as plain bytes, which it then is to its end. */
  begun(hello: Hello | 'plain'): void;
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
  readonly crc: number;
  readonly references: number;
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
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #told = 0;
  #beginning: Buffer = Buffer.alloc(0);
  #mode: 'unknown' | 'framed' | 'plain' = 'unknown';
  #unpacker: Unpacker | undefined;
  #chunks: ChunkReceiver | undefined;
  #bytes = 0n;
  #end: bigint | undefined;

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

  /** Bytes of the leg; throws {@link FrameError} when they cannot be what the other node meant. */
  receive(bytes: Buffer): void {
    this.#stats.wireReceived += bytes.length;
    if (this.#mode === 'unknown') {
      this.#begin(bytes);
      return;
    }
    if (this.#mode === 'plain') this.#deliver(bytes);
    else for (const frame of this.#reader.read(bytes)) this.#frame(frame);
  }

  /** The leg's FIN. */
  receiveEnd(): void {
    if (this.#mode === 'unknown') {
      this.#mode = 'plain';
      this.#ports.begun('plain');
      if (this.#beginning.length > 0) this.#deliver(this.#beginning);
    }
    if (this.#mode === 'plain') this.#ports.ended();
    else if (this.#end === undefined) throw new FrameError('it ends before its end');
  }

  close(): void {
    this.#unpacker?.close();
    this.#waiting.length = 0;
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

  #frame(frame: Frame): void {
    if (this.#end !== undefined && frame.kind !== KIND.fill) this.#afterEnd(frame);
    const started = performance.now();
    if (frame.kind <= KIND.chunks) this.#content(frame);
    else this.#control(frame);
    this.#stats.unpackMilliseconds += performance.now() - started;
  }

  /** Its own direction is over; the answers to ours are not. */
  #afterEnd({ kind }: Frame): void {
    if (kind !== KIND.missing && kind !== KIND.resolved) throw new FrameError('it goes on after its end');
  }

  #content({ kind, form, crc, payload }: Frame): void {
    const plain = (this.#unpacker as Unpacker).unpack(form, payload);
    if (kind === KIND.data) {
      if (plain.length > MAX_PLAIN) throw new FrameError('a frame stands for too much');
      this.#enter({ parts: [plain], crc, references: this.#chunks?.references ?? 0 });
      return;
    }
    if (this.#chunks === undefined) throw new FrameError('chunks where none were agreed');
    const { parts, missing } = this.#chunks.read(plain);
    for (const number of missing) this.#ports.ask(number);
    this.#enter({ parts, crc, references: this.#chunks.references });
  }

  #control({ kind, form, crc, payload }: Frame): void {
    if (form !== FORM.plain || crc32(payload) !== crc) throw new FrameError('a control frame is damaged');
    if (payload.length < (kind === KIND.end ? 8 : 4)) throw new FrameError('a control frame is cut');
    if (kind === KIND.end) {
      this.#end = payload.readBigUInt64BE(0);
      this.#drain();
    }
    if (kind === KIND.fill) this.#fill(payload.readUInt32BE(0), payload.subarray(4));
    else if (kind === KIND.missing) this.#ports.missing(payload.readUInt32BE(0));
    else if (kind === KIND.resolved) this.#ports.resolved(payload.readUInt32BE(0));
  }

  #enter(frame: Waiting): void {
    this.#waiting.push(frame);
    this.#waitingBytes += size(frame);
    if (this.#waitingBytes > MOST_WAITING) throw new FrameError('too much follows a missing chunk');
    this.#drain();
  }

  #fill(number: number, bytes: Buffer): void {
    for (const { parts } of this.#waiting) {
      const at = parts.findIndex((part) => !Buffer.isBuffer(part) && part.number === number);
      if (at < 0) continue;
      this.#chunks?.fill(parts[at] as Gap, bytes);
      parts[at] = Buffer.from(bytes);
      this.#drain();
      return;
    }
    throw new FrameError(`reference ${number} is filled, which was not missed`);
  }

  /** Delivers what is complete, in order, and the end behind it. */
  #drain(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (!isComplete(first.parts)) return;
      this.#waiting.shift();
      this.#waitingBytes -= size(first);
      this.#complete(first.parts, first.crc);
      this.#tell(first.references);
    }
    if (this.#end !== undefined) this.#finish(this.#end);
  }

  /** Lets the sender forget what it held for these references. */
  #tell(references: number): void {
    if (references === this.#told) return;
    this.#told = references;
    this.#ports.tellResolved(references);
  }

  #complete(parts: readonly Buffer[], expected: number): void {
    let crc = 0;
    for (const part of parts) crc = crc32(part, crc);
    if (crc !== expected) throw new FrameError('the checksum of its plain bytes is wrong');
    for (const part of parts) this.#deliver(part);
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
}

function isComplete(parts: readonly (Buffer | Gap)[]): parts is readonly Buffer[] {
  return parts.every((part) => Buffer.isBuffer(part));
}

function size({ parts }: Waiting): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
