import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { accepted, failure, portOf, readAll, Sockets } from '../test/loopback.js';
import { relay } from './relay.js';

const sockets = new Sockets();
afterEach(() => sockets.close());

interface Chain {
  readonly client: Socket;
  readonly a: Socket;
  readonly b: Socket;
  readonly server: Socket;
  readonly done: Promise<void>;
}

/** client ─▶ (a relay b) ─▶ server, all over loopback TCP. */
async function chain(early = Buffer.alloc(0)): Promise<Chain> {
  const front = await sockets.listen();
  const back = await sockets.listen();
  const client = sockets.dial(portOf(front));
  const a = await accepted(front);
  const b = sockets.dial(portOf(back));
  const arrived = accepted(back);
  const done = relay(a, b, { fromA: early });
  const server = await arrived;
  return { client, a, b, server, done };
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
  await readAll(socket, (chunk) => void hash.update(chunk));
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
    const front = await sockets.listen();
    const back = await sockets.listen();
    const client = sockets.dial(portOf(front));
    const a = await accepted(front);
    client.end();
    a.resume();
    await once(a, 'end');
    const done = relay(a, sockets.dial(portOf(back)));
    const server = await accepted(back);
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
    const front = await sockets.listen();
    const client = sockets.dial(portOf(front));
    const a = await accepted(front);
    const failed = failure(client);
    await relay(a, sockets.dial(await sockets.refusingPort()));
    expect(await failed).toBe('ECONNRESET');
  });

  it('gives up the next leg when the client is lost while it connects', async () => {
    const front = await sockets.listen();
    const client = sockets.dial(portOf(front));
    const a = await accepted(front);
    // A name that is never resolved keeps the leg connecting.
    const leg = sockets.keep(connect({ port: 9, host: 'never.invalid', lookup: () => undefined }));
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
    await readAll(server, (chunk) => void (received += chunk.length));
    expect(received).toBe(size);
  });
});
