/**
 * A request that the front has read, fetched without Node's objects for it. As soon as anything about it, its answer or its
 * client is not plain, Node's parser gets its bytes after all, and the exchange that comes of them takes the fetch over.
 *
 * ```
 *   fetch ──small, whole, of known length──▶ one write
 *     └────anything else, or the client sends more──▶ the bytes go to Node's parser ──▶ Exchange.takeOver
 * ```
 */
import type { Asker } from '../../cache/decision.js';
import type { Fill } from '../../cache/fill.js';
import type { Flight } from '../../cache/flight.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredHead, StoredResponse } from '../../cache/stored.js';
import { reset } from '../relay.js';
import type { Arrival } from './arrival.js';
import type { ClientConnection } from './connection.js';
import type { FetchClient, Forwarded } from './fetch-client.js';
import { Fetch, type ExchangePorts } from './fetch.js';
import { fieldLines, nodeFields, responseHeaders } from './headers.js';
import type { Hit } from './memo.js';
import type { FillSource } from './tapped-body.js';
import type { Information, Upstream, UpstreamFailure } from './upstream.js';

/** Content up to this size is waited for, if it comes in the same turn, to go out in one write with the header section. */
const MOST_CONTENT_BYTES = 14 * 1024;

export interface PlainRequest {
  /** Its header section as it came, one character for each byte. */
  readonly text: string;
  readonly key: string;
  readonly asker: Asker;
  readonly fwd: Forwarded['fwd'];
  /** See {@link Received}. */
  readonly prepared: string;
}

/** The front, as such an exchange uses it. */
export interface PlainClient {
  readonly connection: ClientConnection;
  /** What ends a header section after which the connection goes on. */
  readonly last: string;
  /** Connections end after the response under way. */
  readonly draining: boolean;
  /** Gives bytes to Node's parser. */
  parse(bytes: Buffer): void;
  /** Answers at once. */
  answer(hit: Hit): void;
  /** Nothing is left to do here. */
  left(): void;
}

export class PlainExchange implements FetchClient {
  readonly #client: PlainClient;
  readonly #text: string;
  readonly #done: () => void;
  readonly #ports: ExchangePorts;
  readonly #flight: Flight;
  /** What goes on with it. */
  #exchange: FetchClient | undefined;
  #over = false;

  /** `done` is called when the response has been sent. */
  constructor(ports: ExchangePorts, client: PlainClient, request: PlainRequest, done: () => void) {
    this.#ports = ports;
    this.#client = client;
    this.#text = request.text;
    this.#done = done;
    const { connection } = client;
    const { key, asker, fwd, prepared } = request;
    this.#flight = ports.cache.lead(key, asker, { shared: true, admission: connection.admission });
    const received = { connection, head: asker.request, httpVersion: '1.1', message: undefined, prepared };
    new Fetch(ports, received, this.#flight, fwd, this);
  }

  information(info: Information): void {
    this.handOver()?.information(info);
  }

  fill(
    fill: Fill,
    response: ResponseHead,
    stored: StoredHead | undefined,
    status: Forwarded,
    source: FillSource | undefined,
  ): void {
    const others = (): void => this.handOver()?.fill(fill, response, stored, status, source);
    const plain = !this.#over && stored === undefined && source === undefined;
    const head = plain ? this.#headOf(response, status) : undefined;
    if (head === undefined) {
      others();
      return;
    }
    const reader = fill.read(() => {
      if (!fill.complete || this.#over) return;
      this.#answer(head, reader.rest());
      reader.leave();
    });
    process.nextTick(() => {
      if (!this.#over) others();
      reader.leave();
    });
  }

  stored(entry: StoredResponse, status: Forwarded): void {
    this.handOver()?.stored(entry, status);
  }

  pass(upstream: Upstream, arrival: Arrival, status: Forwarded): void {
    const exchange = this.handOver();
    if (exchange === undefined) upstream.abort();
    else exchange.pass(upstream, arrival, status);
  }

  failed(failure: UpstreamFailure, status: Forwarded): void {
    this.handOver()?.failed(failure, status);
  }

  /** The client is gone. */
  closed(): void {
    if (this.#over) return;
    this.#leave();
    this.#flight.leave();
    this.#done();
  }

  /**
   * Gives the request to Node's parser, once, and in one piece with it what the client has sent `behind` it; returns what goes
   * on with it, if the client is there.
   */
  handOver(behind?: Buffer): FetchClient | undefined {
    if (this.#over) return this.#exchange;
    this.#leave();
    const { connection } = this.#client;
    connection.takeOver = (begin) => {
      connection.takeOver = undefined;
      this.#exchange = begin(this.#done, this.#flight);
    };
    const bytes = Buffer.from(this.#text, 'latin1');
    this.#client.parse(behind === undefined ? bytes : Buffer.concat([bytes, behind]));
    if (this.#exchange === undefined) {
      // The parser has taken these fields before.
      connection.takeOver = undefined;
      this.#flight.leave();
      reset(connection.socket);
    }
    return this.#exchange;
  }

  #leave(): void {
    this.#over = true;
    this.#client.left();
  }

  #answer(head: string, body: readonly Buffer[]): void {
    this.#leave();
    let bodyLength = 0;
    for (const block of body) bodyLength += block.length;
    this.#client.answer({ head, body, bodyLength });
    this.#flight.leave();
    this.#done();
    const { connection, draining } = this.#client;
    // Its head has promised to go on.
    if (draining && !connection.busy) connection.socket.end();
  }

  /** The header section for the client, where nothing about the response is special. */
  #headOf(response: ResponseHead, status: Forwarded): string | undefined {
    const { fields, framing, httpVersion } = response;
    if (framing !== 'length' || !fields.has('date') || this.#client.draining) return undefined;
    if (Number(fields.get('content-length')?.[0]) > MOST_CONTENT_BYTES) return undefined;
    const added = nodeFields(this.#ports.node, httpVersion, status);
    const lines = fieldLines(responseHeaders(response, added, false));
    if (lines === undefined) return undefined;
    return `HTTP/1.1 ${response.status} ${response.statusMessage}\r\n${lines}${this.#client.last}\r\n`;
  }
}
