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
import { resourceKey } from '../../cache/key.js';
import type { ExchangePorts } from './fetch.js';
import { Likenesses } from './likeness.js';
import { MOST_HEAD_BYTES, RequestMemo, type Hit } from './memo.js';
import { betweenRequests } from './parser-state.js';
import { PlainExchange, type PlainClient, type PlainRequest } from './plain-exchange.js';

const END_OF_HEAD = '\r\n\r\n';
/** Responses up to this size are copied to go out in one write; the bodies of larger ones go as they are stored. */
const SCRATCH_BYTES = 16 * 1024;
/** A request that asks for another protocol is never taken out of what follows it. */
const MAY_UPGRADE = /upgrade/i;
/** A line that does not end with CR LF: where such a header section ends is not for the front to say. */
const ODD_LINE = /(?<!\r)\n|\r(?!\n)/;

/** What the fronts of a service share. */
export class FrontDesk {
  readonly ports: ExchangePorts;
  readonly memo: RequestMemo;
  readonly likenesses: Likenesses;
  readonly clock: Clock;
  /** See {@link persistence}. */
  readonly last: string;
  /** Milliseconds; a client that takes nothing of a response. */
  readonly idleTimeout: number;
  /** Requests answered. */
  requests = 0;
  /** Connections end after the response under way. */
  draining = false;
  /** Where responses are put together; a socket that has not sent it all keeps it. */
  scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

  constructor(ports: ExchangePorts, last: string, idleTimeout: number) {
    this.ports = ports;
    this.memo = new RequestMemo(ports, last);
    this.likenesses = new Likenesses(ports.node);
    this.clock = ports.clock;
    this.last = last;
    this.idleTimeout = idleTimeout;
  }
}

type Parse = (chunk: Buffer) => void;

export class Front implements PlainClient {
  readonly #client: Socket;
  readonly connection: ClientConnection;
  readonly #desk: FrontDesk;
  readonly #parse: Parse;
  /** Before the names of requests in the memo. */
  readonly #prefix: string;
  /** The parser may be inside a request. */
  #inside = false;
  /** Bytes of the scratch that are in use. */
  #used = 0;
  /** What the parser knows nothing of. */
  #plain: PlainExchange | undefined;
  /** The client's time-out between requests, in milliseconds. */
  #timeout = 0;

  private constructor(client: Socket, connection: ClientConnection, desk: FrontDesk, parse: Parse) {
    this.#client = client;
    this.connection = connection;
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
    // Before the parser's: it would end a connection on which it knows of no request.
    client.prependListener('end', front.#onEnd);
    client.once('close', front.#onClose);
    return () => client.off('data', front.#onData).off('end', front.#onEnd).off('close', front.#onClose);
  }

  get last(): string {
    return this.#desk.last;
  }

  get draining(): boolean {
    return this.#desk.draining;
  }

  parse(bytes: Buffer): void {
    this.#inside = true;
    this.#parse(bytes);
  }

  answer(hit: Hit): void {
    this.#desk.requests++;
    this.#send(hit);
    this.#flush();
  }

  left(): void {
    this.#plain = undefined;
    const { timeout } = this.#client;
    if (timeout === this.#desk.idleTimeout) this.#client.setTimeout(this.#timeout);
  }

  readonly #onEnd = (): void => void this.#plain?.handOver();
  readonly #onClose = (): void => this.#plain?.closed();

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
    const { busy, requests, pinned, stopped } = this.connection;
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
    const monotonic = this.#desk.clock.monotonic();
    const whole = chunk.length - at <= MOST_HEAD_BYTES ? chunk.toString('latin1', at) : undefined;
    const hit = whole === undefined ? undefined : this.#known(whole, monotonic);
    if (hit !== undefined) {
      this.#sendHit(hit);
      return chunk.length;
    }
    const end = endOfHead(chunk, at);
    if (end < 0 || end - at > MOST_HEAD_BYTES) return -1;
    const alone = end === chunk.length;
    const text = alone && whole !== undefined ? whole : chunk.toString('latin1', at, end);
    const found = (alone ? undefined : this.#known(text, monotonic)) ?? this.#alike(text, monotonic);
    if (found === undefined) return -1;
    if (found !== 'begun') this.#sendHit(found);
    return end;
  }

  #known(text: string, monotonic: number): Hit | undefined {
    return this.#desk.memo.answer(this.#prefix + text, this.connection.destination, monotonic);
  }

  /** A request that is like a known one: answers it with all of a fresh stored response, or begins to fetch what is not stored. */
  #alike(text: string, monotonic: number): Hit | 'begun' | undefined {
    const { likenesses, memo, ports } = this.#desk;
    const alike = likenesses.read(text);
    if (alike === undefined) return undefined;
    const { head, directives } = alike;
    const own = this.connection.destination;
    const destination = ports.hosts?.shared(own, head) ?? own;
    const key = resourceKey(destination, head);
    if (key === undefined || ports.cache.recalls(key, head)) return undefined;
    const asker = { request: head, directives };
    const decision = ports.cache.preview(key, asker);
    if (decision.kind === 'serve') {
      const { entry, reply, renew } = decision;
      if (renew || reply.kind !== 'full' || entry.status === 204) return undefined;
      memo.learn(this.#prefix + text, { asker, key, destination, entry });
      return this.#known(text, monotonic);
    }
    const alone = decision.kind === 'fetch' && ports.cache.flightFor(key, head) === undefined;
    if (!alone) return undefined;
    ports.cache.count(decision);
    this.#fetch({ text, key, asker, fwd: decision.fwd, prepared: alike.prepared });
    return 'begun';
  }

  #fetch(request: PlainRequest): void {
    const { ports, idleTimeout } = this.#desk;
    const client = this.#client;
    this.#timeout = client.timeout ?? 0;
    if (this.#timeout !== idleTimeout) client.setTimeout(idleTimeout);
    this.connection.enqueue((done) => {
      this.#plain = new PlainExchange(ports, this, request, done);
    });
  }

  #sendHit(hit: Hit): void {
    this.#desk.requests++;
    this.connection.requests++;
    this.#send(hit);
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
      if (client.timeout === idleTimeout && !this.connection.busy) client.setTimeout(timeout);
    });
  }

  /** Gives the parser what is not known here; a header section by itself, where that can be, so that it is learned. */
  #handOver(chunk: Buffer): void {
    if (this.#plain !== undefined) {
      this.#plain.handOver(chunk);
      return;
    }
    const end = this.connection.busy || !this.#between() ? -1 : endOfHead(chunk, 0);
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
    const connection = this.connection;
    connection.learning = true;
    this.#parse(chunk);
    connection.learning = false;
    const { lesson, likeness, waiting } = connection;
    connection.lesson = undefined;
    connection.likeness = undefined;
    if ((lesson ?? likeness) === undefined || waiting > 0 || ODD_LINE.test(text)) return;
    if (betweenRequests(this.#client) !== true) return;
    const { memo, likenesses } = this.#desk;
    if (lesson !== undefined) memo.learn(this.#prefix + text, lesson);
    if (likeness !== undefined) likenesses.learn(text, likeness);
  }
}

/** Where the header section that begins at `at` has ended; -1 when it does not. */
function endOfHead(chunk: Buffer, at: number): number {
  const found = chunk.indexOf(END_OF_HEAD, at, 'latin1');
  return found < 0 ? -1 : found + END_OF_HEAD.length;
}
