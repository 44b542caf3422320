/** Reads under way: who asks for the same while one is being read shares it, and what is dropped meanwhile is not given. */
import type { Found } from './object-files.js';

/** A disk that takes this long for a small file is left alone. */
const LOAD_MS = 5000;

interface Load {
  valid: boolean;
  readonly found: Promise<Found | undefined>;
}

export class Loads {
  readonly #loads = new Map<string, Load>();

  /**
   * What `read` finds, or `undefined` when it was dropped meanwhile, or is not there after {@link LOAD_MS}: `late` hears of that.
   */
  async load(
    name: string,
    read: () => Promise<Found | undefined>,
    late: (error: Error) => void,
  ): Promise<Found | undefined> {
    let load = this.#loads.get(name);
    if (load === undefined) {
      load = { valid: true, found: read().finally(() => this.#loads.delete(name)) };
      this.#loads.set(name, load);
    }
    const found = await within(load.found, () =>
      late(new Error(`a small file took more than ${LOAD_MS} ms`)),
    );
    return load.valid ? found : undefined;
  }

  /** What is being read under names that begin like this does not count. */
  drop(prefix: string): void {
    for (const [name, load] of this.#loads) if (name.startsWith(prefix)) load.valid = false;
  }
}

/** What `promise` gives, or `undefined` when that takes too long. */
async function within<T>(promise: Promise<T>, late: () => void): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      late();
      resolve(undefined);
    }, LOAD_MS);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
