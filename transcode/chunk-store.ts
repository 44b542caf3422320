/**
 * Chunks that have passed this node, and what the node thinks other nodes have of theirs.
 *
 * Knowing is only a guess: the other store may have dropped a chunk or be another one since. What counts is that a
 * reference which cannot be resolved is asked for (`missing`) while its sender still has the bytes.
 */
import { createHash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { ID_LENGTH } from './frame.js';

/** First 16 bytes of SHA-256, one character each: nobody can make two chunks with the same. */
export type ChunkId = string;
export const CHUNK_ID_LENGTH = 16;
/** What an entry of the store needs beside its bytes, measured roughly. */
const OVERHEAD = 200;

export function chunkId(bytes: Uint8Array): ChunkId {
  return createHash('sha256').update(bytes).digest('binary').slice(0, CHUNK_ID_LENGTH);
}

export interface ChunkStoreLimits {
  /** Bytes of chunks, overhead included. */
  readonly bytes: number;
  /** Nodes whose stores are kept track of; the least recently used is forgotten. */
  readonly peers: number;
}

export class ChunkStore {
  /** Another store has another name; 8 bytes. */
  readonly id: Buffer = randomBytes(ID_LENGTH);
  readonly #chunks: LRUCache<ChunkId, Buffer>;
  readonly #peers: LRUCache<string, KnownChunks>;
  readonly #idsPerPeer: number;
  #evictions = 0;
  /** Bytes it may have. */
  readonly limit: number;

  constructor({ bytes, peers }: ChunkStoreLimits) {
    this.limit = bytes;
    this.#chunks = new LRUCache({
      maxSize: bytes,
      sizeCalculation: (chunk) => chunk.length + OVERHEAD,
      dispose: (_chunk, _id, reason) => {
        if (reason === 'evict') this.#evictions++;
      },
    });
    this.#peers = new LRUCache({ max: peers });
    this.#idsPerPeer = Math.max(64, Math.floor(bytes / 8192));
  }

  get bytes(): number {
    return this.#chunks.calculatedSize;
  }

  get size(): number {
    return this.#chunks.size;
  }

  /** Chunks that left to make room. */
  get evictions(): number {
    return this.#evictions;
  }

  get(id: ChunkId): Buffer | undefined {
    return this.#chunks.get(id);
  }

  /** Keeps a copy: a view would keep all of the buffer it is a part of. */
  put(id: ChunkId, bytes: Buffer): void {
    if (this.#chunks.get(id) !== undefined) return;
    const copy = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(copy);
    this.#chunks.set(id, copy);
  }

  /** What the store of that name is thought to have. */
  known(storeId: Buffer): KnownChunks {
    const name = storeId.toString('hex');
    let known = this.#peers.get(name);
    if (known === undefined) this.#peers.set(name, (known = new KnownChunks(this.#idsPerPeer)));
    return known;
  }
}

/** A bounded set; adding moves to the newest end, as a use does in the other store. */
export class KnownChunks {
  readonly #ids: LRUCache<ChunkId, true>;

  constructor(max: number) {
    this.#ids = new LRUCache({ max });
  }

  /** Whether it was known; it is from now on. */
  meet(id: ChunkId): boolean {
    const known = this.#ids.get(id) !== undefined;
    if (!known) this.#ids.set(id, true);
    return known;
  }

  forget(id: ChunkId): void {
    this.#ids.delete(id);
  }
}
