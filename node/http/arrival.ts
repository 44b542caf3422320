/** A final response of the next hop whose head has come, for whoever wants its content: a stream, or a fill. */
import type { IncomingMessage } from 'node:http';
import type { Fill } from '../../cache/fill.js';
import { ContentCopy } from './content-copy.js';
import type { HttpLeg } from './http-leg.js';
import { LegMessage } from './leg-message.js';
import type { ResponseStart } from './response-parser.js';

export interface Arrival {
  readonly start: ResponseStart;
  /** All of it has come. */
  readonly complete: boolean;
  /** The content as a stream; to be asked for in the turn in which the head came. */
  readonly message: IncomingMessage;
  /**
   * Copies the content at the pace of the fill's readers; to be called in the turn in which the head came, in place of reading
   * {@link message}. `broken` is called when it has ended before its end.
   */
  copyTo(fill: Fill, broken: () => void): void;
  /** Nothing more comes. Idempotent. */
  fail(error: Error): void;
  /** Nobody wants what has come and was not taken; of a complete one, so that the leg is free. */
  drop(): void;
}

/** Of Node's own client. */
export class ClientArrival implements Arrival {
  readonly message: IncomingMessage;
  readonly start: ResponseStart;

  constructor(message: IncomingMessage) {
    message.on('error', () => undefined); // whoever reads it may listen only for `close`
    this.message = message;
    const { statusCode: status = 0, statusMessage = '', httpVersion, rawHeaders } = message;
    this.start = { status, statusMessage, httpVersion, rawHeaders };
  }

  get complete(): boolean {
    return this.message.complete;
  }

  copyTo(fill: Fill, broken: () => void): void {
    new ContentCopy(fill, this.message, broken);
  }

  fail(error: Error): void {
    // Before Node's parser takes the end of the bytes for the end of a response without a length.
    if (!this.message.complete) this.message.destroy(error);
  }

  drop(): void {
    this.message.resume();
  }
}

/** Of a leg: without a stream where nobody asks for one. */
export class LegArrival implements Arrival {
  readonly start: ResponseStart;
  readonly #leg: HttpLeg;
  #message: LegMessage | undefined;
  #fill: Fill | undefined;
  #broken: () => void = () => undefined;
  #complete = false;
  #failed = false;

  constructor(leg: HttpLeg, start: ResponseStart) {
    this.#leg = leg;
    this.start = start;
  }

  get complete(): boolean {
    return this.#complete;
  }

  get message(): IncomingMessage {
    this.#message ??= new LegMessage(this.#leg, this.start);
    return this.#message.message;
  }

  copyTo(fill: Fill, broken: () => void): void {
    this.#fill = fill;
    this.#broken = broken;
  }

  content(bytes: Buffer): void {
    const { socket } = this.#leg;
    if (this.#fill === undefined) this.#message?.content(bytes);
    else if (!this.#fill.push(bytes, () => void socket.resume())) socket.pause();
  }

  end(trailers: string[]): void {
    this.#complete = true;
    this.#message?.end(trailers);
    if (this.#fill === undefined) return;
    this.#fill.finish(trailers);
    this.#leg.done();
  }

  fail(error: Error): void {
    if (this.#complete || this.#failed) return;
    this.#failed = true;
    this.#message?.fail(error);
    this.#broken();
  }

  drop(): void {
    this.#message?.message.resume();
  }
}
