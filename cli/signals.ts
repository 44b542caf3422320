import { constants } from 'node:os';

/** What a shell adds to the number of the signal that ended a command. */
export const SIGNAL_STATUS = 128;

/** Signals end the process through `exit`, where what is still open is removed. */
export function exitOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(SIGNAL_STATUS + constants.signals[signal]));
  }
}
