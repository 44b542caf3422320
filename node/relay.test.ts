import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { relay } from './relay.js';

/** What a test opened; closed after it, however it ended. */
const opened: { sockets: Socket[]; servers: Server[] } = { sockets: [], servers: [] };
afterEach(() => {
  for (const socket of opened.sockets.splice(0)) socket.destroy();
  for (const server of opened.servers.splice(0)) server.close();
});

function keep(socket: Socket): Socket {
  opened.sockets.push(socket);
  socket.on('error', () => undefined);
  return socket;
}

async function listen(): Promise<Server> {
  const server = createServer({ allowHalfOpen: true });
  opened.servers.push(server);
  server.on('connection', keep);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function dial(server: Server): Socket {
  return keep(
    connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true }),
  );
}

interface Chain {
  readonly client: Socket;
  readonly a: Socket;
  readonly b: Socket;
  readonly server: Socket;
  readonly done: Promise<void>;
}

/** client ─▶ (a relay b) ─▶ server, all over loopback TCP. */
async function chain(early = Buffer.alloc(0)): Promise<Chain> {
  const front = await listen();
  const back = await listen();
  const client = dial(front);
  const [a] = (await once(front, 'connection')) as [Socket];
  const b = dial(back);
  const arrived = once(back, 'connection');
  const done = relay(a, b, { fromA: early });
  const [server] = (await arrived) as [Socket];
  return { client, a, b, server, done };
}

/** Not `for await`, which destroys the socket at the end and with it the other direction. */
async function readAll(socket: Socket, each: (chunk: Buffer) => unknown = () => undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => void (each(chunk) ?? chunks.push(chunk)));
  socket.resume();
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

async function failure(socket: Socket): Promise<string | undefined> {
  if (socket.errored === null && !socket.closed) {
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
  }
  return (socket.errored as NodeJS.ErrnoException | null)?.code;
}

/** Sends `bytes` of pseudo-random data and then FIN, minding back-pressure; returns its SHA-256. */
async function send(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const block = randomBytes(1 << 20);
  for (let sent = 0; sent < bytes; sent += block.length) {
    block.writeUInt32LE(sent >>> 20); // no two blocks alike, so that reordering shows
    const copy = Buffer.from(block);
    hash.update(copy);
    if (!socket.write(copy)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

async function receive(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  await readAll(socket, (chunk) => hash.update(chunk));
  return hash.digest('hex');
}

describe('relay', () => {
  it('carries bytes both ways at once, unchanged', async () => {
    const { client, server, done } = await chain();
    const size = 64 << 20;
    const [up, down, gotUp, gotDown] = await Promise.all([
      send(client, size),
      send(server, size),
      receive(server),
      receive(client),
    ]);
    expect(gotUp).toBe(up);
    expect(gotDown).toBe(down);
    await done;
  });

  it('sends early bytes first', async () => {
    const { client, server } = await chain(Buffer.from('early '));
    client.end('late');
    expect((await readAll(server)).toString()).toBe('early late');
  });

  it('keeps a half-closed connection open in the other direction', async () => {
    const { client, server, done } = await chain();
    client.end('question');
    expect((await readAll(server)).toString()).toBe('question');
    server.end('answer');
    expect((await readAll(client)).toString()).toBe('answer');
    await done;
  });

  it('passes on a FIN that had arrived before it began', async () => {
    const front = await listen();
    const back = await listen();
    const client = dial(front);
    const [a] = (await once(front, 'connection')) as [Socket];
    client.end();
    a.resume();
    await once(a, 'end');
    const done = relay(a, dial(back));
    const [server] = (await once(back, 'connection')) as [Socket];
    expect((await readAll(server)).length).toBe(0);
    server.end('still heard');
    expect((await readAll(client)).toString()).toBe('still heard');
    await done;
  });

  it.each(['client', 'server'] as const)('passes a reset by the %s on', async (who) => {
    const ends = await chain();
    ends.client.write('x');
    await once(ends.server, 'data');
    ends.server.write('y');
    await once(ends.client, 'data');
    const other = who === 'client' ? ends.server : ends.client;
    const failed = failure(other);
    ends[who].resetAndDestroy();
    expect(await failed).toBe('ECONNRESET');
    await ends.done;
  });

  it('resets a sender whose reader is gone, even after its FIN', async () => {
    const { client, server, done } = await chain();
    client.end('bye');
    await readAll(server);
    const failed = failure(server);
    client.resetAndDestroy();
    const timer = setInterval(() => server.write('anyone?'), 5); // the reset shows when something is sent
    expect(['ECONNRESET', 'EPIPE']).toContain(await failed);
    clearInterval(timer);
    await done;
  });

  it('resets the client when the next leg is refused', async () => {
    const front = await listen();
    const gone = await listen();
    const port = (gone.address() as AddressInfo).port;
    gone.close();
    const client = dial(front);
    const [a] = (await once(front, 'connection')) as [Socket];
    const failed = failure(client);
    await relay(a, keep(connect({ port, host: '127.0.0.1' })));
    expect(await failed).toBe('ECONNRESET');
  });

  it('gives up the next leg when the client is lost while it connects', async () => {
    const front = await listen();
    const client = dial(front);
    const [a] = (await once(front, 'connection')) as [Socket];
    // A name that is never resolved keeps the leg connecting.
    const leg = keep(connect({ port: 9, host: 'never.invalid', lookup: () => undefined }));
    const done = relay(a, leg);
    client.resetAndDestroy();
    await done;
    expect(leg.destroyed).toBe(true);
  });

  it('holds a bounded amount for a reader that does not read', async () => {
    const { client, a, b, server } = await chain();
    server.pause();
    const size = 64 << 20;
    client.end(Buffer.alloc(size));
    await vi.waitFor(() => expect(a.isPaused() && b.writableLength > 0).toBe(true), 10_000);
    expect(b.writableLength).toBeLessThanOrEqual(192 * 1024);
    expect(a.readableLength).toBeLessThanOrEqual(192 * 1024);
    let received = 0;
    await readAll(server, (chunk) => (received += chunk.length));
    expect(received).toBe(size);
  });
});
