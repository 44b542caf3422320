/** Stores a response whose content is too large for memory, while it comes: a reader of its fill that writes it elsewhere. */
import type { Fill } from './fill.js';

/** Where content goes; its calls are made one after the other, and after `false` it has ended. */
export interface ContentSink {
  write(chunk: Buffer): Promise<boolean>;
  /** The content is complete. Returns whether it is stored. */
  commit(): Promise<boolean>;
  abort(): Promise<void>;
}

/** Clients wait for the sink as for the slowest of them, but not for one that takes this long for a chunk. */
const STALL_MS = 5000;

/** Copies `fill` into `sink`; `keep` says at the end whether it is to be stored. */
export function sinkFill(fill: Fill, sink: ContentSink, keep: () => boolean): void {
  let running = false;
  let stalled = false;
  const write = async (chunk: Buffer): Promise<boolean> => {
    const timer = setTimeout(() => {
      stalled = true;
      reader.leave();
    }, STALL_MS).unref();
    const taken = await sink.write(chunk);
    clearTimeout(timer);
    return taken && !stalled;
  };
  const copy = async (): Promise<'wait' | 'done'> => {
    for (;;) {
      const next = reader.next();
      if (next === 'wait') return 'wait';
      if (next === 'end' && keep()) await sink.commit();
      else if (typeof next === 'string' || !(await write(next))) await sink.abort();
      else continue;
      return 'done';
    }
  };
  const run = (): void => {
    if (running) return;
    running = true;
    void copy().then((how) => {
      if (how === 'wait') running = false;
      else reader.leave();
    });
  };
  const reader = fill.readToStore(run);
  run();
}
