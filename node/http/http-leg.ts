/**
 * A connection to the next hop that carries requests without content, one after the other.
 *
 * ```
 *   ask ──▶ request ─▶ socket ─▶ Node's parser ─▶ Receiver ──▶ done ──▶ to be asked again, or closed
 * ```
 *
 * The parser is the one of Node's own client and as strict; only that client's objects, which are for everything HTTP can be,
 * are left out.
 */
import type { Socket } from 'node:net';
import { HeadScanner } from './chunked.js';
import { MOST_FIELDS } from './headers.js';
import type { ResponseParser, ResponseParserClass, ResponseStart } from './response-parser.js';

/** Who reads a response; after `failed` nothing is called any more. */
export interface Receiver {
  /** A 1xx response other than 101. */
  information(start: ResponseStart): void;
  /** The head of the final response. */
  begin(start: ResponseStart): void;
  content(bytes: Buffer): void;
  /** All of the content has come, and behind it these trailer fields. */
  end(trailers: string[]): void;
  /** The response is malformed, broken off, or never came. */
  failed(error: Error): void;
}

/** What has come of the head that is being parsed: the chunk of now, and a scanner that has seen what came before it. */
export interface HeadSoFar {
  readonly heads: HeadScanner;
  readonly chunk: Buffer;
}

const SWITCHING_PROTOCOLS = 101;
/** Names and values; one field more than is allowed, which shows that there are too many. */
const MOST_FIELD_TEXTS = 2 * (MOST_FIELDS + 1);

class HangUp extends Error {
  readonly code = 'ECONNRESET';
}

/** The next hop changes to a protocol that nobody has asked for. */
export class UpgradeError extends Error {
  readonly code = 'unexpected-upgrade';
}

class StatusError extends Error {
  readonly code = 'invalid-status';
}

/** Milliseconds that the other side says it keeps the connection; as Node's agent reads it. */
function keptFor(rawHeaders: readonly string[]): number {
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length !== 10 || name.toLowerCase() !== 'keep-alive') continue;
    const [, seconds] = /^timeout=(\d+)/.exec(rawHeaders[at + 1] ?? '') ?? [];
    return seconds === undefined ? Infinity : Number(seconds) * 1000;
  }
  return Infinity;
}

export class HttpLeg {
  readonly socket: Socket;
  readonly #maxHeaderSize: number;
  readonly #parser: ResponseParser;
  readonly #type: ResponseParserClass['RESPONSE'];
  /** Called when another request may be sent. */
  readonly #free: (leg: HttpLeg) => void;
  #receiver: Receiver | undefined;
  #bodiless = false;
  #fields: string[] = [];
  /** `head` is still to come, `content` is coming, or the response is `complete`. */
  #state: 'head' | 'content' | 'complete' = 'complete';
  #parsing = false;
  /** The receiver has taken all of it, while the parser was still reading the chunk that it ends in. */
  #taken = false;
  #persists = false;
  #bytesBefore = 0;
  #asked = 0;
  /** While the head comes: the chunk that came last, and what has scanned those before it. */
  #chunk: Buffer | undefined;
  #heads: HeadScanner | undefined;
  /** Milliseconds for which the other side keeps it. */
  keptFor = Infinity;

  /** `maxHeaderSize`: bytes; `free` is called whenever another request may be sent. */
  constructor(
    socket: Socket,
    Parser: ResponseParserClass,
    maxHeaderSize: number,
    free: (leg: HttpLeg) => void,
  ) {
    this.socket = socket;
    this.#maxHeaderSize = maxHeaderSize;
    this.#free = free;
    this.#parser = this.#createParser(Parser);
    this.#type = Parser.RESPONSE;
    socket.on('data', this.#onData);
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => this.fail(error));
    socket.once('close', () => {
      this.fail(new HangUp('socket hang up'));
      setImmediate(() => this.#parser.close()); // it may be parsing
    });
  }

  #createParser(Parser: ResponseParserClass): ResponseParser {
    const parser = new Parser();
    parser[Parser.kOnHeaders] = (fields) => {
      const room = MOST_FIELD_TEXTS - this.#fields.length;
      this.#fields.push(...(room < fields.length ? fields.slice(0, room) : fields));
    };
    parser[Parser.kOnHeadersComplete] = (
      major,
      minor,
      fields,
      _method,
      _url,
      status,
      reason,
      _up,
      persists,
    ) => {
      const rawHeaders = fields ?? this.#takeFields();
      return this.#onHead(
        { status, statusMessage: reason, httpVersion: `${major}.${minor}`, rawHeaders },
        persists,
      );
    };
    parser[Parser.kOnBody] = (bytes) => {
      if (this.#state === 'content') this.#receiver?.content(bytes);
    };
    parser[Parser.kOnMessageComplete] = () => this.#onComplete();
    return parser;
  }

  /** Whether the request of now is not the first one, and nothing has come back for it. */
  get untouched(): boolean {
    return this.#asked > 1 && this.socket.bytesRead === this.#bytesBefore;
  }

  /** Of the response whose head the parser is reading. */
  get headSoFar(): HeadSoFar | undefined {
    return this.#chunk && { heads: this.#heads ?? new HeadScanner(), chunk: this.#chunk };
  }

  /** Whether nothing of the request waits to be sent. */
  get sent(): boolean {
    return this.socket.writableLength === 0 && !this.socket.connecting;
  }

  /** Sends a request; `text`: one character for each byte, `bodiless`: no answer to it has content. */
  ask(text: string, bodiless: boolean, receiver: Receiver): void {
    const { socket } = this;
    this.#receiver = receiver;
    this.#bodiless = bodiless;
    this.#state = 'head';
    this.#persists = false;
    this.#taken = false;
    this.#bytesBefore = socket.bytesRead;
    this.#asked++;
    this.#fields = [];
    this.#parser.initialize(this.#type, this, this.#maxHeaderSize);
    socket.write(text, 'latin1');
    if (socket.isPaused() || socket.readableFlowing !== true) socket.resume(); // it may have been handed over paused
  }

  /** The receiver has taken all of a complete response: another request may be sent, if both sides want to go on. */
  done(): void {
    if (this.#receiver === undefined || this.#state !== 'complete') return;
    this.#taken = true;
    if (!this.#parsing) this.#release();
  }

  /** Gives the response up, and the connection with it. */
  fail(error: Error): void {
    const receiver = this.#receiver;
    const complete = this.#state === 'complete';
    this.#persists = false;
    if (!complete) this.#receiver = undefined;
    this.socket.destroy();
    if (!complete) receiver?.failed(error);
  }

  readonly #onData = (bytes: Buffer): void => {
    if (this.#receiver === undefined || this.#state === 'complete') {
      this.#persists = false;
      this.socket.destroy(); // nobody asked; it would be taken for the next response
      return;
    }
    if (this.#state === 'head') this.#noteHead(bytes);
    this.#parsing = true;
    const result = this.#parser.execute(bytes);
    this.#parsing = false;
    this.#afterChunk(result);
  };

  #noteHead(bytes: Buffer): void {
    if (this.#chunk !== undefined) {
      this.#heads ??= new HeadScanner();
      this.#heads.find(this.#chunk, Infinity); // nothing in it but heads
    }
    this.#chunk = bytes;
  }

  #afterChunk(result: number | Error): void {
    if (this.#state !== 'head') this.#chunk = this.#heads = undefined;
    if (typeof result !== 'number') {
      this.fail(result); // behind a complete response the connection is given up, and that is all
    } else if (this.#state === 'complete' && this.#persists && this.#parser.finish() !== undefined) {
      this.#persists = false; // the beginning of another response, which nobody asked for
    }
    if (this.#taken) this.#release();
  }

  #release(): void {
    const { socket } = this;
    this.#receiver = undefined;
    this.#taken = false;
    if (socket.destroyed) return;
    if (this.#persists && this.sent && !socket.readableEnded && this.keptFor > 0) {
      if (socket.isPaused()) socket.resume();
      this.#free(this);
    } else {
      socket.destroySoon();
    }
  }

  #takeFields(): string[] {
    const fields = this.#fields;
    this.#fields = [];
    return fields;
  }

  #onHead(start: ResponseStart, persists: boolean): 0 | 1 | 2 {
    const { status } = start;
    if (this.#receiver === undefined) return 1;
    if (this.#state !== 'head') {
      this.fail(new HangUp('a second response to one request'));
      return 1;
    }
    if (status === SWITCHING_PROTOCOLS) {
      this.fail(new UpgradeError('101 without Upgrade'));
      return 2;
    }
    if (status < 100) {
      this.fail(new StatusError(`no status: ${status}`));
      return 1;
    }
    if (status < 200) {
      this.#receiver.information(start);
      return 1;
    }
    this.#state = 'content';
    this.#persists = persists;
    this.keptFor = keptFor(start.rawHeaders);
    this.#receiver.begin(start);
    return this.#bodiless || status === 204 || status === 304 ? 1 : 0;
  }

  #onComplete(): void {
    if (this.#state !== 'content') return; // a 1xx response
    this.#state = 'complete';
    this.#receiver?.end(this.#takeFields());
  }

  #onEnd(): void {
    if (this.#receiver !== undefined && this.#state === 'content') this.#parser.finish();
    if (this.#state === 'complete') {
      this.#persists = false;
      if (this.#receiver === undefined) this.socket.destroy();
    } else {
      this.fail(new HangUp('socket hang up'));
    }
  }
}
