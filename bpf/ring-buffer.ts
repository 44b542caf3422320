/**
 * Reading a BPF ring buffer (BPF_MAP_TYPE_RINGBUF) in place: its pages are mapped into this process, so that taking
 * records needs no system call. Layout: kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst.
 *
 * ```
 *   page 0           position of the reader, written here
 *   page 1           position of the writers
 *   from page 2 on   the data, twice in a row, so that no record is broken at its end
 * ```
 */
import koffi from 'koffi';
import { SystemCallError } from '../host/libc.js';

const libc = koffi.load('libc.so.6');
const cMmap = libc.func(
  'void *mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const cMunmap = libc.func('int munmap(void *address, size_t length)');
const pageSize = Number(libc.func('long sysconf(int name)')(30)); // _SC_PAGESIZE

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = 0xffffffffffffffffn;

/** In a record's header, beside its length; behind that follows its place, which is not needed. */
const BUSY = 0x80000000;
const DISCARDED = 0x40000000;
const HEADER = 8;
/** Bytes after which the writers are told that there is room again. */
const SHOW_EACH = 1 << 20;

/** Bytes such a map can have: a power of two, and whole pages. */
export function ringSize(atLeast: number): number {
  let size = pageSize;
  while (size < atLeast) size *= 2;
  return size;
}

interface Mapping {
  readonly address: unknown;
  readonly length: number;
  readonly memory: ArrayBuffer;
}

function map(fd: number, offset: number, length: number, protection: number): Mapping {
  const address: unknown = cMmap(0, length, protection, MAP_SHARED, fd, offset);
  if (koffi.address(address) === MAP_FAILED) throw new SystemCallError('mmap', koffi.errno());
  return { address, length, memory: koffi.view(address, length) };
}

export class RingReader {
  readonly #consumer: Mapping;
  readonly #producer: Mapping;
  readonly #read: BigInt64Array;
  readonly #written: BigInt64Array;
  readonly #words: Int32Array;
  readonly #data: Buffer;
  readonly #mask: number;
  #position: number;
  #closed = false;

  /** `size` is the map's `max_entries`. Throws SystemCallError. */
  constructor(fd: number, size: number) {
    this.#consumer = map(fd, 0, pageSize, PROT_READ | PROT_WRITE);
    try {
      this.#producer = map(fd, pageSize, pageSize + 2 * size, PROT_READ);
    } catch (error) {
      cMunmap(this.#consumer.address, this.#consumer.length);
      throw error;
    }
    this.#read = new BigInt64Array(this.#consumer.memory, 0, 1);
    this.#written = new BigInt64Array(this.#producer.memory, 0, 1);
    this.#words = new Int32Array(this.#producer.memory, pageSize);
    this.#data = Buffer.from(this.#producer.memory, pageSize);
    this.#mask = size - 1;
    this.#position = Number(Atomics.load(this.#read, 0));
  }

  /** Whether there may be something to take. */
  get hasMore(): boolean {
    return !this.#closed && Number(Atomics.load(this.#written, 0)) > this.#position;
  }

  /**
   * Hands over what is in the ring, oldest first. A record's bytes are gone when `each` returns. `false` when one is
   * being written at this moment: it, and what came behind it, is left for the next time.
   */
  drain(each: (record: Buffer) => void): boolean {
    if (this.#closed) return true;
    const until = Number(Atomics.load(this.#written, 0));
    let shown = this.#position;
    while (this.#position < until) {
      const at = this.#position & this.#mask;
      const header = Atomics.load(this.#words, at >> 2);
      if ((header & BUSY) !== 0) break;
      const length = header & ~DISCARDED;
      if ((header & DISCARDED) === 0) each(this.#data.subarray(at + HEADER, at + HEADER + length));
      this.#position += (HEADER + length + 7) & ~7;
      if (this.#position - shown < SHOW_EACH) continue;
      shown = this.#position;
      this.#showPosition();
    }
    this.#showPosition();
    return this.#position >= until;
  }

  #showPosition(): void {
    Atomics.store(this.#read, 0, BigInt(this.#position));
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { address, length } of [this.#producer, this.#consumer]) cMunmap(address, length);
  }
}
