/** One request to the next hop: sent over a pooled or a new leg, repeated where that is safe, with its failures named. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { messageOf } from '../../core/errors.js';
import { MOST_FIELDS, requestText, trailerPairs } from './headers.js';
import { UpgradeError, type HttpLeg } from './http-leg.js';
import { ClientArrival, LegArrival, type Arrival } from './arrival.js';
import { RawBody } from './raw-body.js';
import { MOST_HEADER_BYTES, type LegPool, type LegRequestOptions, type LegSource } from './leg-pool.js';

export interface UpstreamRequest {
  readonly method: string;
  readonly target: string;
  /** Names and values alternating, complete: nothing is added but what frames the connection. */
  readonly headers: string[];
  /** The same as {@link fieldsText} has them, where that is known already. */
  readonly prepared?: string | undefined;
  /** The client's message whose content follows; `undefined` when it has none. */
  readonly content: IncomingMessage | undefined;
  readonly source: LegSource;
  /** Whether it may be sent a second time when a reused leg closes before the first byte of a response (RFC 9110 section 9.2.2). */
  readonly repeatable: boolean;
  /** Milliseconds from the end of the request to the head of the response. */
  readonly responseTimeout: number;
  /** Whether the handler of the response may want its body as it comes: {@link Upstream.raw}. */
  readonly raw: boolean;
}

/** Why there is no response. */
export interface UpstreamFailure {
  readonly status: 502 | 504;
  /** Stable: an errno name, an HPE_ code of the parser, or `response-timeout`. */
  readonly code: string;
  readonly message: string;
  /** A leg of the client's own closed between requests: the client gets to see just that. */
  readonly closedIdle: boolean;
}

/** A 1xx response (RFC 9110 section 15.2). */
export interface Information {
  readonly statusCode: number;
  readonly statusMessage: string;
  /** Names and values alternating. */
  readonly rawHeaders: readonly string[];
}

export interface UpstreamHandlers {
  information(info: Information): void;
  /** The final response. */
  response(arrival: Arrival): void;
  /** Called instead of `response`. */
  failed(failure: UpstreamFailure): void;
}

const TIMEOUT_CODE = 'response-timeout';
/** 1xx responses before a final one; each would start the time anew, and none waits for the client to read it. */
const MOST_INFORMATION = 64;

class TimeoutError extends Error {
  readonly code = TIMEOUT_CODE;
}

class HeaderError extends Error {
  readonly code = 'ERR_INVALID_CHAR';
}

class FieldsError extends Error {
  readonly code = 'too-many-fields';
}

class InformationError extends Error {
  readonly code = 'too-many-1xx';
}

export class Upstream {
  readonly #pool: LegPool;
  readonly #what: UpstreamRequest;
  readonly #handlers: UpstreamHandlers;
  /** Of Node's client, or without it where there is nothing to send but a header section. */
  #request: ClientRequest | undefined;
  #leg: HttpLeg | undefined;
  #arrival: Arrival | undefined;
  #timer: NodeJS.Timeout | undefined;
  #raw: RawBody | undefined;
  #bytesBefore = 0;
  #informed = 0;
  #repeated = false;
  #over = false;

  constructor(pool: LegPool, what: UpstreamRequest, handlers: UpstreamHandlers) {
    this.#pool = pool;
    this.#what = what;
    this.#handlers = handlers;
    this.#send();
  }

  /** The response's body as it comes; only inside the handler of the response. */
  get raw(): RawBody | undefined {
    const leg = this.#leg;
    const head = this.#what.raw ? leg?.headSoFar : undefined;
    if (leg !== undefined && head !== undefined) this.#raw ??= new RawBody(leg.socket, head, this.#informed);
    return this.#raw;
  }

  /** The leg of the exchange, once there is one. */
  get leg(): Socket | undefined {
    return this.#leg?.socket ?? this.#request?.socket ?? undefined;
  }

  /** Whether the request has been sent to its end. */
  get sent(): boolean {
    return this.#leg?.sent ?? this.#request?.writableFinished === true;
  }

  /** Gives the exchange up: the leg is closed, and no handler is called any more. A complete exchange is left alone. */
  abort(): void {
    if (this.#arrival?.complete === true && this.sent) {
      this.#arrival.drop();
      return;
    }
    this.#over = true;
    clearTimeout(this.#timer);
    this.#detachContent();
    this.#destroy(new Error('given up'));
  }

  #destroy(error: Error): void {
    if (this.#leg !== undefined) this.#leg.fail(error);
    else this.#request?.destroy(error);
  }

  #send(): void {
    const { content, repeatable, source } = this.#what;
    if (content !== undefined || !repeatable) {
      this.#sendWithClient();
      return;
    }
    const text = requestText(this.#what);
    if (text === undefined) {
      process.nextTick(() => this.#fail(new HeaderError('a field that cannot be written')));
      return;
    }
    const leased = this.#pool.lease(
      source,
      (leg) => this.#ask(leg, text),
      (error) => process.nextTick(() => this.#fail(error)),
    );
    if (!leased) this.#sendWithClient();
  }

  #ask(leg: HttpLeg, text: string): void {
    const { method } = this.#what;
    if (this.#over) {
      leg.socket.destroy();
      return;
    }
    this.#leg = leg;
    let arrival: LegArrival | undefined;
    leg.ask(text, method === 'HEAD', {
      information: ({ status, statusMessage, rawHeaders }) =>
        this.#onInformation({ statusCode: status, statusMessage, rawHeaders }),
      begin: (start) => {
        arrival = new LegArrival(leg, start);
        this.#onResponse(arrival);
      },
      content: (bytes) => arrival?.content(bytes),
      end: (trailers) => {
        arrival?.end(trailers);
        this.#raw?.stop();
      },
      failed: (error) => {
        arrival?.fail(error);
        this.#raw?.stop();
        this.#onError(error, leg.untouched);
      },
    });
    this.#armTimer();
  }

  #sendWithClient(): void {
    const { method, target, headers, source } = this.#what;
    const options: LegRequestOptions = {
      method,
      path: target,
      headers,
      agent: this.#pool,
      leg: source,
      maxHeaderSize: MOST_HEADER_BYTES,
      insecureHTTPParser: false,
    };
    let request: ClientRequest;
    try {
      request = httpRequest(options);
    } catch (error) {
      // What the client's parser took, Node's writer refuses: an illegal byte in a field.
      process.nextTick(() => this.#fail(error as Error));
      return;
    }
    this.#request = request;
    request.maxHeadersCount = MOST_FIELDS + 1;
    request.once('socket', (leg: Socket) => {
      this.#bytesBefore = leg.bytesRead;
      if (this.#what.raw) this.#raw = new RawBody(leg);
      leg.resume(); // it may have been handed over paused
    });
    request.on('information', (info) => this.#onInformation(info));
    request.on('response', (message) => this.#onResponse(new ClientArrival(message)));
    // Nobody asked for another protocol here; without a listener the request would end in silence.
    request.on('upgrade', (_message, leg) => {
      leg.destroy();
      this.#fail(new UpgradeError('101 without Upgrade'));
    });
    request.on('error', (error) => {
      const untouched = request.reusedSocket && request.socket?.bytesRead === this.#bytesBefore;
      if (request === this.#request) this.#onError(error, untouched);
    });
    request.on('close', () => {
      this.#detachContent();
      if (request === this.#request) this.#raw?.stop();
    });
    request.once('finish', () => this.#armTimer());
    this.#sendContent(request);
  }

  #sendContent(request: ClientRequest): void {
    const { content } = this.#what;
    if (content === undefined) {
      request.end();
      return;
    }
    content.pipe(request, { end: false });
    // A client that leaves, or stops making sense, in the middle: the next hop must not wait for the rest.
    const { socket } = content; // the message itself says nothing once it has been answered
    const gone = (): void => {
      if (!content.complete) this.abort();
    };
    socket.once('close', gone);
    request.once('close', () => socket.off('close', gone));
    content.once('end', () => {
      if (request.destroyed) return;
      if (content.rawTrailers.length > 0) request.addTrailers(trailerPairs(content.rawTrailers));
      request.end();
    });
  }

  /** The rest of the client's content is read and dropped, so that its next request can be found. */
  #detachContent(): void {
    const { content } = this.#what;
    if (content === undefined || content.readableEnded) return;
    if (this.#request !== undefined) content.unpipe(this.#request);
    content.resume();
  }

  #armTimer(): void {
    clearTimeout(this.#timer);
    if (this.#arrival !== undefined || this.#over) return;
    this.#timer = setTimeout(
      () => this.#destroy(new TimeoutError('no response in time')),
      this.#what.responseTimeout,
    );
  }

  #onInformation(info: Information): void {
    if (this.#over) return;
    if (++this.#informed > MOST_INFORMATION) {
      // At once: what follows may have been read together with these.
      this.#fail(new InformationError('too many 1xx responses'));
      this.#destroy(new Error('given up'));
      return;
    }
    if (this.#timer !== undefined) this.#armTimer();
    this.#raw?.informed();
    this.#handlers.information(info);
  }

  #onResponse(arrival: Arrival): void {
    if (arrival.start.rawHeaders.length > 2 * MOST_FIELDS) {
      this.#fail(new FieldsError(`more than ${MOST_FIELDS} header fields`));
      this.#destroy(new Error('given up'));
      return;
    }
    clearTimeout(this.#timer);
    this.#arrival = arrival;
    if (!this.#over) this.#handlers.response(arrival);
    if (this.#raw?.begun === false) this.#raw.stop();
  }

  /** `untouched`: the leg had been used before, and nothing has come back for this request. */
  #onError(error: Error, untouched: boolean): void {
    if (this.#over) return;
    if (this.#arrival !== undefined) {
      this.#arrival.fail(error);
      return;
    }
    const closed = untouched && !(error instanceof TimeoutError);
    if (closed && this.#what.repeatable && !this.#repeated) {
      this.#repeated = true;
      this.#raw?.stop();
      // The others of the pool are as old; with none of them left the repetition opens a leg.
      this.#pool.closeIdle(this.#what.source.name);
      this.#send();
      return;
    }
    this.#fail(error, closed && !this.#what.repeatable);
  }

  #fail(error: Error, closedIdle = false): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#detachContent();
    const { code = 'invalid-message' } = error as NodeJS.ErrnoException;
    const status = code === TIMEOUT_CODE || code === 'ETIMEDOUT' ? 504 : 502;
    this.#handlers.failed({ status, code, message: messageOf(error), closedIdle });
  }
}
