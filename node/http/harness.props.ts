/** A service between raw TCP ends on loopback, for the tests of this folder. */
import { createServer as createHttpServer, request as httpRequest, type RequestListener } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, Server as HttpServer } from 'node:http';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { DiskStore } from '../../cache/disk/store.js';
import type { AdmissionChoice, CachePolicy } from '../../cache/policy.js';
import { ip } from '../../core/address.js';
import type { ContentLimits } from '../../content/service.js';
import type { Clock } from '../../core/clock.js';
import { silentLogger } from '../../core/log.js';
import { relay } from '../relay.js';
import type { HttpContext } from '../session.js';
import { HttpService, type HttpLimits } from './service.js';

const LOOPBACK = '127.0.0.1';

/** Real time plus what a test adds. */
export class ShiftedClock implements Clock {
  #shift = 0;
  now(): number {
    return Date.now() + this.#shift;
  }
  monotonic(): number {
    return performance.now() + this.#shift;
  }
  advance(milliseconds: number): void {
    this.#shift += milliseconds;
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

async function listen(server: Server | HttpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  return (server.address() as AddressInfo).port;
}

/** Waits until a condition holds; fails after twenty seconds, as no machine is that busy. */
export async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !condition();) {
    if (Date.now() > deadline) throw new Error(`never true: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What a service may be given besides its limits; clocks are shared by those that form a chain. */
export interface HarnessOptions extends Partial<CachePolicy> {
  readonly tapAbove?: number;
  readonly name?: string;
  readonly clock?: ShiftedClock;
  readonly content?: ContentLimits;
  readonly disk?: DiskStore;
}

/** Everything a test opens; `close` ends it all. */
export class Harness {
  readonly clock: ShiftedClock;
  readonly service: HttpService;
  readonly #servers: (Server | HttpServer)[] = [];
  readonly #sockets = new Set<Socket>();

  /** What a connection is told that wants to leave. */
  leave: HttpContext['leave'] = () => Promise.resolve({ spliced: false, reason: 'relayed-unsupported' });
  /** How responses go to clients that connect from now on. */
  pipeline: HttpContext['content'];
  /** Why connections stay. */
  readonly stays: string[] = [];

  constructor(
    limits: Partial<HttpLimits> = {},
    cacheBytes = 64 * 2 ** 20,
    spliceAbove = 0,
    {
      name = 'p1',
      clock = new ShiftedClock(),
      content,
      disk,
      tapAbove = 0,
      ...cachePolicy
    }: HarnessOptions = {},
  ) {
    this.clock = clock;
    this.service = new HttpService({
      name,
      cacheBytes,
      spliceAbove,
      tapAbove,
      cachePolicy,
      content,
      disk,
      logger: silentLogger,
      clock: this.clock,
      limits,
    });
  }

  /** An HTTP origin; returns its port. */
  async origin(listener: RequestListener): Promise<number> {
    const server = createHttpServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      // Its clock goes with the node's.
      response.setHeader('Date', new Date(this.clock.now()).toUTCString());
      listener(request, response);
    });
    server.on('connection', (socket) => this.#track(socket));
    this.#servers.push(server);
    return listen(server);
  }

  /** An origin that writes its own bytes. */
  async rawOrigin(onConnection: (socket: Socket) => void): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#track(socket);
      onConnection(socket);
    });
    this.#servers.push(server);
    return listen(server);
  }

  /** An origin that keeps the bytes it reads and answers whenever a header section has ended. */
  async scripted(
    reply: string | ((socket: Socket) => void),
  ): Promise<{ readonly port: number; readonly seen: () => string }> {
    let seen = '';
    const port = await this.rawOrigin((socket) => {
      socket.on('data', (chunk: Buffer) => {
        seen += chunk.toString('latin1');
        if (!seen.includes('\r\n\r\n')) return;
        if (typeof reply === 'string') socket.end(reply, 'latin1');
        else reply(socket);
      });
      socket.on('end', () => socket.end());
    });
    return { port, seen: () => seen };
  }

  /** A port on which the service takes connections for `origin`, as if they were addressed to `address`. */
  async front(
    origin: number,
    address = LOOPBACK,
    through: HttpService = this.service,
    admission?: AdmissionChoice,
  ): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (client) => {
      this.#track(client);
      client.once('data', (first: Buffer) => {
        client.pause();
        void through.serve(client, first, {
          client: { address: ip(LOOPBACK), port: client.remotePort ?? 0 },
          destination: { address: ip(address), port: 80 },
          clientLegs: false,
          admission,
          content: this.pipeline,
          leg: undefined,
          openLeg: () => this.#track(connect(origin, LOOPBACK)),
          join: (leg, fromA) => relay(client, leg, { fromA }),
          leave: (leg, conditions) => this.leave(leg, conditions),
          stays: (reason) => void this.stays.push(reason),
        });
      });
    });
    this.#servers.push(server);
    return listen(server);
  }

  /** Opens a connection and sends `text`. */
  connect(port: number, text: string): Socket {
    const socket = this.#track(connect({ port, host: LOOPBACK, allowHalfOpen: true }));
    socket.write(text, 'latin1');
    return socket;
  }

  /** All that comes back until the other side ends or cuts the connection. */
  async raw(port: number, text: string): Promise<{ text: string; cut: boolean }> {
    const socket = this.connect(port, text);
    let cut = false;
    let all = '';
    socket.on('error', () => (cut = true));
    socket.on('data', (chunk: Buffer) => (all += chunk.toString('latin1')));
    socket.on('end', () => socket.end());
    await new Promise((resolve) => socket.once('close', resolve));
    return { text: all, cut };
  }

  /** One request on a connection of its own; rejects when the response is cut short. */
  ask(port: number, path: string, { method = 'GET', headers = {}, body }: AskOptions = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = { host: 'example.test', ...headers };
      const request = httpRequest({ host: LOOPBACK, port, path, method, headers: sent, agent: false });
      request.on('error', reject);
      request.on('response', (message) => {
        const chunks: Buffer[] = [];
        message.on('data', (chunk: Buffer) => chunks.push(chunk));
        message.on('error', reject);
        message.on('end', () => {
          const { statusCode: status = 0, headers: fields, rawHeaders, trailers } = message;
          resolve({ status, headers: fields, rawHeaders, trailers, body: Buffer.concat(chunks) });
        });
      });
      request.end(body);
    });
  }

  /** A number of `status()`. */
  stat(name: string): number {
    return Number(this.service.status()[name]);
  }

  async close(): Promise<void> {
    this.service.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #track(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }
}
