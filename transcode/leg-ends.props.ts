/** Two ends of a transformed leg over loopback, for the tests of this folder. */
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { crc32 } from 'node:zlib';
import { libxxhash } from '../host/libxxhash.js';
import { Budget } from './budget.js';
import { agreementOf, DEDUP_BIT } from './capabilities.js';
import { chunkId, ChunkStore } from './chunk-store.js';
import { Dictionaries } from './dictionaries.js';
import { encodeHello, FORM, frameHeader, KIND, word } from './frame.js';
import { LevelCeiling } from './level.js';
import { TransformedLeg, type LegOptions } from './leg.js';
import type { Shared } from './outbound.js';

export const sockets: Socket[] = [];
/** For `afterEach`. */
export function destroyAll(): void {
  for (const socket of sockets.splice(0)) socket.destroy();
}

/** Two ends of one connection over loopback. */
export async function connection(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  const [far] = await accepted;
  server.close();
  await once(near, 'connect');
  sockets.push(near, far);
  for (const socket of [near, far]) socket.on('error', () => undefined);
  return [near, far];
}

export function shared(bytes = 64 * 1024 * 1024): Shared {
  return {
    store: new ChunkStore({ bytes, peers: 8 }),
    dictionaries: new Dictionaries(1024 * 1024),
    ceiling: new LevelCeiling(),
    held: new Budget(64 * 1024 * 1024),
    waiting: new Budget(64 * 1024 * 1024),
    xxh3: libxxhash(),
  };
}

export type Side = Partial<LegOptions> & { shared: Shared };

export async function pair(bits: number, near: Side, far: Side): Promise<[TransformedLeg, TransformedLeg]> {
  const agreement = agreementOf(bits);
  if (agreement === undefined) throw new Error('nothing agreed');
  const [a, b] = await connection();
  const base = { agreement, certain: true, subject: 'D' };
  const legs = [
    new TransformedLeg(a, () => ({ ...base, ...near })),
    new TransformedLeg(b, () => ({ ...base, ...far })),
  ] as const;
  for (const leg of legs) leg.on('error', () => undefined);
  return [...legs];
}

export async function collect(leg: TransformedLeg): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of leg.iterator({ destroyOnReturn: false })) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Sends all of it and ends the direction. */
export async function send(leg: TransformedLeg, bytes: Buffer, piece = 50_000): Promise<void> {
  for (let at = 0; at < bytes.length; at += piece) {
    if (!leg.write(bytes.subarray(at, at + piece))) await once(leg, 'drain');
  }
  leg.end();
}

export const BITS: [string, number][] = [
  ['zstd', 0x0001],
  ['deflate', 0x0002],
  ['dedup', DEDUP_BIT],
  ['zstd and dedup', 0x0001 | DEDUP_BIT],
];

/** A leg whose other end is written by hand, after the hello; `first` is what we say before it. */
export async function byHand(
  side: Side,
  first = '',
): Promise<{ leg: TransformedLeg; raw: Socket; socket: Socket }> {
  const [socket, raw] = await connection();
  const agreement = agreementOf(1 | DEDUP_BIT);
  if (agreement === undefined) throw new Error('nothing agreed');
  const leg = new TransformedLeg(raw, () => ({ agreement, certain: true, subject: 'D', ...side }));
  leg.on('error', () => undefined);
  sockets.push(leg);
  if (first !== '') leg.write(first);
  socket.write(encodeHello({ storeId: Buffer.alloc(8, 1), dictionaryId: Buffer.alloc(8), abilities: 0 }));
  return { leg, raw, socket };
}

/** A frame that refers to a chunk. */
export function reference(chunk: Buffer): Buffer {
  const list = Buffer.concat([word(0x8000_0000 + chunk.length), Buffer.from(chunkId(chunk), 'latin1')]);
  return Buffer.concat([frameHeader(KIND.chunks, FORM.plain, list.length, crc32(chunk)), list]);
}
