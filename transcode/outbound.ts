/** The direction of a transformed leg that this node sends: plain bytes in, frames out. */
import type { Budget } from './budget.js';
import type { Agreement } from './capabilities.js';
import { ChunkSender, REFERENCE_LENGTH, type Chunks } from './dedup.js';
import type { Dictionaries } from './dictionaries.js';
import type { Xxh3 } from '../host/libxxhash.js';
import {
  ABILITY,
  controlFrame,
  crcOf,
  word,
  encodeHello,
  FORM,
  frameHeader,
  KIND,
  MAX_PLAIN,
  type Hello,
  type Kind,
} from './frame.js';
import { MIN_CHUNK } from './chunker.js';
import type { LevelCeiling } from './level.js';
import { Packer } from './packer.js';
import { Prospects } from './prospects.js';
import type { ChunkStore } from './chunk-store.js';
import type { TransformStats } from './stats.js';

/** What both directions of a leg use, and every leg of a node. */
export interface Shared {
  readonly store: ChunkStore;
  readonly dictionaries: Dictionaries;
  readonly ceiling: LevelCeiling;
  /** Of bytes that senders hold for references, and of those that receivers hold behind missing ones. */
  readonly held: Budget;
  readonly waiting: Budget;
  /** Checksum of frames for nodes that can check it; undefined: this node cannot. */
  readonly xxh3: Xxh3 | undefined;
}

export interface OutboundPorts {
  /** Bytes for the other node, to leave together. */
  send(...bytes: readonly Buffer[]): void;
  /** Whether the leg has more to send than it can just now: then more effort costs no time. */
  backedUp(): boolean;
  /** What the other node's direction may still need of this one: not even an answer. */
  silent(): boolean;
  /** The other node refers to nothing any more, and its direction is plain. */
  peerIsLast(): boolean;
  peerIsPlain(): boolean;
  /** Its last frame has been sent: from here on the direction is plain, and {@link Outbound.write} is not for it. */
  plain(): void;
}

/** How long the end of a burst waits for the rest of its chunk: one turn of the timers. */
const FLUSH_MS = 1;
/** How long anything waits while more comes, unless the leg is busy anyway. */
const LONGEST_WAIT_MS = 5;
/** While the leg stays busy it is looked at ever more seldom. */
const LONGEST_LOOK_MS = 40;
/** At least so much at once counts as a burst. */
const BURST = 2 * MIN_CHUNK;
/** What a direction saves that has carried less is not worth the processor time of a connection whose other one is plain. */
const SMALL = 1024 * 1024;

export class Outbound {
  readonly #ports: OutboundPorts;
  readonly #stats: TransformStats;
  readonly #shared: Shared;
  readonly #agreement: Agreement;
  readonly #packer: Packer | undefined;
  #chunks: ChunkSender | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writes = 0;
  /** When the first of the bytes that wait came. */
  #waitingSince: number | undefined;
  #closed = false;
  #bytes = 0n;
  #ended = false;
  readonly #prospects: Prospects;
  /** Of the other node. */
  #abilities = 0;
  /** This direction has referred to something, or has said that it will not any more. */
  #referred = false;
  #last = false;

  constructor(agreement: Agreement, shared: Shared, ports: OutboundPorts, stats: TransformStats) {
    this.#agreement = agreement;
    this.#shared = shared;
    this.#ports = ports;
    this.#stats = stats;
    this.#packer =
      agreement.codec === undefined ? undefined : new Packer(agreement.codec, stats, shared.ceiling);
    this.#prospects = new Prospects(agreement.dedup ? shared.store.limit : 0);
  }

  /** Of the compressor just now; undefined where there is none. */
  get level(): number | undefined {
    return this.#packer?.level;
  }

  /** Begins the direction. */
  begin(hello: Hello): void {
    this.#send(encodeHello(hello));
  }

  /** The other direction has begun: what it says of the other node's stores can be used from now on. */
  peerSaid({ storeId, dictionaryId, abilities }: Hello): void {
    this.#abilities = abilities;
    const dictionary = this.#shared.dictionaries.find(dictionaryId);
    if (dictionary !== undefined) this.#packer?.useDictionary(dictionary);
    if (!this.#agreement.dedup || this.#ended) return;
    const { store, held } = this.#shared;
    this.#chunks = new ChunkSender(store, store.known(storeId), held);
  }

  /** Whether nothing should be written for now; `resolved` ends it. */
  get full(): boolean {
    return this.#chunks?.full ?? false;
  }

  /** Whether the other node may still ask for something. */
  get open(): boolean {
    return !this.#ended || this.owing;
  }

  /** Whether it may ask just now. */
  get owing(): boolean {
    return this.#chunks?.open ?? false;
  }

  /** Whether it will never ask for anything. */
  get unasked(): boolean {
    return !this.owing && (!this.#agreement.dedup || this.#last || this.#ended);
  }

  /**
   * Ends what is in vain, as far as the other node does not need it: first references, then frames. Called whenever
   * something may have changed.
   */
  giveUp(): void {
    if (this.#ended || this.#closed || (this.#abilities & ABILITY.plain) === 0) return;
    const poor = this.#prospects.poor || (this.#bytes < SMALL && this.#ports.peerIsPlain());
    if (this.#agreement.dedup && !this.#last && (poor || (!this.#referred && this.#ports.peerIsLast()))) {
      this.flush();
      this.#last = true;
      this.#send(controlFrame(KIND.last, Buffer.alloc(0)));
    }
    if (!poor || this.owing || !this.#ports.silent()) return;
    this.flush();
    this.#send(controlFrame(KIND.plain, this.#total()));
    this.close();
    this.#ports.plain();
  }

  write(plain: Buffer): void {
    this.#bytes += BigInt(plain.length);
    this.#stats.plainSent += plain.length;
    this.#prospects.begins(plain);
    const short = plain.length < BURST && (this.#chunks?.pending ?? 0) === 0;
    if (this.#chunks === undefined || this.#last || (short && !this.#chunks.inChunk)) {
      for (let at = 0; at < plain.length; at += MAX_PLAIN) this.#data(plain.subarray(at, at + MAX_PLAIN));
      return;
    }
    if (this.#list(this.#chunks.push(plain))) this.#waitingSince = undefined;
    this.#writes++;
    if (short || this.#late) this.flush();
    else if (this.#chunks.pending > 0) this.#wait();
  }

  /** Whether something has waited for as long as anything may, however fast more comes. */
  get #late(): boolean {
    if (this.#waitingSince === undefined || this.full || this.#ports.backedUp()) return false;
    return performance.now() - this.#waitingSince > LONGEST_WAIT_MS;
  }

  /** Flushes unless more comes. The clock of timers stands while this process works: what has arrived meanwhile counts. */
  #wait(milliseconds = FLUSH_MS): void {
    const writes = this.#writes;
    this.#waitingSince ??= performance.now();
    const flush = (): void => {
      if (writes !== this.#writes || this.#closed) return;
      // What the leg cannot take yet would only wait elsewhere, and a source that we have stopped is not silent.
      if (this.full || this.#ports.backedUp()) this.#wait(nextLook(milliseconds));
      else this.flush();
    };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setImmediate(flush), milliseconds);
  }

  /** Sends what waits for the end of its chunk. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#waitingSince !== undefined)
      this.#stats.waitMilliseconds += performance.now() - this.#waitingSince;
    this.#waitingSince = undefined;
    if (this.#chunks !== undefined) this.#list(this.#chunks.flush());
  }

  /** The FIN of this direction. References may still be asked for. */
  end(): void {
    if (this.#ended) return;
    this.flush();
    this.#send(controlFrame(KIND.end, this.#total()));
    this.#ended = true;
  }

  /** How many plain bytes there have been, as it stands in frames. */
  #total(): Buffer {
    const total = Buffer.alloc(8);
    total.writeBigUInt64BE(this.#bytes);
    return total;
  }

  /** The other node has lost what a reference stood for. */
  missing(number: number): void {
    const bytes = this.#chunks?.missing(number);
    if (bytes === undefined) return;
    this.#stats.missed += 1;
    this.#send(controlFrame(KIND.fill, Buffer.concat([word(number), bytes])));
  }

  resolved(upTo: number): void {
    this.#chunks?.resolved(upTo);
  }

  /** Control of the other direction. */
  control(kind: Kind, number: number): void {
    this.#send(controlFrame(kind, word(number)));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#packer?.close();
    this.#chunks?.close();
  }

  #data(plain: Buffer): void {
    this.#chunks?.passed(plain.length);
    this.#frame(KIND.data, plain, plain);
  }

  /** Whether there was anything to send. */
  #list(all: Iterable<Chunks>): boolean {
    let sent = false;
    const started = performance.now();
    const before = this.#stats.packMilliseconds;
    for (const { list, plain, referenced, references } of all) {
      this.#stats.referenced += referenced;
      this.#stats.referencedTo += references * REFERENCE_LENGTH;
      if (references > 0) this.#referred = true;
      this.#frame(KIND.chunks, Buffer.concat(list), plain);
      sent = true;
    }
    const packing = this.#stats.packMilliseconds - before;
    this.#stats.chunkMilliseconds += performance.now() - started - packing;
    return sent;
  }

  /** `plain`: what the payload stands for. */
  #frame(kind: Kind, payload: Buffer, plain: Buffer): void {
    const { form, bytes } = this.#packer?.pack(payload, () => this.#ports.backedUp()) ?? {
      form: FORM.plain,
      bytes: payload,
    };
    if (form !== FORM.plain) {
      this.#stats.compressed += payload.length;
      this.#stats.compressedTo += bytes.length;
    }
    this.#stats.framesSent++;
    this.#prospects.sent(plain.length, bytes.length);
    const xxh3 = (this.#abilities & ABILITY.xxh3) === 0 ? undefined : this.#shared.xxh3;
    const checksum = (xxh3 ?? crcOf)([plain]);
    this.#send(frameHeader(kind, form, bytes.length, checksum, xxh3 !== undefined), bytes);
  }

  #send(...bytes: readonly Buffer[]): void {
    for (const { length } of bytes) this.#stats.wireSent += length;
    this.#ports.send(...bytes);
  }
}

function nextLook(milliseconds: number): number {
  return Math.min(Math.max(LONGEST_WAIT_MS, 2 * milliseconds), LONGEST_LOOK_MS);
}
