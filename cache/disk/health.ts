/**
 * Whether the disk may be used: after an error it is left alone for a while, and the cache goes on in memory.
 *
 * ```
 *   well ──failed()──▶ suspended ──RETRY_MS──▶ trying ──worked()──▶ well
 *                          ▲────────failed()──────┘
 * ```
 */
import type { Clock } from '../../core/clock.js';
import { messageOf } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';

export const RETRY_MS = 10_000;

export interface HealthEvents {
  /** The first error after the disk was well. */
  failed(error: NodeJS.ErrnoException): void;
  recovered(): void;
}

export class DiskHealth {
  readonly #clock: Clock;
  readonly #events: HealthEvents;
  #until: number | undefined;
  #errors = 0;

  constructor(clock: Clock, events: HealthEvents) {
    this.#clock = clock;
    this.#events = events;
  }

  /** Errors of the disk since the start. */
  get errors(): number {
    return this.#errors;
  }

  get well(): boolean {
    return this.#until === undefined;
  }

  /** Whether something may be tried. */
  get usable(): boolean {
    return this.#until === undefined || this.#clock.monotonic() >= this.#until;
  }

  failed(error: NodeJS.ErrnoException): void {
    this.#errors++;
    const first = this.#until === undefined;
    this.#until = this.#clock.monotonic() + RETRY_MS;
    if (first) this.#events.failed(error);
  }

  /** Something was written. */
  worked(): void {
    if (this.#until === undefined) return;
    this.#until = undefined;
    this.#events.recovered();
  }
}

/** One that says in the log when what is done on the disk fails, and when it works again. */
export function loggedHealth(
  clock: Clock,
  logger: Logger,
  subject: { readonly path: string; readonly what: string },
  recovered: () => void = () => undefined,
): DiskHealth {
  const effect = 'the cache goes on in memory; the disk is tried again from time to time';
  return new DiskHealth(clock, {
    failed: (error) => logger.warn('cache-disk-failed', { ...subject, error: messageOf(error), effect }),
    recovered: () => {
      logger.info('cache-disk-works-again', subject);
      recovered();
    },
  });
}
