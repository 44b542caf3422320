/** The descriptor behind a socket of node:net. */
import type { Socket } from 'node:net';

/** libuv keeps the descriptor to itself; the handle of every TCP socket has it. */
export function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as Socket & { _handle?: { fd?: number } | null })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
