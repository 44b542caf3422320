/**
 * HTTP/1.1 on taken connections: one parser and one cache for all of them.
 *
 * ```ts
 * const http = new HttpService({ name: 'p1', cacheBytes: 256 * 2 ** 20, logger, clock });
 * await http.serve(client, firstBytes, { client: from, destination, leg: undefined, openLeg, join });
 * ```
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { HttpCache } from '../../cache/cache.js';
import type { DiskStore } from '../../cache/disk/store.js';
import type { CachePolicy } from '../../cache/policy.js';
import { ContentService, type ContentLimits, type ContentReport } from '../../content/service.js';
import type { Clock } from '../../core/clock.js';
import type { Logger } from '../../core/log.js';
import { reset } from '../relay.js';
import type { HttpContext, HttpServer } from '../session.js';
import { classify } from './classify.js';
import { ClientConnection, type Begin } from './connection.js';
import { Exchange } from './exchange.js';
import type { ExchangePorts } from './fetch.js';
import { Front, FrontDesk } from './front.js';
import { MOST_FIELDS, nodeIdentity } from './headers.js';
import { HostVerifier, type Lookup } from './host-verifier.js';
import { LegPool } from './leg-pool.js';
import { persistence } from './prepared.js';

/** Times in milliseconds. */
export interface HttpLimits {
  /** From the first byte of a request to the end of its header section. */
  readonly headersTimeout: number;
  /** A client connection between requests. */
  readonly keepAliveTimeout: number;
  /** A client connection on which nothing moves during an exchange. */
  readonly idleTimeout: number;
  /** From the end of a forwarded request to the head of its response. */
  readonly responseTimeout: number;
  /** A request that waits for another's fetch. */
  readonly collapseWait: number;
  /** A client that takes nothing of a response for which others wait too. */
  readonly stallTimeout: number;
  /** Next legs kept between requests: per destination, in all, and how long. */
  readonly idleLegsPerName: number;
  readonly idleLegs: number;
  readonly idleLegTimeout: number;
}

const DEFAULT_LIMITS: HttpLimits = {
  headersTimeout: 60_000,
  keepAliveTimeout: 65_000,
  idleTimeout: 600_000,
  responseTimeout: 300_000,
  collapseWait: 5_000,
  stallTimeout: 30_000,
  idleLegsPerName: 32,
  idleLegs: 1024,
  idleLegTimeout: 15_000,
};

const MOST_HEADER_BYTES = 16 * 1024;

export interface HttpServiceOptions {
  /** The node's name: in Via, Cache-Status and error texts. */
  readonly name: string;
  /** See {@link HttpCache}. */
  readonly cacheBytes: number;
  /** Bytes; see {@link ExchangePorts}. Default: 0. */
  readonly spliceAbove?: number;
  /** Bytes; see {@link ExchangePorts}. Default: 0. */
  readonly tapAbove?: number;
  /** See {@link CachePolicy}; what is left out has its default. */
  readonly cachePolicy?: Partial<CachePolicy>;
  /** Keeps responses beyond memory and beyond this process. */
  readonly disk?: DiskStore | undefined;
  /** Looks names up whose addresses may then share what is stored; without it none do. */
  readonly lookup?: Lookup | undefined;
  /** Of content transforms; without it nothing is transformed, whatever a connection's pipeline says. */
  readonly content?: ContentLimits | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly limits?: Partial<HttpLimits>;
}

/** Status lines for what the parser rejects, by its error code. */
const REJECTIONS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

export class HttpService implements HttpServer {
  readonly classify = classify;
  readonly #limits: HttpLimits;
  readonly #ports: ExchangePorts;
  readonly #server: Server;
  readonly #desk: FrontDesk;
  readonly #connections = new Map<Duplex, ClientConnection>();
  #nextId = 1;
  #requests = 0;
  /** Requests that were refused, by the parser's code, and connections that were cut for silence. */
  readonly #rejected: Record<string, number> = {};

  constructor({
    name,
    cacheBytes,
    spliceAbove = 0,
    tapAbove = 0,
    cachePolicy = {},
    disk,
    lookup,
    content,
    logger,
    clock,
    limits,
  }: HttpServiceOptions) {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#ports = {
      cache: new HttpCache({ maxBytes: cacheBytes, clock, policy: cachePolicy, disk }),
      pool: new LegPool({
        idlePerName: this.#limits.idleLegsPerName,
        idle: this.#limits.idleLegs,
        idleTimeout: this.#limits.idleLegTimeout,
      }),
      node: nodeIdentity(name),
      hosts: lookup && new HostVerifier(lookup, clock),
      clock,
      logger,
      responseTimeout: this.#limits.responseTimeout,
      collapseWait: this.#limits.collapseWait,
      spliceAbove,
      tapAbove,
      stallTimeout: this.#limits.stallTimeout,
      content: content && new ContentService(content, logger),
    };
    this.#server = this.#createServer();
    const { keepAliveTimeout, idleTimeout } = this.#limits;
    this.#desk = new FrontDesk(this.#ports, persistence(keepAliveTimeout), idleTimeout);
  }

  /**
   * Serves a connection until it is closed. `first` has been read from `client`, which may be paused and must have an
   * `error` listener. The service owns the socket, and the legs it opens, from here on.
   */
  serve(client: Socket, first: Buffer, context: HttpContext): Promise<void> {
    const connection = new ClientConnection(client, context, this.#nextId++);
    this.#connections.set(client, connection);
    const closed = new Promise<void>((resolve) => {
      const forget = (): void => {
        this.#connections.delete(client);
        connection.close();
        this.#ports.pool.closeIdle(connection.ownLegs);
        resolve();
      };
      if (client.closed) forget();
      else client.once('close', forget);
    });
    if (client.destroyed) return closed;
    client.allowHalfOpen = true; // a client may end its direction behind its last request
    if (first.length > 0) client.unshift(first);
    const listen = (): boolean => this.#server.emit('connection', client);
    connection.unfront = Front.place(client, connection, this.#desk, listen);
    client.resume();
    return closed;
  }

  /** What is stored, for its administrator. */
  get cache(): HttpCache {
    return this.#ports.cache;
  }

  /** The node's identifier in Cache-Status. */
  get identifier(): string {
    return this.#ports.node.cacheStatus;
  }

  /** From now on, connections end after the response under way. */
  drain(): void {
    this.#desk.draining = true;
    for (const { busy, requests, socket } of this.#connections.values()) {
      // One that has not asked anything yet is about to: its first bytes are here already.
      if (!busy && requests > 0) socket.end();
    }
  }

  /** Numbers for `status`. */
  status(): Record<string, unknown> {
    const { cache, pool } = this.#ports;
    const { opened, reused } = pool.counts;
    const legs = { opened, reused, idle: pool.idle };
    const { requests, memo, likenesses } = this.#desk;
    const front = { answered: requests, remembered: memo.size, fields: likenesses.size };
    const counts = { requests: this.#requests + requests, connections: this.#connections.size };
    return { ...cache.stats(), ...counts, front, rejected: { ...this.#rejected }, legs };
  }

  /** What content transforms have done; undefined where there are none. */
  content(): ContentReport | undefined {
    return this.#ports.content?.report();
  }

  /** Commands and modules of pipelines may have changed. */
  renewContent(): void {
    this.#ports.content?.renew();
  }

  /** Cuts every connection and closes every leg. */
  close(): void {
    this.#server.close();
    this.#ports.content?.close();
    for (const client of this.#connections.values()) reset(client.socket);
    this.#ports.pool.destroy();
  }

  #createServer(): Server {
    const { headersTimeout, keepAliveTimeout, idleTimeout } = this.#limits;
    const server = createServer({
      insecureHTTPParser: false,
      requireHostHeader: false, // refusals.ts asks for it, and nothing behind such a request is read
      maxHeaderSize: MOST_HEADER_BYTES,
      headersTimeout,
      keepAliveTimeout,
      requestTimeout: 0, // an upload may take as long as it moves
      connectionsCheckingInterval: Math.min(5_000, headersTimeout),
    });
    server.timeout = idleTimeout;
    server.maxHeadersCount = MOST_FIELDS + 1;
    // Untyped: a client that has sent FIN behind its request still gets the response.
    Object.assign(server, { httpAllowHalfOpen: true });
    const handle = (request: IncomingMessage, response: ServerResponse): void =>
      this.#handle(request, response);
    server.on('request', handle);
    server.on('checkContinue', handle); // the next hop decides about 100
    server.on('checkExpectation', handle);
    const tunnel = (request: IncomingMessage, client: Duplex, rest: Buffer): void =>
      this.#tunnel(request, client, rest);
    server.on('upgrade', tunnel);
    server.on('connect', tunnel);
    server.on('clientError', (error: NodeJS.ErrnoException, client) => this.#reject(error, client));
    server.on('timeout', (client: Duplex) => {
      this.#countRejected('idle');
      this.#cut(client);
    });
    // Nothing listens here, but this event is what starts the watch over `headersTimeout`.
    server.emit('listening');
    return server;
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket);
    if (connection === undefined) {
      request.socket.destroy();
      return;
    }
    const begin: Begin = (done, flight) => {
      this.#requests++;
      response.once('close', () => {
        done();
        // Its head went out before the drain began and promised to go on.
        if (this.#desk.draining && !connection.busy) connection.socket.end();
      });
      if (this.#desk.draining) response.shouldKeepAlive = false;
      const exchange = new Exchange(this.#ports, connection, request, response);
      connection.refuse = (code) => exchange.refuse(code);
      if (flight !== undefined) return exchange.takeOver(flight);
      exchange.run();
      return undefined;
    };
    if (connection.takeOver === undefined) connection.enqueue(begin);
    else connection.takeOver(begin);
  }

  /**
   * Upgrade and CONNECT: from here on the bytes mean something else, so the request goes out as it came and the two
   * connections are joined.
   */
  #tunnel(request: IncomingMessage, client: Duplex, rest: Buffer): void {
    const connection = this.#connections.get(client);
    if (connection?.stopped === true) return; // ends with the answer to the request that was refused
    if (connection === undefined || connection.busy) {
      // Behind requests that are not answered yet; a server may close instead (RFC 9112 section 9.3.2).
      this.#cut(client);
      return;
    }
    connection.socket.setTimeout(0);
    const { method = '', url = '', httpVersion, rawHeaders } = request;
    let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      head += `${rawHeaders[index] ?? ''}: ${rawHeaders[index + 1] ?? ''}\r\n`;
    }
    const fromA = Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), rest]);
    connection.leaveHttp(fromA);
  }

  /** What the parser could not take, or the socket's own error. */
  #reject(error: NodeJS.ErrnoException, client: Duplex): void {
    const connection = this.#connections.get(client);
    const code = error.code ?? '';
    const rejected = code.startsWith('HPE_') || Object.hasOwn(REJECTIONS, code);
    if (rejected) this.#countRejected(code);
    if (connection?.refuse(code) === true) return;
    // An answer now would be taken for that of a request still open.
    if (connection === undefined || connection.busy || !rejected || !client.writable) {
      this.#cut(client);
      return;
    }
    const body = `tpot-node ${this.#ports.node.name}: the request cannot be understood (${code})\n`;
    const fields = `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close`;
    client.write(`HTTP/1.1 ${REJECTIONS[code] ?? '400 Bad Request'}\r\n${fields}\r\n\r\n${body}`);
    connection.socket.destroySoon();
  }

  #countRejected(code: string): void {
    this.#rejected[code] = (this.#rejected[code] ?? 0) + 1;
  }

  /** Closes a connection; with RST when a response is under way, whose end a FIN could be taken for. */
  #cut(client: Duplex): void {
    const connection = this.#connections.get(client);
    if (connection !== undefined && (connection.busy || client.writableLength > 0)) reset(connection.socket);
    else client.destroy();
  }
}
