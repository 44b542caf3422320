/**
 * The disk store: stored responses in plain files (directory.ts, format.ts), found through an index in memory
 * (index-table.ts), least recently used out first, bounded by bytes.
 *
 * ```
 *   put ─▶ row out ─▶ [ body file ] ─▶ object file ─▶ renamed ─▶ row in       one name's steps, one after the other
 *   get ─▶ row ─▶ object file ─▶ checksums, key ─▶ content: here, read, or a file to stream
 * ```
 *
 * Errors of the disk are nobody else's: what cannot be written is not kept, what cannot be read is not found, and for
 * {@link RETRY_MS} after one the disk is left alone. A damaged file is removed.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/clock.js';
import { silentLogger, type Logger } from '../../core/log.js';
import type { Fields } from '../fields.js';
import { originOf } from '../key.js';
import { meansKey } from '../selection.js';
import type { Selected, Selection, Store } from '../store-contract.js';
import type { StoredHead, StoredResponse } from '../stored.js';
import { CorruptError } from './body.js';
import { Catalogue, groupHash, unitsOf, unitsOfObject } from './catalogue.js';
import { ContentWriter } from './content-writer.js';
import type { DiskStats } from './disk-stats.js';
import { DiskDirectory, isMissing, systemIo, type DiskIo } from './directory.js';
import { bodyFileBytes, type DiskObject, type Moment } from './format.js';
import { Dropped } from './dropped.js';
import { loggedHealth, type DiskHealth } from './health.js';
import type { Row } from './index-table.js';
import {
  bodySuffix,
  hashOf,
  keyPrefix,
  placeNamed,
  placeOf,
  readName,
  type Hash,
  type Place,
} from './names.js';
import { DiskFile, lengthOf, ObjectFiles, type Content, type Write } from './object-files.js';
import { Loads } from './loads.js';
import { FileQueue } from './queue.js';
import { Remover } from './remover.js';
import { scanDirectory } from './scan.js';
import { selectObjects } from './select.js';
import { Writes } from './writes.js';

export interface DiskStoreOptions {
  readonly path: string;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly logger?: Logger;
  /** Content up to this size is read into memory with its header section; a larger one is streamed. Default: 1 MiB. */
  readonly readWhole?: number;
  readonly io?: DiskIo;
}

/** The largest share of the store that one response may take, and the most there can be. */
const MOST_OF_STORE = 1 / 8;
const MOST_OBJECT = 32 * 2 ** 30;
/** Responses that wait to be written: so many, with so many bytes of content. */
const MOST_WAITING = 4096;
const MOST_WAITING_BYTES = 64 * 2 ** 20;
/** Responses whose content is being written as it comes. */
const MOST_STREAMS = 32;
/** A use is noted on the disk when the one noted before is so many seconds ago. */
const USE_SECONDS = 600;
const READ_WHOLE = 2 ** 20;
const FULL = new Set(['ENOSPC', 'EDQUOT']);

const isOvertaken = (write: Write): boolean => write.overtaken;

export class DiskStore implements Store {
  /** Bytes of content that one response may have. */
  readonly maxObject: number;
  readonly #directory: DiskDirectory;
  readonly #io: DiskIo;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #reading: DiskHealth;
  readonly #writing: DiskHealth;
  readonly #catalogue: Catalogue;
  readonly #files: ObjectFiles;
  readonly #remover: Remover;
  readonly #queue = new FileQueue();
  readonly #process = randomBytes(8).toString('hex');
  readonly #writes = new Writes();
  readonly #loads = new Loads();
  #waitingBytes = 0;
  #state: 'unprepared' | 'preparing' | 'scanning' | 'ready' | 'closed' = 'unprepared';
  #scanned: Promise<void> = Promise.resolve();
  #dropped = new Dropped();
  readonly #counts = { hits: 0, corrupt: 0, skipped: 0, stores: 0 };

  private constructor({ path, maxBytes, clock, logger, readWhole, io }: DiskStoreOptions) {
    this.#io = io ?? systemIo;
    this.#directory = new DiskDirectory(path, this.#io);
    this.#clock = clock;
    this.#logger = logger ?? silentLogger;
    this.#catalogue = new Catalogue(maxBytes, (slot) => this.#remove(slot));
    const failed = (place: Place, error: unknown): void => this.#readFailed(place, error);
    const moment = (): Moment => this.#moment();
    this.#files = new ObjectFiles(this.#io, this.#directory, moment, readWhole ?? READ_WHOLE, failed);
    this.maxObject = Math.min(Math.floor(maxBytes * MOST_OF_STORE), MOST_OBJECT);
    this.#reading = loggedHealth(clock, this.#logger, { path, what: 'reading' });
    this.#writing = loggedHealth(clock, this.#logger, { path, what: 'writing' }, () => this.#retryRemovals());
    this.#remover = new Remover(this.#io, this.#directory, (error) => this.#writing.failed(error));
  }

  /**
   * A store in a directory, which is made when it is missing. What is there is looked at behind this (see
   * {@link DiskStore.scanned}); a disk that fails now is tried again later.
   *
   * @throws TpotError `cache-directory` when the directory cannot be used whatever the disk does.
   */
  static async open(options: DiskStoreOptions): Promise<DiskStore> {
    const store = new DiskStore(options);
    await store.#prepare();
    return store;
  }

  /** Resolves when all files have been looked at. */
  get scanned(): Promise<void> {
    return this.#scanned;
  }

  /** Whether something may be written now. */
  get writable(): boolean {
    return this.#prepared && this.#writing.usable;
  }

  get #prepared(): boolean {
    if (this.#state === 'unprepared' && this.#writing.usable) void this.#prepare().catch(() => undefined);
    return this.#state === 'ready' || this.#state === 'scanning';
  }

  get(key: string, fields: Fields): Promise<StoredResponse | undefined> | undefined {
    if (!this.#prepared || !this.#reading.usable) return undefined;
    const place = this.#placeFor(key, fields);
    return place && this.#load(key, place);
  }

  /** Whether {@link DiskStore.get} would have something to read. */
  mayHave(key: string, fields: Fields): boolean {
    return this.#prepared && this.#reading.usable && this.#placeFor(key, fields) !== undefined;
  }

  put(key: string, entry: StoredResponse): Promise<boolean> {
    if (entry.file !== undefined) return this.#renew(key, entry, entry.file);
    const place = placeOf(key, entry.variant);
    const before = this.#displace(place, entry.vary);
    const size = entry.bodyLength;
    const crowded = this.#writes.size >= MOST_WAITING || this.#waitingBytes + size > MOST_WAITING_BYTES;
    if (!this.writable || size > this.maxObject || crowded || entry.pieces !== undefined) {
      if (entry.pieces === undefined) this.#counts.skipped++;
      this.#writes.overtake(place.name);
      if (before !== undefined) this.#discard(place, before);
      return Promise.resolve(false);
    }
    this.#waitingBytes += size;
    const write = this.#writes.create(place, key, entry);
    const written = this.#write(write, entry.body, before);
    return written.finally(() => {
      this.#waitingBytes -= size;
    });
  }

  /**
   * Begins to store a response whose content is still coming; `undefined` when that cannot be now. Only what is committed
   * replaces what is stored.
   */
  begin(key: string, head: StoredHead): ContentWriter | undefined {
    if (!this.writable || this.#writes.streams >= MOST_STREAMS) {
      this.#counts.skipped++;
      return undefined;
    }
    const place = placeOf(key, head.variant);
    const write = this.#writes.create(place, key, head);
    this.#writes.streaming(write);
    let reserved = 0;
    const release = (): void => {
      this.#writes.streamed(write);
      this.#catalogue.release(reserved);
      reserved = 0;
    };
    return new ContentWriter(this.#io, {
      create: () => this.#files.createBody(place),
      reserve: (bytes) => {
        const units = unitsOf(bodyFileBytes(bytes)) - reserved;
        if (write.overtaken || bytes > this.maxObject || !this.#catalogue.reserve(units)) return false;
        reserved += units;
        return true;
      },
      failed: (error) => {
        release();
        if (error === undefined) this.#counts.skipped++;
        else this.#writeFailed(error);
      },
      commit: (path, bodyFile) => {
        release();
        write.made.push(path);
        // Overtaken: only its file is removed.
        const before = write.overtaken ? undefined : this.#displace(place, head.vary);
        return this.#write(write, { path, bodyFile }, before);
      },
    });
  }

  /** Whether a variant is here. */
  has(key: string, entry: StoredHead): boolean {
    return this.#catalogue.slotOf(placeOf(key, entry.variant)) !== undefined;
  }

  /** Drops the variant that `fields` choose. */
  dropChosen(key: string, fields: Fields): void {
    const place = this.#placeFor(key, fields);
    if (place !== undefined) this.#dropPlace(place);
  }

  /** What is being written now, and is meant, will not count; its tags do not matter. */
  overtake(selection: Selection): void {
    this.#writes.overtakeWhere(({ key }) => meansKey(selection, key));
  }

  drop(key: string, entry: StoredHead): void {
    this.#dropPlace(placeOf(key, entry.variant));
  }

  delete(key: string): void {
    const keyHash = hashOf(key);
    const prefix = keyPrefix(keyHash);
    this.#writes.overtakeWhere((write) => write.key === key);
    this.#loads.drop(prefix);
    for (const slot of this.#catalogue.slotsOfKey(keyHash)) this.#remove(slot);
    if (this.#state === 'scanning') this.#deleteUnseen(keyHash);
  }

  /** By hashes: a response of the same origin that is in another group may go with them. */
  deleteGroup(origin: string, group: string): void {
    const hash = groupHash(origin, group);
    if (this.#state === 'scanning') this.#dropped.group(hash);
    this.#writes.overtakeWhere(({ key, head }) => originOf(key) === origin && head.groups.includes(group));
    for (const slot of this.#catalogue.slotsInGroup(hash)) this.#remove(slot);
  }

  select(selection: Selection): AsyncIterable<Selected> {
    const rows = this.#catalogue.select(selection);
    return selectObjects(this.#io, this.#directory, rows, selection, () => this.#moment());
  }

  /** Resolves when nothing is left to be done on the disk. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  /** Resolves when what was asked so far has been done. */
  caughtUp(): Promise<void> {
    return this.#queue.caughtUp();
  }

  /** Takes nothing more; resolves when what was begun is written. */
  async close(): Promise<void> {
    this.#state = 'closed';
    await this.#queue.idle();
  }

  stats(): DiskStats {
    const starting = this.#state === 'preparing' || this.#state === 'scanning';
    return {
      state: !(this.#reading.well && this.#writing.well) ? 'suspended' : starting ? 'starting' : 'ok',
      ...this.#catalogue.stats(),
      ...this.#counts,
      errors: this.#reading.errors + this.#writing.errors,
    };
  }

  #moment(): Moment {
    return { now: this.#clock.now(), monotonic: this.#clock.monotonic(), process: this.#process };
  }

  async #prepare(): Promise<void> {
    this.#state = 'preparing';
    try {
      await this.#directory.prepare();
    } catch (error) {
      this.#state = 'unprepared';
      if ((error as NodeJS.ErrnoException).code === 'cache-directory') throw error;
      this.#writing.failed(error as NodeJS.ErrnoException);
      return;
    }
    this.#state = 'scanning';
    this.#scanned = this.#scan();
  }

  async #scan(): Promise<void> {
    await scanDirectory(this.#io, this.#directory, () => this.#moment(), {
      skips: (name) => this.#writes.has(name) || this.#queue.has(name) || this.#dropped.hasName(name),
      suffixOf: (place) => this.#suffixAt(this.#catalogue.slotOf(place)),
      object: (place, object, bytes, used) => this.#found(place, object, bytes, used),
      damaged: () => {
        this.#counts.corrupt++;
      },
      failed: (error) => this.#reading.failed(error),
      goesOn: () => this.#state === 'scanning',
    });
    if (this.#state !== 'scanning') return;
    this.#state = 'ready';
    this.#dropped = new Dropped();
    this.#catalogue.settle();
    const { entries, bytes } = this.stats();
    this.#logger.info('cache-disk-ready', { entries, bytes });
  }

  /** A file of an earlier process; `false` when it is not to stay. */
  #found(place: Place, { key, head, bodyFile }: DiskObject, bytes: number, used: number): boolean {
    if (this.#catalogue.slotOf(place) !== undefined) return true;
    const units = unitsOfObject(bytes, bodyFile);
    const row = this.#catalogue.rowOf(place, key, head, { units, bodyFile, used });
    if (row === undefined || this.#dropped.hasRow(row)) return false;
    return this.#catalogue.admit(row);
  }

  #suffixAt(slot: number | undefined): number | undefined {
    return slot === undefined ? undefined : this.#catalogue.row(slot).suffix;
  }

  /** Where the variant is that `fields` choose. */
  #placeFor(key: string, fields: Fields): Place | undefined {
    const keyHash = hashOf(key);
    const slot = this.#catalogue.choose(keyHash, fields);
    if (slot !== undefined) {
      const place = this.#catalogue.place(slot);
      this.#use(slot, place);
      return place;
    }
    // Not seen yet, perhaps; most have no variants.
    const scanning = this.#state === 'scanning' && !this.#dropped.hasKey(keyHash);
    return scanning && this.#catalogue.slotsOfKey(keyHash).length === 0 ? placeOf(key, '') : undefined;
  }

  #use(slot: number, { name }: Place): void {
    const seconds = Math.floor(this.#clock.now() / 1000);
    if (seconds - this.#catalogue.touch(slot, seconds) < USE_SECONDS) return;
    this.#io.utimes(this.#directory.file(name), seconds, seconds).catch(() => undefined);
  }

  async #load(key: string, place: Place): Promise<StoredResponse | undefined> {
    const late = (error: Error): void => this.#reading.failed(error);
    const found = await this.#loads.load(place.name, () => this.#files.read(place), late);
    if (found?.key !== key) return undefined;
    this.#reading.worked();
    this.#counts.hits++;
    return found.entry;
  }

  #readFailed(place: Place, error: unknown): void {
    const damaged = error instanceof CorruptError || error instanceof SyntaxError;
    if (!damaged && !isMissing(error)) {
      this.#reading.failed(error as NodeJS.ErrnoException);
      return;
    }
    const slot = this.#catalogue.slotOf(place);
    if (slot === undefined) return;
    if (damaged) this.#counts.corrupt++;
    this.#remove(slot);
  }

  /** Takes rows out that a new response of this place replaces. Returns the body file of its own, 0 for none. */
  #displace(place: Place, vary: readonly string[]): number | undefined {
    for (const slot of this.#catalogue.outdatedBy(place, vary)) this.#remove(slot);
    const own = this.#catalogue.slotOf(place);
    const suffix = this.#suffixAt(own);
    if (own !== undefined) this.#forget(own, place.name);
    return suffix;
  }

  /** A new header section for content that stays where it is. */
  #renew(key: string, entry: StoredResponse, file: unknown): Promise<boolean> {
    const place = placeOf(key, entry.variant);
    const slot = this.#catalogue.slotOf(place);
    const suffix = this.#suffixAt(slot);
    const same = file instanceof DiskFile && suffix === Number.parseInt(file.bodyFile.suffix, 16);
    const vary = slot === undefined ? undefined : this.#catalogue.varyOf(slot);
    if (!this.writable || !same || vary?.join() !== entry.vary.join()) {
      this.drop(key, entry);
      return Promise.resolve(false);
    }
    const write = this.#writes.create(place, key, entry);
    return this.#write(write, file.bodyFile, suffix);
  }

  /** Writes a response in its turn. `before` is the body file of what had its name. */
  #write(write: Write, content: Content, before: number | undefined): Promise<boolean> {
    const { name } = write.place;
    this.#writes.begin(write);
    return this.#queue.add(name, async () => {
      let row: Row | undefined;
      try {
        if (!write.overtaken) row = await this.#store(write, content);
      } catch (error) {
        this.#writeFailed(error);
      }
      if (row === undefined) {
        if (before !== undefined) await this.#remover.remove(name, before);
        // The last first: an object file must not be left without its body file.
        for (const path of write.made.toReversed()) await this.#remover.unlink(path);
      } else if (before !== undefined && before !== 0 && before !== row.suffix) {
        await this.#remover.unlink(this.#directory.file(name, bodySuffix(before)));
      }
      this.#writes.done(write);
      return row !== undefined;
    });
  }

  /** `undefined` when it is not kept. */
  async #store(write: Write, content: Content): Promise<Row | undefined> {
    const { place, key, head } = write;
    const units = unitsOf(bodyFileBytes(lengthOf(content))) + 1;
    if (!this.#catalogue.reserve(units)) {
      this.#counts.skipped++;
      return undefined;
    }
    try {
      const written = await this.#files.write(write, content);
      if (written === undefined) return undefined;
      this.#writing.worked();
      const { bytes, bodyFile } = written;
      const used = Math.floor(this.#clock.now() / 1000);
      const taken = { units: unitsOfObject(bytes, bodyFile), bodyFile, used };
      const row = this.#catalogue.rowOf(place, key, head, taken);
      // Asked again: the name may be another's since the rename began.
      if (row === undefined || isOvertaken(write)) return undefined;
      const old = this.#catalogue.slotOf(place);
      if (old !== undefined) this.#forget(old, place.name);
      if (!this.#catalogue.add(row)) return undefined;
      this.#counts.stores++;
      return row;
    } finally {
      this.#catalogue.release(units);
    }
  }

  #dropPlace(place: Place): void {
    this.#writes.overtakeWhere((write) => write.place.name === place.name);
    const slot = this.#catalogue.slotOf(place);
    if (slot !== undefined) this.#remove(slot);
    else if (this.#state === 'scanning') this.#deleteUnseen(place.keyHash);
  }

  /** Takes a row out; what is being read of it does not count. */
  #forget(slot: number, name: string): void {
    this.#loads.drop(name);
    this.#catalogue.remove(slot);
  }

  /** Takes a row out, and its files off the disk. */
  #remove(slot: number): void {
    const { suffix } = this.#catalogue.row(slot);
    const place = this.#catalogue.place(slot);
    this.#forget(slot, place.name);
    this.#writes.overtake(place.name);
    this.#discard(place, suffix);
  }

  #discard({ name }: Place, suffix: number): void {
    void this.#queue.add(name, () => this.#remover.remove(name, suffix), 'next');
  }

  /** Files of a resource that the look at the start has not come to. */
  #deleteUnseen(keyHash: Hash): void {
    const prefix = keyPrefix(keyHash);
    this.#dropped.key(keyHash);
    const folder = this.#directory.folderOf(prefix);
    void this.#queue.add(prefix, async () => {
      const files = await this.#io.readdir(folder).catch(() => []);
      for (const file of files) {
        const { name } = readName(file) ?? {};
        if (name?.startsWith(prefix) !== true || this.#writes.has(name)) continue;
        if (this.#catalogue.slotOf(placeNamed(name)) === undefined)
          await this.#remover.unlink(`${folder}/${file}`);
      }
    });
  }

  #writeFailed(thrown: unknown): void {
    const error = thrown as NodeJS.ErrnoException;
    this.#writing.failed(error);
    if (FULL.has(error.code ?? '')) this.#catalogue.diskFull();
  }

  #retryRemovals(): void {
    for (const path of this.#remover.leftOver()) void this.#queue.add(path, () => this.#remover.unlink(path));
  }
}
