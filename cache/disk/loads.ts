/** Reads under way: who asks for the same while one is being read shares it, and what is dropped meanwhile is not given. */
import type { Found } from './object-files.js';

interface Load {
  valid: boolean;
  readonly found: Promise<Found | undefined>;
}

export class Loads {
  readonly #loads = new Map<string, Load>();

  /**
   * What `read` finds, or `undefined` when it was dropped meanwhile or is not there after so many milliseconds, which `late`
   * hears of.
   */
  async load(
    name: string,
    read: () => Promise<Found | undefined>,
    milliseconds: number,
    late: () => void,
  ): Promise<Found | undefined> {
    let load = this.#loads.get(name);
    if (load === undefined) {
      load = { valid: true, found: read().finally(() => this.#loads.delete(name)) };
      this.#loads.set(name, load);
    }
    const found = await within(load.found, milliseconds, late);
    return load.valid ? found : undefined;
  }

  /** What is being read under names that begin like this does not count. */
  drop(prefix: string): void {
    for (const [name, load] of this.#loads) if (name.startsWith(prefix)) load.valid = false;
  }
}

/** What `promise` gives, or `undefined` after so many milliseconds. */
async function within<T>(
  promise: Promise<T>,
  milliseconds: number,
  late: () => void,
): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      late();
      resolve(undefined);
    }, milliseconds);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
