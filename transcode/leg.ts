/**
 * A transformed leg: a socket of plain bytes over a TCP connection between two nodes.
 *
 * ```
 *  write ─▶ Outbound ─▶ hello, frames ─▶ raw socket ─▶ …
 *  read  ◀─ Inbound  ◀─ hello, frames ◀─ raw socket ◀─ …
 * ```
 *
 * Whether the other node agrees is known once the connection stands. Where it does not, the leg passes bytes as they are,
 * and whoever holds it had better go on with the raw socket ({@link TransformedLeg.unwrap}).
 *
 * Both directions of the TCP connection stay open until both have ended, because each carries answers for the other, unless
 * one is plain. Where both are, whoever holds the leg may go on with the raw socket, too (`bare`). A broken stream destroys
 * the leg with the error, and TCP says RST: what has been delivered by then is right.
 */
import { Socket } from 'node:net';
import type { Agreement } from './capabilities.js';
import { Beginning, NO_DICTIONARY } from './dictionaries.js';
import { ABILITY, FrameError, KIND, type Hello } from './frame.js';
import { Inbound } from './inbound.js';
import { Outbound, type Shared } from './outbound.js';
import { emptyStats, type TransformStats } from './stats.js';

/** Bytes that may wait in each direction, as in a relay. */
const HIGH_WATER = 128 * 1024;
/** While the other node may ask for a chunk, so much is read ahead to find the question. */
const MOST_AHEAD = 16 * 1024 * 1024;

export interface LegOptions {
  readonly agreement: Agreement;
  readonly shared: Shared;
  /**
   * Whether the other node is known to expect frames: it is, unless we are the one that replied and no segment came by
   * tunnel. Then our direction is as its direction turns out to be, or plain if we are the first to speak.
   */
  readonly certain: boolean;
  /** What the stream is about (a destination, say): streams about the same begin alike. */
  readonly subject: string;
  /** Bytes that the kernel has and has not sent yet; default: none, as far as is known. */
  readonly unsent?: () => number;
  /** How the raw socket closes should this process die: with RST while its FIN would mean that a plain direction is whole. */
  readonly closing?: (how: 'reset' | 'finish') => void;
}

/** Emits `bare` whenever both directions are plain and nothing is held: then {@link unwrap} gives the raw socket. */
export class TransformedLeg extends Socket {
  readonly stats: TransformStats = emptyStats();
  readonly #raw: Socket;
  /** How many references we have resolved, while the leg is too full to say so. */
  #toTell: number | undefined;
  readonly #decide: () => LegOptions | undefined;
  #options: LegOptions | undefined;
  #outbound: Outbound | undefined;
  #inbound: Inbound | undefined;
  #sending: 'undecided' | 'framed' | 'plain' = 'undecided';
  #settled = false;
  /** Somebody reads. */
  #wanted = false;
  #unwrapped = false;
  #clear: (() => void) | undefined;
  #theirEnd = false;
  #ourEnd: (() => void) | undefined;
  #received: Beginning | undefined;
  #sent: Beginning | undefined;

  /**
   * `raw` is paused or connecting, and belongs to the leg from here on. `decide` is called once when it is connected;
   * `undefined`: nothing is transformed.
   */
  constructor(raw: Socket, decide: () => LegOptions | undefined) {
    const limits = { readableHighWaterMark: HIGH_WATER, writableHighWaterMark: HIGH_WATER };
    super({ allowHalfOpen: true, ...limits });
    this.#raw = raw;
    this.#decide = decide;
    // Node has getters for them, its types have properties.
    Object.defineProperty(this, 'bytesRead', { get: () => this.stats.plainReceived });
    Object.defineProperty(this, 'bytesWritten', { get: () => this.stats.plainSent });
    Object.defineProperty(this, '_writev', { value: undefined }); // a socket's own would look for its handle
    raw.on('error', this.#onError).on('close', this.#onClose);
    if (raw.destroyed) process.nextTick(this.#onClose);
    else if (!raw.connecting) this.#settle();
    else {
      this.#connecting(true);
      raw.once('connect', this.#onConnect);
    }
  }

  /** Whether both nodes transform this leg; known once it is connected. */
  get transformed(): boolean {
    return this.#options !== undefined;
  }

  /** Of the compressor of our direction just now; undefined where there is none. */
  get level(): number | undefined {
    return this.#outbound?.level;
  }

  /** Whether neither direction is transformed any more, or has ended, and nothing written is held here. */
  get bare(): boolean {
    if (this.destroyed || this.#theirEnd || this.writableEnded || this.writableLength > 0) return false;
    return this.transformed && this.#sending === 'plain' && this.#inbound?.plain === true;
  }

  /**
   * The raw socket of a connected leg that is {@link bare}, or on which nothing is transformed and nothing has been written,
   * paused, and what has been read from it and not from the leg; `undefined` for any other.
   */
  unwrap(): { readonly socket: Socket; readonly read: Buffer | undefined } | undefined {
    if (!this.#settled || this.#unwrapped || this.destroyed) return undefined;
    if (this.transformed ? !this.bare : this.stats.plainSent > 0) return undefined;
    const raw = this.#raw;
    this.#unwrapped = true;
    this.pause();
    raw.pause();
    raw
      .off('data', this.#onPlain)
      .off('end', this.#onPlainEnd)
      .off('data', this.#onFrames)
      .off('end', this.#onFramesEnd)
      .off('drain', this.#onDrain)
      .off('error', this.#onError)
      .off('close', this.#onClose);
    const read = (this.read() as Buffer | null) ?? undefined;
    this.destroy();
    return { socket: raw, read };
  }

  /** As `net.Socket`: RST instead of FIN. */
  override resetAndDestroy(): this {
    if (this.#raw.connecting) this.#raw.destroy();
    else this.#raw.resetAndDestroy();
    return this.destroy();
  }

  override setNoDelay(on?: boolean): this {
    this.#raw.setNoDelay(on);
    return this;
  }

  override setKeepAlive(on?: boolean, delay?: number): this {
    this.#raw.setKeepAlive(on, delay);
    return this;
  }

  override _read(): void {
    this.#wanted = true;
    if (!this.#settled) return;
    if (this.#inbound === undefined) this.#raw.resume();
    else this.#readOn(this.#inbound);
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, done: () => void): void {
    if (this.connecting) {
      this.once('connect', () => this._write(chunk, encoding, done));
      return;
    }
    const plain = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk; // sockets leave strings as they are
    if (this.#sending === 'undecided') this.#sendPlain();
    if (this.#sending === 'plain') {
      this.stats.plainSent += plain.length;
      this.stats.wireSent += plain.length;
      this.#raw.write(plain);
    } else {
      this.#sent?.add(plain);
      this.#outbound?.write(plain);
      this.#pace(); // the other node may have to ask for something from now on
    }
    this.#active();
    this.#whenClear(done);
  }

  override _final(done: () => void): void {
    if (this.connecting) {
      this.once('connect', () => this._final(done));
      return;
    }
    this.#ourEnd = done;
    if (this.#sending === 'undecided') this.#sendPlain();
    if (this.#sending === 'framed') {
      this.#sent?.end();
      this.#outbound?.end();
    }
    this.#maybeFinish();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#connecting(false);
    this.#outbound?.close();
    this.#inbound?.close();
    this.#clear = undefined;
    const raw = this.#raw;
    if (!this.#unwrapped && !raw.destroyed) {
      if (error !== null && !raw.writableEnded && !raw.connecting) raw.resetAndDestroy();
      else raw.destroy();
    }
    done(error);
    process.nextTick(() => this.emit('close', error !== null)); // which sockets do themselves
  }

  readonly #onError = (error: Error): void => void this.destroy(error);
  readonly #onClose = (): void => {
    // What has arrived and is not read yet is still to be read; its end destroys the leg.
    if (this.#theirEnd && this.writableFinished) return;
    if (!this.destroyed) this.destroy();
  };
  readonly #onConnect = (): void => {
    this.#connecting(false);
    this.#settle();
    this.emit('connect');
    this.emit('ready');
  };
  readonly #onDrain = (): void => {
    this.#tell();
    this.#unblock();
  };
  readonly #onPlain = (bytes: Buffer): void => {
    this.stats.wireReceived += bytes.length;
    this.stats.plainReceived += bytes.length;
    this.#active();
    if (!this.push(bytes)) this.#raw.pause();
  };
  readonly #onPlainEnd = (): void => this.#endOfTheirs();
  readonly #onFrames = (bytes: Buffer): void => {
    this.#guard(() => this.#inbound?.receive(bytes));
    this.#pace();
    this.#look();
  };
  readonly #onFramesEnd = (): void => this.#guard(() => this.#inbound?.receiveEnd());

  /** Node writes it too; only its types say that nobody does. */
  #connecting(on: boolean): void {
    (this as { connecting: boolean }).connecting = on;
  }

  #settle(): void {
    this.#settled = true;
    const options = this.#decide();
    const raw = this.#raw;
    raw.on('drain', this.#onDrain);
    if (options === undefined) {
      this.#sending = 'plain';
      raw.on('data', this.#onPlain).on('end', this.#onPlainEnd);
      if (this.#wanted) raw.resume();
      else raw.pause();
      return;
    }
    this.#options = options;
    this.#prepare(options);
    raw.setNoDelay(true);
    raw.on('data', this.#onFrames).on('end', this.#onFramesEnd).resume();
  }

  #prepare({ agreement, shared, subject, certain }: LegOptions): void {
    const { dictionaries } = shared;
    const dictionary = agreement.codec === undefined ? undefined : dictionaries.latest(subject);
    this.#received = new Beginning((content) => dictionaries.learn(subject, content));
    this.#sent = new Beginning((content) => dictionaries.remember(content));
    const outbound = new Outbound(agreement, shared, this.#sender(), this.stats);
    this.#outbound = outbound;
    this.#inbound = new Inbound(agreement, shared, dictionary?.content, this.#receiver(outbound), this.stats);
    if (certain) this.#beginFramed(outbound, shared, dictionary?.id);
  }

  #sender(): ConstructorParameters<typeof Outbound>[2] {
    return {
      send: (...bytes) => this.#send(bytes),
      backedUp: () => this.#raw.writableLength > 0 || (this.#options?.unsent?.() ?? 0) > 0,
      silent: () => this.#toTell === undefined && this.#inbound?.silent === true,
      peerIsLast: () => this.#inbound?.last === true,
      peerIsPlain: () => this.#inbound?.plain === true,
      plain: () => {
        this.#sent?.end();
        this.#sendPlain();
      },
    };
  }

  /** Our direction is plain from here on. */
  #sendPlain(): void {
    this.#sending = 'plain';
    this.#options?.closing?.('reset');
  }

  /** Together: a header alone in a segment would cost one. */
  #send(bytes: readonly Buffer[]): void {
    this.#raw.cork();
    for (const part of bytes) this.#raw.write(part);
    this.#raw.uncork();
  }

  #receiver(outbound: Outbound): ConstructorParameters<typeof Inbound>[3] {
    return {
      deliver: (plain) => this.#deliver(plain),
      full: () => !this.#wanted && this.readableLength >= HIGH_WATER,
      ended: () => this.#endOfTheirs(),
      begun: (hello) => this.#begun(hello),
      plain: () => {
        if (!outbound.unasked) throw new FrameError('it is plain while there may be questions');
        this.#received?.end();
      },
      ask: (number) => {
        this.#mayAnswer();
        outbound.control(KIND.missing, number);
      },
      tellResolved: (upTo) => {
        this.#mayAnswer();
        this.#toTell = upTo;
        this.#tell();
      },
      missing: (number) => outbound.missing(number),
      resolved: (upTo) => this.#resolved(upTo),
    };
  }

  #guard(work: () => void): void {
    if (this.destroyed) return;
    try {
      work();
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #beginFramed(outbound: Outbound, { store, xxh3 }: Shared, dictionaryId: Buffer | undefined): void {
    this.#sending = 'framed';
    const abilities = ABILITY.plain | (xxh3 === undefined ? 0 : ABILITY.xxh3);
    outbound.begin({ storeId: store.id, dictionaryId: dictionaryId ?? NO_DICTIONARY, abilities });
  }

  #begun(hello: Hello | 'plain'): void {
    const outbound = this.#outbound;
    if (hello === 'plain' || outbound === undefined || this.#options === undefined) return;
    if (this.#sending === 'undecided') this.#beginFramed(outbound, this.#options.shared, undefined);
    if (this.#sending === 'framed') outbound.peerSaid(hello);
  }

  #deliver(plain: Buffer): void {
    this.#received?.add(plain);
    this.#active();
    this.#wanted = false;
    this.push(plain);
  }

  /** What has been received and not been delivered, then what is still to be received. */
  #readOn(inbound: Inbound): void {
    this.#guard(() => inbound.goOn());
    this.#pace();
    process.nextTick(this.#look);
  }

  /** Something has come or has been written: are transforms still of use, and is the leg? */
  readonly #look = (): void => {
    if (this.#sending === 'framed' && !this.destroyed) this.#outbound?.giveUp();
    if (this.bare) this.emit('bare');
  };

  /**
   * Lets the raw socket flow while there is a place for what it gives. While the other node may ask for something, it is
   * read ahead of what anybody wants: the question stands behind it.
   */
  #pace(): void {
    const inbound = this.#inbound;
    if (inbound === undefined || this.destroyed) return;
    const full = !this.#wanted && this.readableLength >= HIGH_WATER;
    const owing = this.#outbound?.owing === true;
    const stop = owing ? inbound.behind > MOST_AHEAD : inbound.behind > 0 || full;
    if (stop && !this.#theirEnd) this.#raw.pause();
    else this.#raw.resume();
  }

  /** Who has had no hello of ours knows of no store to refer to; an answer would stand among plain bytes. */
  #mayAnswer(): void {
    if (this.#sending !== 'framed') throw new FrameError('references to a store that it was not told of');
  }

  /** Says how much has been resolved, unless the other node does not read: the last word is enough. */
  #tell(last = false): void {
    if (this.#toTell === undefined || (!last && this.#raw.writableLength >= HIGH_WATER)) return;
    this.#outbound?.control(KIND.resolved, this.#toTell);
    this.#toTell = undefined;
    process.nextTick(this.#look);
  }

  /** A socket's own reads and writes put its idle timeout off; this one has none. */
  #active(): void {
    (this as unknown as { _unrefTimer(): void })._unrefTimer();
  }

  #endOfTheirs(): void {
    if (this.#theirEnd) return;
    this.#theirEnd = true;
    this.#received?.end();
    this.push(null);
    this.#raw.resume(); // answers for our direction and the FIN may be still to come, and nobody will ask for them
    this.#maybeFinish();
  }

  #resolved(upTo: number): void {
    this.#outbound?.resolved(upTo);
    this.#pace();
    this.#unblock();
    this.#maybeFinish();
  }

  /** Sends FIN when neither direction has anything more to say. */
  #maybeFinish(): void {
    const done = this.#ourEnd;
    if (done === undefined) return;
    const over = this.#sending === 'plain' || (this.#theirEnd && this.#outbound?.open === false);
    if (!over) return;
    this.#ourEnd = undefined;
    this.#tell(true);
    this.#raw.end(() => {
      this.#options?.closing?.('finish');
      done();
    });
  }

  #whenClear(done: () => void): void {
    if (this.#raw.writableLength >= HIGH_WATER || this.#outbound?.full === true) {
      this.#clear = done;
      return;
    }
    done();
    process.nextTick(this.#look);
  }

  #unblock(): void {
    const done = this.#clear;
    if (done === undefined) return;
    this.#clear = undefined;
    this.#whenClear(done);
  }
}
