import { TpotError } from '../core/errors.js';

export interface WaitOptions {
  /** What is waited for, for the error: "port 80 of origin". */
  readonly what?: string;
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

type Truthy<T> = Exclude<T, false | undefined | null | 0 | ''>;

/** Bounds what never comes. An emulated processor is that slow with what does: it takes seconds to start a program. */
const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_INTERVAL_MS = 15;

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Polls `condition` until it gives something truthy and returns that; what the condition throws passes through.
 *
 * @throws TpotError `timeout` when `timeoutMs` (default 60 s) have passed.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Truthy<T>> {
  const { what = 'a condition', timeoutMs = DEFAULT_TIMEOUT_MS, intervalMs = DEFAULT_INTERVAL_MS } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Truthy<T>;
    if (performance.now() > deadline) {
      throw new TpotError('timeout', `waited ${timeoutMs} ms for ${what}`, { retryable: true });
    }
    await pause(intervalMs);
  }
}
