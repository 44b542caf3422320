/**
 * Bytes both ways between two TCP connections, so that the two ends notice nothing but the addresses: back-pressure,
 * half-close (RFC 9293 section 3.6) and reset pass through, each in its own direction.
 *
 * ```
 *   a ──read──▶ at most HIGH_WATER queued ──write──▶ b        FIN from a → FIN to b
 *   a ◀─write── at most HIGH_WATER queued ◀──read─── b        a lost     → RST to b
 * ```
 *
 * Should this process die, the kernel closes its sockets. It must not say FIN then: where a protocol ends its data by
 * closing, a part would pass for the whole. So until a FIN is due, closing a relayed socket means RST.
 *
 * There is no idle timeout: a connection may stay silent for hours. Keep-alives and the like are settings of the data
 * path (host/tcp.ts).
 */
import type { Socket } from 'node:net';
import { finishOnClose, resetOnClose } from '../host/libc.js';
import { descriptorOf } from './socket-descriptor.js';

/** Bytes one direction may hold in this process while its reader is slower than its writer, plus one read. */
const HIGH_WATER = 128 * 1024;
const NOTHING = Buffer.alloc(0);

export interface RelayOptions {
  /** Bytes already read from `a`; they go to `b` first. */
  readonly fromA?: Buffer | undefined;
  /** Bytes already read from `b`; they go to `a` first. */
  readonly fromB?: Buffer | undefined;
  /** Once aborted, what becomes of the sockets is no business of the relay any more. */
  readonly letGo?: AbortSignal | undefined;
}

/**
 * Ends a connection with RST instead of FIN, so that a truncated stream never looks complete. A connection still
 * being opened is just given up.
 */
export function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // libuv refuses SO_LINGER while a shutdown is under way (uv_tcp_close_reset) and would leak the handle. By then
  // everything has been written and the FIN is on its way, so closing says the same.
  const shuttingDown = socket.writableEnded && !socket.writableFinished;
  if (socket.connecting || shuttingDown) socket.destroy();
  else socket.resetAndDestroy();
}

/** Until {@link finish}, this socket closes with RST, also when the kernel closes it for a process that was killed. */
function guard(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) resetOnClose(fd);
}

function sendFin(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) finishOnClose(fd);
  socket.end();
}

/** Sends FIN once all that was written before it has left; see {@link reset} for why not at once. */
function finish(socket: Socket): void {
  if (socket.writableLength === 0) sendFin(socket);
  else socket.write(NOTHING, () => sendFin(socket));
}

/** One direction; what is returned lets go of both sockets as they are. */
function pump(from: Socket, to: Socket, early: Buffer | undefined): () => void {
  const forward = (chunk: Buffer): void => {
    to.write(chunk);
    // Not write()'s result: it is false for any chunk above 16 KiB, even one the kernel took at once.
    if (to.writableLength >= HIGH_WATER) from.pause();
  };
  const goOn = (): void => void from.resume();
  const end = (): void => finish(to);
  to.on('drain', goOn);
  if (early !== undefined && early.length > 0) forward(early);
  if (from.readableEnded) end();
  else {
    from.on('data', forward);
    from.once('end', end);
    if (to.writableLength < HIGH_WATER) from.resume();
  }
  return () => {
    from.off('data', forward).off('end', end);
    to.off('drain', goOn);
  };
}

/** Resolves when the socket is closed; one that did not end cleanly in both directions resets the other. */
function closing(socket: Socket, other: Socket, letGo: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const closed = (): void => {
      if (!letGo?.aborted && !(socket.readableEnded && socket.writableFinished)) reset(other);
      resolve();
    };
    if (socket.closed) closed();
    else socket.once('close', closed);
  });
}

/**
 * Relays until both connections are closed. `b` may still be connecting; when that fails, `a` is reset.
 *
 * Both sockets must have an `error` listener: errors arrive here as the `close` that follows them.
 */
export async function relay(a: Socket, b: Socket, { fromA, fromB, letGo }: RelayOptions = {}): Promise<void> {
  a.allowHalfOpen = true;
  b.allowHalfOpen = true;
  const closed = Promise.all([closing(a, b, letGo), closing(b, a, letGo)]);
  if (!a.destroyed && !b.destroyed) {
    guard(a);
    guard(b);
    const pumps = [pump(a, b, fromA), pump(b, a, fromB)];
    letGo?.addEventListener('abort', () => pumps.forEach((release) => release()));
  }
  await closed;
}
