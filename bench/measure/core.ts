/** How busy one processor is, from /proc/stat (proc_stat(5)); idle time is measured, not sampled. */
import { readFileSync } from 'node:fs';

export interface CoreSample {
  /** Clock ticks since boot in which the processor had nothing to do. */
  readonly idle: number;
  /** Milliseconds of a steady clock. */
  readonly time: number;
}

/** USER_HZ: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Idle and waiting ticks of processor `core` in the text of /proc/stat. */
export function parseIdleTicks(text: string, core: number): number {
  const fields = (new RegExp(`^cpu${core} +(.*)$`, 'm').exec(text)?.[1] ?? '').split(' ').map(Number);
  const [, , , idle = 0, iowait = 0] = fields;
  return idle + iowait;
}

export function sampleCore(core: number): CoreSample {
  return { idle: parseIdleTicks(readFileSync('/proc/stat', 'latin1'), core), time: performance.now() };
}

/** The share of the time in which it was busy, 0 to 1. */
export function busyBetween(before: CoreSample, after: CoreSample): number {
  const ticks = ((after.time - before.time) / 1000) * TICKS_PER_SECOND;
  return ticks <= 0 ? 0 : Math.min(1, Math.max(0, 1 - (after.idle - before.idle) / ticks));
}
