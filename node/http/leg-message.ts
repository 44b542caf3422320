/** A response from an {@link HttpLeg} as a message of Node's, for those who pass it on as a stream. */
import { IncomingMessage } from 'node:http';
import type { HttpLeg } from './http-leg.js';
import type { ResponseStart } from './response-parser.js';

export class LegMessage {
  readonly message: IncomingMessage;
  readonly #leg: HttpLeg;

  constructor(leg: HttpLeg, start: ResponseStart) {
    this.#leg = leg;
    const message = new IncomingMessage(leg.socket);
    message.statusCode = start.status;
    message.statusMessage = start.statusMessage;
    message.httpVersion = start.httpVersion;
    message.rawHeaders = start.rawHeaders;
    // Not before: who gives up a message that has not been read to its end closes the connection.
    message.once('end', () => leg.done());
    message.on('error', () => undefined); // whoever reads it may listen only for `close`
    this.message = message;
  }

  content(bytes: Buffer): void {
    if (!this.message.push(bytes)) this.#leg.socket.pause();
  }

  end(trailers: string[]): void {
    this.message.complete = true;
    this.message.rawTrailers = trailers;
    this.message.push(null);
  }

  /** It will never be complete. */
  fail(error: Error): void {
    this.message.destroy(error);
  }
}
