/** Copies a response's content into a fill, at the pace of its readers. */
import type { IncomingMessage } from 'node:http';
import type { Fill } from '../../cache/fill.js';

export class ContentCopy {
  readonly #message: IncomingMessage;
  readonly #fill: Fill;
  readonly #broken: () => void;
  #full = false;
  /** Whether others who read the message want more of it, too. */
  ready: () => boolean = () => true;

  /** `broken` is called when the content has ended before its end. */
  constructor(fill: Fill, message: IncomingMessage, broken: () => void) {
    this.#message = message;
    this.#fill = fill;
    this.#broken = broken;
    message.on('data', this.#data);
    message.once('end', this.#end);
    message.once('close', this.#closed);
  }

  /** Whether the fill's readers have enough for now. */
  get full(): boolean {
    return this.#full;
  }

  /** From here on the content comes by another way. */
  stop(): void {
    this.#message.off('data', this.#data);
    this.#message.off('end', this.#end);
    this.#message.off('close', this.#closed);
  }

  readonly #data = (chunk: Buffer): void => {
    const drained = (): void => {
      this.#full = false;
      if (this.ready()) this.#message.resume();
    };
    if (this.#fill.push(chunk, drained)) return;
    this.#full = true;
    this.#message.pause();
  };

  readonly #end = (): void => {
    if (this.#message.complete) this.#fill.finish(this.#message.rawTrailers);
  };

  readonly #closed = (): void => {
    if (!this.#message.readableEnded || !this.#message.complete) this.#broken();
  };
}
