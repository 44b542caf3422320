/** Typed access to one BPF map: the layouts come from `generated/maps.ts`, so a key is never a loose buffer. */
import koffi from 'koffi';
import { BpfError, checkBpf, lib } from './libbpf.js';
import type { Codec } from './generated/maps.js';

export interface MapSpec<K, V> {
  readonly name: string;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
  readonly maxEntries: number;
  readonly type: number;
}

const ENOENT = koffi.os.errno.ENOENT ?? 2;
const PERCPU_ARRAY = 6;
/** Entries of a batch; more than any bucket of a hash has. */
const BATCH = 1024;
/** What the kernel notes of where it is in a hash. */
const BATCH_POSITION = 4;

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Some entries of a map, read from the kernel's bytes as they are asked for. */
export class Batch<K, V> {
  readonly size: number;
  readonly #spec: MapSpec<K, V>;
  readonly #keys: DataView;
  readonly #values: DataView;

  constructor(spec: MapSpec<K, V>, size: number, keys: DataView, values: DataView) {
    this.#spec = spec;
    this.size = size;
    this.#keys = keys;
    this.#values = values;
  }

  key(index: number): K {
    return this.#spec.key.read(this.#keys, index * this.#spec.key.size);
  }

  value(index: number): V {
    return this.#spec.value.read(this.#values, index * this.#spec.value.size);
  }

  /** A 32-bit member of a value, which stands at `offset` in it. */
  u32(index: number, offset: number): number {
    return this.#values.getUint32(index * this.#spec.value.size + offset, true);
  }

  /** A 64-bit member, exact to 2^53: 104 days in nanoseconds, 9 PB. */
  u64(index: number, offset: number): number {
    return this.u32(index, offset + 4) * 2 ** 32 + this.u32(index, offset);
  }
}

/** One buffer and one view per map, reused for every call: the calls are synchronous. */
export class TypedMap<K, V> {
  readonly fd: number;
  readonly #spec: MapSpec<K, V>;
  readonly #key: Buffer;
  readonly #next: Buffer;
  readonly #value: Buffer;
  readonly #keyView: DataView;
  readonly #nextView: DataView;
  readonly #valueView: DataView;
  readonly #cpus: number;

  constructor(fd: number, spec: MapSpec<K, V>) {
    this.fd = fd;
    this.#spec = spec;
    this.#cpus = spec.type === PERCPU_ARRAY ? checkBpf('count processors', lib.possibleCpus()) : 1;
    this.#key = Buffer.alloc(spec.key.size);
    this.#next = Buffer.alloc(spec.key.size);
    this.#value = Buffer.alloc(spec.value.size * this.#cpus);
    this.#keyView = viewOf(this.#key);
    this.#nextView = viewOf(this.#next);
    this.#valueView = viewOf(this.#value);
  }

  /** Throws BpfError; `errno` E2BIG when the map is full. */
  set(key: K, value: V): void {
    this.#spec.key.write(this.#keyView, key);
    this.#spec.value.write(this.#valueView, value);
    checkBpf(`update ${this.#spec.name}`, lib.mapUpdate(this.fd, this.#key, this.#value, 0));
  }

  get(key: K): V | undefined {
    return this.#lookup(key) ? this.#spec.value.read(this.#valueView) : undefined;
  }

  /** The values of all processors of a per-CPU array. */
  getPerCpu(key: K): V[] {
    if (!this.#lookup(key)) return [];
    return Array.from({ length: this.#cpus }, (_, cpu) =>
      this.#spec.value.read(this.#valueView, cpu * this.#spec.value.size),
    );
  }

  /** The oldest value of a queue, which leaves it. */
  take(): V | undefined {
    const found = this.#absentOrChecked('take from', lib.mapTake(this.fd, null, this.#value));
    return found ? this.#spec.value.read(this.#valueView) : undefined;
  }

  /** Whether there was something to delete. */
  delete(key: K): boolean {
    this.#spec.key.write(this.#keyView, key);
    return this.#absentOrChecked('delete from', lib.mapDelete(this.fd, this.#key));
  }

  /** A walk over a live hash may miss or repeat entries that change meanwhile; it always ends. */
  *keys(): Generator<K> {
    let previous: Buffer | null = null;
    for (let left = this.#spec.maxEntries * 2; left > 0; left--) {
      if (!this.#absentOrChecked('walk', lib.mapNextKey(this.fd, previous, this.#next))) return;
      previous = Buffer.from(this.#next);
      yield this.#spec.key.read(this.#nextView);
    }
  }

  *entries(): Generator<[K, V]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  /**
   * The entries of a hash, `size` at a time: one system call for each batch, which is read when it is asked for, into the
   * memory of the one before. What changes between two batches may be missing or be there twice.
   */
  *batches(size = BATCH): Generator<Batch<K, V>> {
    const { key, value, name } = this.#spec;
    const [keys, values] = [Buffer.alloc(size * key.size), Buffer.alloc(size * value.size)];
    let from: Buffer | null = null;
    for (;;) {
      const to = Buffer.alloc(BATCH_POSITION);
      const count = [size];
      const result = lib.mapLookupBatch(this.fd, from, to, keys, values, count, null);
      if (result < 0 && -result !== ENOENT) throw new BpfError(`walk ${name}`, -result);
      yield new Batch(this.#spec, count[0] ?? 0, viewOf(keys), viewOf(values));
      if (result < 0) return; // the last one
      from = to;
    }
  }

  #lookup(key: K): boolean {
    this.#spec.key.write(this.#keyView, key);
    return this.#absentOrChecked('look up in', lib.mapLookup(this.fd, this.#key, this.#value));
  }

  #absentOrChecked(what: string, result: number): boolean {
    if (result >= 0) return true;
    if (-result === ENOENT) return false;
    throw new BpfError(`${what} ${this.#spec.name}`, -result);
  }
}
