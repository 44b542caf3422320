import type { Clock } from './clock.js';
import { printableJson } from './printable.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

/** Structured logger: one line per event, `time=… level=… event=… key=value …` (logfmt). */
export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/**
 * Formats one value for logfmt: bare when it needs no quoting, JSON-quoted otherwise, so that a hostile string
 * (a URL, a header) can never forge a line or a field.
 */
function formatValue(value: string | number | bigint | boolean): string {
  const text = String(value);
  return /^[\w.:/@%+,-]+$/.test(text) ? text : printableJson(text);
}

/** Makes a logger that hands each finished line, newline included, to `write`. No I/O happens here. */
export function createLogger(
  write: (line: string) => void,
  clock: Clock,
  minimum: LogLevel = 'info',
): Logger {
  const threshold = LOG_LEVELS.indexOf(minimum);
  const emit = (level: LogLevel, event: string, fields: LogFields = {}): void => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    let line = `time=${new Date(clock.now()).toISOString()} level=${level} event=${formatValue(event)}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${formatValue(value)}`;
    }
    write(`${line}\n`);
  };
  return {
    debug: (event, fields) => emit('debug', event, fields),
    info: (event, fields) => emit('info', event, fields),
    warn: (event, fields) => emit('warn', event, fields),
    error: (event, fields) => emit('error', event, fields),
  };
}

/** A logger that drops everything, for tests and one-shot commands. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
