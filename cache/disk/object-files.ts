/** Stored responses as files: one read, one written in steps of which each may be the last. */
import { randomBytes } from 'node:crypto';
import type { StoredFile, StoredFileReader, StoredHead, StoredResponse } from '../stored.js';
import { BodyReader, BodyWriter, CorruptError } from './body.js';
import { writeAll, type DiskDirectory, type DiskIo } from './directory.js';
import { decodeObject, encodeObject, withoutContent, type BodyFile, type Moment } from './format.js';
import type { Place } from './names.js';

/** Content of this size and less is in the object file. */
const INLINE_BYTES = 64 * 1024;

/** Content that is streamed from a body file. */
export class DiskFile implements StoredFile {
  readonly bodyFile: BodyFile;
  readonly open: () => Promise<StoredFileReader>;

  constructor(bodyFile: BodyFile, open: () => Promise<StoredFileReader>) {
    this.bodyFile = bodyFile;
    this.open = open;
  }
}

/** A write that something else has overtaken does not count. */
export interface Write {
  readonly place: Place;
  readonly key: string;
  readonly head: StoredHead;
  overtaken: boolean;
  /** Files of its own, to be removed when it is not kept. */
  readonly made: string[];
}

export interface Found {
  readonly key: string;
  readonly entry: StoredResponse;
}

/** What a response's content is written from: memory, the body file that it is in, or a file to become that. */
export type Content = readonly Buffer[] | BodyFile | { readonly path: string; readonly bodyFile: BodyFile };

export function lengthOf(content: Content): number {
  if ('path' in content) return content.bodyFile.length;
  return 'suffix' in content ? content.length : content.reduce((sum, block) => sum + block.length, 0);
}

function newSuffix(): string {
  const bytes = randomBytes(4);
  return bytes.readUInt32BE() === 0 ? '00000001' : bytes.toString('hex');
}

export class ObjectFiles {
  readonly #io: DiskIo;
  readonly #directory: DiskDirectory;
  readonly #moment: () => Moment;
  readonly #readWhole: number;
  readonly #failed: (place: Place, error: unknown) => void;

  /** Content above `readWhole` bytes is not read but streamed; `failed` hears what is wrong with a response. */
  constructor(
    io: DiskIo,
    directory: DiskDirectory,
    moment: () => Moment,
    readWhole: number,
    failed: (place: Place, error: unknown) => void,
  ) {
    this.#io = io;
    this.#directory = directory;
    this.#moment = moment;
    this.#readWhole = readWhole;
    this.#failed = failed;
  }

  /** `undefined` when it is not there, or not as it was written. */
  async read(place: Place): Promise<Found | undefined> {
    const { name } = place;
    try {
      const bytes = await this.#io.readFile(this.#directory.file(name));
      const object = decodeObject(name, bytes, this.#moment());
      if (object === undefined) throw new CorruptError();
      const { key, content, bodyFile } = object;
      const entry = withoutContent(object);
      // A copy: what is kept must not keep the rest of the file in memory.
      if (content !== undefined && content.length > 0)
        return { key, entry: { ...entry, body: [Buffer.from(content)] } };
      if (bodyFile === undefined) return { key, entry };
      const file = new DiskFile(bodyFile, () => this.#openBody(place, bodyFile));
      if (bodyFile.length > this.#readWhole) return { key, entry: { ...entry, file } };
      return { key, entry: { ...entry, body: await readAll(file) } };
    } catch (error) {
      this.#failed(place, error);
      return undefined;
    }
  }

  async #openBody(place: Place, bodyFile: BodyFile): Promise<StoredFileReader> {
    const { name } = place;
    const path = this.#directory.file(name, bodyFile.suffix);
    const failed = (error: unknown): void => this.#failed(place, error);
    try {
      return await BodyReader.open(this.#io, path, name, bodyFile, failed);
    } catch (error) {
      failed(error);
      throw error;
    }
  }

  /** A new body file for a place. */
  createBody({ name }: Place): Promise<BodyWriter> {
    return BodyWriter.create(this.#directory, name, newSuffix());
  }

  /** Puts a response into its place; `undefined` when it was overtaken before. Returns the bytes of the object file. */
  async write(
    write: Write,
    content: Content,
  ): Promise<{ readonly bytes: number; readonly bodyFile: BodyFile | undefined } | undefined> {
    const { place, key, head } = write;
    const bodyFile = await this.#placeBody(write, content);
    const blocks = bodyFile ?? (content as readonly Buffer[]);
    const bytes = encodeObject(place.name, key, head, blocks, this.#moment());
    const path = await this.#writeFile(bytes, write);
    if (write.overtaken) return undefined;
    await this.#directory.place(path, place.name);
    write.made.push(this.#directory.file(place.name));
    return { bytes: bytes.length, bodyFile };
  }

  /** The body file that the content is in, under its name; `undefined` when it goes into the object file. */
  async #placeBody(write: Write, content: Content): Promise<BodyFile | undefined> {
    if ('suffix' in content) return content;
    if (!('path' in content) && lengthOf(content) <= INLINE_BYTES) return undefined;
    const { path, bodyFile } = 'path' in content ? content : await this.#writeBody(write, content);
    const { name } = write.place;
    write.made.push(this.#directory.file(name, bodyFile.suffix));
    await this.#directory.place(path, name, bodyFile.suffix);
    return bodyFile;
  }

  async #writeBody(
    write: Write,
    blocks: readonly Buffer[],
  ): Promise<{ readonly path: string; readonly bodyFile: BodyFile }> {
    const writer = await this.createBody(write.place);
    write.made.push(writer.path);
    try {
      for (const block of blocks) await writer.write(block);
      return { path: writer.path, bodyFile: await writer.finish() };
    } catch (error) {
      await writer.abort(this.#io);
      throw error;
    }
  }

  async #writeFile(bytes: Buffer, write: Write): Promise<string> {
    const { path, handle } = await this.#directory.create();
    write.made.push(path);
    try {
      await writeAll(handle, bytes);
    } finally {
      await handle.close();
    }
    return path;
  }
}

async function readAll(file: DiskFile): Promise<Buffer[]> {
  const reader = await file.open();
  try {
    const blocks: Buffer[] = [];
    for (let at = 0; at < file.bodyFile.length;) {
      const block = await reader.read(at);
      blocks.push(block);
      at += block.length;
    }
    return blocks;
  } finally {
    await reader.close();
  }
}
