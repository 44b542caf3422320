/** One response that is stored while its content comes. */
import type { BodyWriter } from './body.js';
import type { DiskIo } from './directory.js';
import type { BodyFile } from './format.js';

export interface ContentWriterPort {
  create(): Promise<BodyWriter>;
  /** Makes room for so many bytes in all; `false` when there is none. */
  reserve(bytes: number): boolean;
  /** It ends without being stored, because of an error if there is one. */
  failed(error: unknown): void;
  commit(path: string, bodyFile: BodyFile): Promise<boolean>;
}

/** Room is made in steps of this. */
const STEP_BYTES = 2 ** 20;

/** Its calls are made one after the other. After `false` it has ended. */
export class ContentWriter {
  readonly #io: DiskIo;
  readonly #port: ContentWriterPort;
  #body: BodyWriter | undefined;
  #reserved = 0;
  #ended = false;

  constructor(io: DiskIo, port: ContentWriterPort) {
    this.#io = io;
    this.#port = port;
  }

  async write(chunk: Buffer): Promise<boolean> {
    if (this.#ended) return false;
    try {
      this.#body ??= await this.#port.create();
      const needed = this.#body.length + chunk.length;
      if (needed > this.#reserved) {
        if (!this.#port.reserve(needed + STEP_BYTES) && !this.#port.reserve(needed)) {
          await this.abort();
          return false;
        }
        this.#reserved = needed;
      }
      await this.#body.write(chunk);
      return true;
    } catch (error) {
      await this.#end(error);
      return false;
    }
  }

  /** The content is complete. Returns whether it is stored. */
  async commit(): Promise<boolean> {
    if (this.#ended) return false;
    try {
      const body = (this.#body ??= await this.#port.create());
      const bodyFile = await body.finish();
      this.#ended = true;
      return await this.#port.commit(body.path, bodyFile);
    } catch (error) {
      await this.#end(error);
      return false;
    }
  }

  abort(): Promise<void> {
    return this.#end(undefined);
  }

  async #end(error: unknown): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.failed(error);
    await this.#body?.abort(this.#io);
  }
}
