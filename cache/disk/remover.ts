/** Takes files off the disk. What it does not let go of is tried again when it works. */
import { isMissing, type DiskDirectory, type DiskIo } from './directory.js';
import { bodySuffix } from './names.js';

/** Files that are remembered for another try. */
const MOST_LEFT_OVER = 4096;

export class Remover {
  readonly #io: DiskIo;
  readonly #directory: DiskDirectory;
  readonly #failed: (error: NodeJS.ErrnoException) => void;
  readonly #leftOver = new Set<string>();

  constructor(io: DiskIo, directory: DiskDirectory, failed: (error: NodeJS.ErrnoException) => void) {
    this.#io = io;
    this.#directory = directory;
    this.#failed = failed;
  }

  async unlink(path: string): Promise<void> {
    try {
      await this.#io.unlink(path);
    } catch (error) {
      if (isMissing(error)) return;
      if (this.#leftOver.size < MOST_LEFT_OVER) this.#leftOver.add(path);
      this.#failed(error as NodeJS.ErrnoException);
    }
  }

  /** Both files of a response, the object file first: a body file that is left alone means nothing. */
  async remove(name: string, suffix: number): Promise<void> {
    await this.unlink(this.#directory.file(name));
    if (suffix !== 0) await this.unlink(this.#directory.file(name, bodySuffix(suffix)));
  }

  /** What could not be removed; it is forgotten here. */
  leftOver(): string[] {
    const paths = [...this.#leftOver];
    this.#leftOver.clear();
    return paths;
  }
}
