/**
 * What stands before Node's parser on a client's connection: requests that the memo knows byte for byte are answered here.
 *
 * ```
 *   client ──bytes──▶ front ──a header section that the memo knows?──yes──▶ prepared header section + stored body, one write
 *                       └──no: unchanged──▶ Node's parser ──▶ exchange.ts ──a plain fresh hit?──▶ the memo learns it
 * ```
 *
 * The front keeps no bytes: what is not a whole known header section is the parser's, and so are its limits and time-outs.
 * It answers only between two requests, with none under way and nothing unsent, after the connection's first one.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.js';
import { TransformedLeg } from '../../transcode/leg.js';
import type { ClientConnection } from './connection.js';
import { MOST_HEAD_BYTES, type Hit, type RequestMemo } from './memo.js';
import { betweenRequests } from './parser-state.js';

const END_OF_HEAD = '\r\n\r\n';
/** Responses up to this size are copied to go out in one write; the bodies of larger ones go as they are stored. */
const SCRATCH_BYTES = 16 * 1024;
/** A request that asks for another protocol is never taken out of what follows it. */
const MAY_UPGRADE = /upgrade/i;
/** A line that does not end with CR LF: where such a header section ends is not for the front to say. */
const ODD_LINE = /(?<!\r)\n|\r(?!\n)/;

/** What the fronts of a service share. */
export class FrontDesk {
  readonly memo: RequestMemo;
  readonly clock: Clock;
  /** Milliseconds; a client that takes nothing of a response. */
  readonly idleTimeout: number;
  /** Requests answered. */
  requests = 0;
  /** Connections end after the response under way. */
  draining = false;
  /** Where responses are put together; a socket that has not sent it all keeps it. */
  scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

  constructor(memo: RequestMemo, clock: Clock, idleTimeout: number) {
    this.memo = memo;
    this.clock = clock;
    this.idleTimeout = idleTimeout;
  }
}

type Parse = (chunk: Buffer) => void;

export class Front {
  readonly #client: Socket;
  readonly #connection: ClientConnection;
  readonly #desk: FrontDesk;
  readonly #parse: Parse;
  /** Before the names of requests in the memo. */
  readonly #prefix: string;
  /** The parser may be inside a request. */
  #inside = false;
  /** Bytes of the scratch that are in use. */
  #used = 0;

  private constructor(client: Socket, connection: ClientConnection, desk: FrontDesk, parse: Parse) {
    this.#client = client;
    this.#connection = connection;
    this.#desk = desk;
    this.#parse = parse;
    const { address, port } = connection.destination;
    this.#prefix = `${address} ${port}\n`;
  }

  /** Lets `listen` set Node's parser on a connection, and stands before it. Returns what takes the front away. */
  static place(
    client: Socket,
    connection: ClientConnection,
    desk: FrontDesk,
    listen: () => void,
  ): () => void {
    const before = new Set(client.listeners('data'));
    listen();
    const parse = client.listeners('data').find((listener) => !before.has(listener)) as Parse | undefined;
    // A transformed leg may still need what has been written; a pipeline makes something else of what is stored.
    const transformed = client instanceof TransformedLeg || connection.content !== undefined;
    if (parse === undefined || transformed) return () => undefined;
    const front = new Front(client, connection, desk, parse);
    // Somebody else who listens also makes the parser give up reading the socket by itself.
    client.on('data', front.#onData);
    client.off('data', parse);
    return () => client.off('data', front.#onData);
  }

  readonly #onData = (chunk: Buffer): void => {
    let at = 0;
    while (at < chunk.length && this.#mayAnswer()) {
      const end = this.#answer(chunk, at);
      if (end < 0) break;
      at = end;
    }
    this.#flush();
    if (at < chunk.length) this.#handOver(at === 0 ? chunk : chunk.subarray(at));
  };

  #mayAnswer(): boolean {
    const client = this.#client;
    const { busy, requests, pinned, stopped } = this.#connection;
    // The first one is the parser's, whose time-outs begin to count anew with its end.
    if (busy || requests === 0 || pinned || stopped || this.#desk.draining) return false;
    if (client.writableLength > 0 || client.writableEnded || client.destroyed) return false;
    return this.#between();
  }

  /** Whether all that the parser was given were whole requests. */
  #between(): boolean {
    if (this.#inside) this.#inside = betweenRequests(this.#client) !== true;
    return !this.#inside;
  }

  /** Answers the request that begins at `at`; returns where the next one does, or -1. */
  #answer(chunk: Buffer, at: number): number {
    const { memo, clock, requests } = this.#desk;
    let end = chunk.length;
    let hit: Hit | undefined;
    const monotonic = clock.monotonic();
    const { destination } = this.#connection;
    if (end - at <= MOST_HEAD_BYTES) hit = memo.answer(this.#name(chunk, at, end), destination, monotonic);
    if (hit === undefined) {
      end = endOfHead(chunk, at);
      if (end < 0 || end === chunk.length) return -1;
      hit = memo.answer(this.#name(chunk, at, end), destination, monotonic);
    }
    if (hit === undefined) return -1;
    this.#desk.requests = requests + 1;
    this.#connection.requests++;
    this.#send(hit);
    return end;
  }

  #name(chunk: Buffer, at: number, end: number): string {
    return this.#prefix + chunk.toString('latin1', at, end);
  }

  #send({ head, body, bodyLength }: Hit): void {
    const size = head.length + bodyLength;
    if (size > SCRATCH_BYTES - this.#used) this.#flush();
    if (size > SCRATCH_BYTES) {
      this.#sendLarge(head, body);
      return;
    }
    const { scratch } = this.#desk;
    let used = this.#used;
    used += scratch.write(head, used, 'latin1');
    for (const block of body) {
      scratch.set(block, used);
      used += block.length;
    }
    this.#used = used;
  }

  /** In one write; the body is not copied. */
  #sendLarge(head: string, body: readonly Buffer[]): void {
    const client = this.#client;
    client.cork();
    client.write(head, 'latin1');
    for (const block of body) client.write(block);
    client.uncork();
    this.#watch();
  }

  #flush(): void {
    if (this.#used === 0) return;
    const desk = this.#desk;
    this.#client.write(desk.scratch.subarray(0, this.#used));
    this.#used = 0;
    if (this.#client.writableLength > 0) desk.scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.#watch();
  }

  /** While a client takes its time, another time-out holds than between requests. */
  #watch(): void {
    const client = this.#client;
    if (!client.writableNeedDrain) return;
    const { timeout = 0 } = client;
    const { idleTimeout } = this.#desk;
    if (timeout === idleTimeout) return;
    client.setTimeout(idleTimeout);
    client.once('drain', () => {
      if (client.timeout === idleTimeout && !this.#connection.busy) client.setTimeout(timeout);
    });
  }

  /** Gives the parser what is not known here; a header section by itself, where that can be, so that it is learned. */
  #handOver(chunk: Buffer): void {
    const end = this.#connection.busy || !this.#between() ? -1 : endOfHead(chunk, 0);
    this.#inside = true;
    if (end < 0 || end > MOST_HEAD_BYTES) {
      this.#parse(chunk);
      return;
    }
    const text = chunk.toString('latin1', 0, end);
    if (end === chunk.length) {
      this.#parseAndLearn(chunk, text);
    } else if (this.#separable(text)) {
      this.#parseAndLearn(chunk.subarray(0, end), text);
      this.#parse(chunk.subarray(end));
    } else {
      this.#parse(chunk);
    }
  }

  /** Node stops reading only when it is given a request while something is unsent. */
  #separable(text: string): boolean {
    return text.startsWith('GET ') && !MAY_UPGRADE.test(text) && !this.#client.writableNeedDrain;
  }

  /** `chunk` is one header section, `text`; its answer is remembered if it was one request and a plain hit. */
  #parseAndLearn(chunk: Buffer, text: string): void {
    const connection = this.#connection;
    connection.learning = true;
    this.#parse(chunk);
    connection.learning = false;
    const { lesson, waiting } = connection;
    connection.lesson = undefined;
    if (lesson === undefined || waiting > 0 || ODD_LINE.test(text)) return;
    if (betweenRequests(this.#client) === true) this.#desk.memo.learn(this.#prefix + text, lesson);
  }
}

/** Where the header section that begins at `at` has ended; -1 when it does not. */
function endOfHead(chunk: Buffer, at: number): number {
  const found = chunk.indexOf(END_OF_HEAD, at, 'latin1');
  return found < 0 ? -1 : found + END_OF_HEAD.length;
}
