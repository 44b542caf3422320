/** Body files: written block by block while the content comes, read block by block, each checked, at the client's pace. */
import type { FileHandle } from 'node:fs/promises';
import type { StoredFileReader } from '../stored.js';
import { readAt, writeAll, type DiskDirectory, type DiskIo } from './directory.js';
import { BLOCK_BYTES, blockCrc, blocksIn, tableBytes, tableCrc, type BodyFile } from './format.js';

/** Bytes written or read at once. */
const RUN_BLOCKS = 4;
const RUN_BYTES = RUN_BLOCKS * BLOCK_BYTES;

/** The content is not what was written. */
export class CorruptError extends Error {}

/** Writes a body file under a name of its own; it holds {@link RUN_BYTES} of content at most. */
export class BodyWriter {
  readonly #handle: FileHandle;
  readonly #bodyName: string;
  readonly #suffix: string;
  readonly path: string;
  readonly #run = Buffer.allocUnsafeSlow(RUN_BYTES);
  #used = 0;
  #length = 0;
  readonly #table: number[] = [];

  private constructor(path: string, handle: FileHandle, name: string, suffix: string) {
    this.path = path;
    this.#handle = handle;
    this.#bodyName = `${name}.${suffix}`;
    this.#suffix = suffix;
  }

  static async create(directory: DiskDirectory, name: string, suffix: string): Promise<BodyWriter> {
    const { path, handle } = await directory.create();
    return new BodyWriter(path, handle, name, suffix);
  }

  get length(): number {
    return this.#length + this.#used;
  }

  async write(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      const copied = chunk.copy(this.#run, this.#used, at);
      this.#used += copied;
      at += copied;
      if (this.#used === RUN_BYTES) await this.#flush();
    }
  }

  /** Writes what is left, and the table; the file is complete then. */
  async finish(): Promise<BodyFile> {
    await this.#flush();
    const table = Buffer.alloc(this.#table.length * 4);
    this.#table.forEach((crc, index) => table.writeUInt32LE(crc, index * 4));
    await writeAll(this.#handle, table);
    await this.#handle.close();
    return { suffix: this.#suffix, length: this.#length, tableCrc: tableCrc(this.#bodyName, table) };
  }

  async abort(io: DiskIo): Promise<void> {
    await this.#handle.close().catch(() => undefined);
    await io.unlink(this.path).catch(() => undefined);
  }

  async #flush(): Promise<void> {
    const run = this.#run.subarray(0, this.#used);
    for (let at = 0; at < run.length; at += BLOCK_BYTES) {
      const block = run.subarray(at, at + BLOCK_BYTES);
      this.#table.push(blockCrc(this.#bodyName, this.#table.length, block));
    }
    this.#used = 0;
    this.#length += run.length;
    await writeAll(this.#handle, run);
  }
}

/** Reads a body file. Each byte that it gives has passed its checksum. */
export class BodyReader implements StoredFileReader {
  readonly #handle: FileHandle;
  readonly #bodyName: string;
  readonly #length: number;
  readonly #table: Buffer;
  readonly #failed: (error: unknown) => void;

  private constructor(
    handle: FileHandle,
    bodyName: string,
    length: number,
    table: Buffer,
    failed: (error: unknown) => void,
  ) {
    this.#handle = handle;
    this.#bodyName = bodyName;
    this.#length = length;
    this.#table = table;
    this.#failed = failed;
  }

  /**
   * `failed` hears of what goes wrong while it is read.
   *
   * @throws CorruptError, or the error of the disk.
   */
  static async open(
    io: DiskIo,
    path: string,
    name: string,
    { suffix, length, tableCrc: expected }: BodyFile,
    failed: (error: unknown) => void = () => undefined,
  ): Promise<BodyReader> {
    const handle = await io.open(path, 'r');
    try {
      const bodyName = `${name}.${suffix}`;
      const table = await readAt(handle, length, tableBytes(length));
      if (table.length !== tableBytes(length) || tableCrc(bodyName, table) !== expected)
        throw new CorruptError();
      return new BodyReader(handle, bodyName, length, table, failed);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async read(position: number): Promise<Buffer> {
    try {
      return await this.#read(position);
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #read(position: number): Promise<Buffer> {
    const first = Math.floor(position / BLOCK_BYTES);
    const last = Math.min(first + RUN_BLOCKS, blocksIn(this.#length));
    const end = Math.min(last * BLOCK_BYTES, this.#length);
    const from = first * BLOCK_BYTES;
    const run = await readAt(this.#handle, from, end - from);
    if (run.length !== end - from || run.length === 0) throw new CorruptError();
    for (let index = first; index < last; index++) {
      const at = (index - first) * BLOCK_BYTES;
      const block = run.subarray(at, at + BLOCK_BYTES);
      if (blockCrc(this.#bodyName, index, block) !== this.#table.readUInt32LE(index * 4))
        throw new CorruptError();
    }
    return run.subarray(position - from);
  }
}
