/**
 * Real sockets on loopback for tests that need no kernel programs: servers, clients and a data path that takes every
 * connection to its listener and opens every leg to one origin.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type {
  BlackHole,
  DataPath,
  DataPathEvents,
  LegInfo,
  LegOptions,
  SplicedConnection,
  SplicedTotals,
  SpliceOutcome,
  TakenInfo,
  ReturnSource,
  UdpNode,
} from '../node/data-path.js';

const LOOPBACK = '127.0.0.1';

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** What a test opened; {@link close} in its `afterEach`, so that nothing stays behind when it fails. */
export class Sockets {
  readonly #sockets: Socket[] = [];
  readonly #servers: Server[] = [];

  keep(socket: Socket): Socket {
    this.#sockets.push(socket);
    return socket.on('error', () => undefined);
  }

  async listen(): Promise<Server> {
    const server = createServer({ allowHalfOpen: true });
    this.#servers.push(server);
    server.on('connection', (socket) => this.keep(socket));
    server.listen(0, LOOPBACK);
    await once(server, 'listening');
    return server;
  }

  dial(port: number): Socket {
    return this.keep(connect({ port, host: LOOPBACK, allowHalfOpen: true }));
  }

  /** A port on which nobody listens. */
  async refusingPort(): Promise<number> {
    const server = await this.listen();
    const arrived = accepted(server);
    const holder = this.dial(portOf(server));
    await once(holder, 'connect');
    this.keep(await arrived);
    return holder.localPort ?? 0;
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
    for (const server of this.#servers.splice(0)) server.close();
  }
}

export async function accepted(server: Server): Promise<Socket> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  return socket;
}

/**
 * Everything until FIN. Not `for await`, which destroys the socket at the end and with it the other direction.
 * With `each`, chunks go there instead of into the result.
 */
export async function readAll(socket: Socket, each?: (chunk: Buffer) => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', each ?? ((chunk: Buffer) => void chunks.push(chunk)));
  socket.resume();
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

/** Reads until `count` bytes have come; more may have. */
export async function readSome(socket: Socket, count: number): Promise<Buffer> {
  let read = Buffer.alloc(0);
  while (read.length < count) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    read = Buffer.concat([read, chunk]);
  }
  return read;
}

function codeOf(error: NodeJS.ErrnoException | null): string | undefined {
  return error?.code;
}

/** Waits until a socket is closed; the code of what closed it, `undefined` for a clean end. */
export async function failure(socket: Socket): Promise<string | undefined> {
  if (!socket.closed) {
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
  }
  return codeOf(socket.errored);
}

/** Takes every connection to {@link port} and opens every leg to `origin`. */
export class LoopbackDataPath implements DataPath {
  readonly kind = 'tun';
  readonly legs: LegOptions[] = [];
  taken: TakenInfo = { via: 'tunnel', hops: 3, capabilities: 0 };
  leg: LegInfo = { nextHop: undefined, reason: 'plain-no-reply' };
  closed = false;
  /** What {@link setCapabilities} was told. */
  readonly capabilities: number[] = [];
  /** What {@link setRoom} was told. */
  readonly rooms: number[] = [];
  readonly #origin: number;
  readonly #server = createServer({ allowHalfOpen: true, pauseOnConnect: true });

  constructor(origin: number) {
    this.#origin = origin;
  }

  get port(): number {
    return portOf(this.#server);
  }

  async start(events: DataPathEvents): Promise<void> {
    this.#server.on('connection', (socket) => events.connection(socket, this.taken));
    this.#server.listen(0, LOOPBACK);
    await once(this.#server, 'listening');
  }

  drain(): void {
    this.#server.close();
  }

  connect(options: LegOptions): Socket {
    this.legs.push(options);
    return connect({ port: this.#origin, host: LOOPBACK, allowHalfOpen: true });
  }

  setCapabilities(bits: number): void {
    this.capabilities.push(bits);
  }

  legInfo(): LegInfo {
    return this.leg;
  }

  splice(): Promise<SpliceOutcome> {
    return Promise.resolve({ spliced: false, reason: 'relayed-unsupported' });
  }

  spliced(): SplicedConnection[][] {
    return [];
  }

  splicedTotals(): Promise<SplicedTotals> {
    return Promise.resolve({ connections: 0, bytesIn: 0, bytesOut: 0 });
  }

  setRoom(connections: number): void {
    this.rooms.push(connections);
  }

  reconfigure(): void {
    // every connection is taken
  }

  counters(): Record<string, number> {
    return { taken: 1 };
  }

  kernelStatus(): Record<string, unknown> {
    return {};
  }

  blackHoles(): BlackHole[] {
    return [];
  }

  forgetBlackHoles(): number {
    return 0;
  }

  udpNodes(): UdpNode[] {
    return [];
  }

  returnSources(): ReturnSource[] {
    return [];
  }

  close(): void {
    this.closed = true;
    this.#server.close();
  }
}
