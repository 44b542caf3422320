/**
 * Work on files: for one name in the order in which it was asked, and a few names at a time. Of the names that wait, removals come
 * first: what is to be written waits for its turn in memory, what is to go takes room on the disk.
 */

/** libuv does file work on four threads; some are left to others. */
const MOST_AT_ONCE = 3;

export class FileQueue {
  readonly #last = new Map<string, Promise<unknown>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** Whether something is being done, or waits to be, under a name. */
  has(name: string): boolean {
    return this.#last.has(name);
  }

  /** Runs `work` after everything that was added before under the same name. */
  add<T>(name: string, work: () => Promise<T>, turn: 'next' | 'last' = 'last'): Promise<T> {
    const before = this.#last.get(name) ?? Promise.resolve();
    const run = before.then(() => this.#inTurn(work, turn));
    const last = run.then(ignore, ignore).then(() => {
      if (this.#last.get(name) === last) this.#last.delete(name);
    });
    this.#last.set(name, last);
    return run;
  }

  /** Resolves when what was added so far has been done. */
  async caughtUp(): Promise<void> {
    await Promise.all(this.#last.values());
  }

  /** Resolves when there is nothing to do. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await this.caughtUp();
  }

  async #inTurn<T>(work: () => Promise<T>, turn: 'next' | 'last'): Promise<T> {
    if (this.#running < MOST_AT_ONCE) this.#running++;
    else {
      await new Promise<void>((resolve) => {
        if (turn === 'next') this.#waiting.unshift(resolve);
        else this.#waiting.push(resolve);
      });
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

function ignore(): void {
  // Whoever added the work has its error.
}
