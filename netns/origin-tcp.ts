/** Two services that are not HTTP: one where the server speaks first, one for bulk data in both directions. */
import { createHash } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { content } from './content.js';
import type { OriginEvent } from './origin-events.js';

type Report = (event: OriginEvent) => void;

/** What the banner port sends at once, as an SSH server would (RFC 4253 section 4.2). */
export const BANNER = 'SSH-2.0-tpot-lab\r\n';
const MAX_COMMAND = 64;

const peerOf = (socket: Socket): string => socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';

/** Sends {@link BANNER}, then echoes until the client has finished. */
export function createBannerServer(report: Report): Server {
  return createServer({ allowHalfOpen: true }, (socket) => {
    const peer = peerOf(socket);
    socket.on('error', (error) => report({ event: 'unusual', what: error.message, peer }));
    socket.on('close', () =>
      report({ event: 'connection', service: 'banner', peer, bytes: socket.bytesRead }),
    );
    socket.write(BANNER);
    socket.pipe(socket);
  });
}

/** The first line, and what came after it in the same chunks. */
async function readCommand(socket: Socket): Promise<{ line: string; rest: Buffer }> {
  let seen = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    seen = Buffer.concat([seen, chunk]);
    const end = seen.indexOf('\n');
    if (end >= 0)
      return { line: seen.subarray(0, end).toString('latin1').trim(), rest: seen.subarray(end + 1) };
    if (seen.length > MAX_COMMAND) break;
  }
  return { line: '', rest: seen };
}

async function receive(socket: Socket, first: Buffer): Promise<void> {
  const hash = createHash('sha256').update(first);
  let length = first.length;
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    length += chunk.length;
  }
  socket.end(`${hash.digest('hex')} ${length}\n`);
}

async function converse(socket: Socket): Promise<void> {
  const { line, rest } = await readCommand(socket);
  const size = /^GET (\d{1,12})$/.exec(line)?.[1];
  if (size !== undefined) {
    await pipeline(Readable.from(content(`bulk ${size}`, Number(size)), { objectMode: false }), socket);
  } else if (line === 'PUT') await receive(socket, rest);
  else socket.end('say GET LENGTH or PUT\n');
}

/**
 * Bulk transfers: `GET LENGTH\n` gives that many bytes of the content of `bulk LENGTH`; `PUT\n` takes everything up
 * to the client's FIN and answers `SHA256 LENGTH\n`.
 */
export function createBulkServer(report: Report): Server {
  return createServer({ allowHalfOpen: true }, (socket) => {
    const peer = peerOf(socket);
    socket.on('error', (error) => report({ event: 'unusual', what: error.message, peer }));
    socket.on('close', () => report({ event: 'connection', service: 'bulk', peer, bytes: socket.bytesRead }));
    converse(socket).catch(() => socket.destroy());
  });
}
