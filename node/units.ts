/** The notations of the configuration: sizes, durations and port ranges. Parsers return `undefined` for anything else. */
import type { PortRange } from '../tpot/policy.js';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** Timers of Node wrap above this many milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const MAX_PORT = 65535;

/** `256MiB`, `1GiB`, `64KiB` or plain bytes, in bytes. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text) ?? [];
  const factor = SIZE_UNITS[unit];
  if (digits === undefined || factor === undefined) return undefined;
  const bytes = Math.round(Number(digits) * factor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The largest unit that gives a whole number, as {@link parseSize} reads it. */
export function formatSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const factor = SIZE_UNITS[unit] ?? 1;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes} bytes`;
}

/** `500ms`, `30s`, `5m`, `1h`, in milliseconds. The unit is never optional: 30 could be either. */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?) ?(ms|s|m|h)$/.exec(text) ?? [];
  const factor = DURATION_UNITS[unit];
  if (digits === undefined || factor === undefined) return undefined;
  const milliseconds = Math.round(Number(digits) * factor);
  return milliseconds <= MAX_TIMER_MS ? milliseconds : undefined;
}

/** The largest unit that gives a whole number, as {@link parseDuration} reads it. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ['h', 'm', 's']) {
    const factor = DURATION_UNITS[unit] ?? 1;
    if (milliseconds >= factor && milliseconds % factor === 0) return `${milliseconds / factor}${unit}`;
  }
  return `${milliseconds}ms`;
}

/** `80` or `8000-8999`. */
export function parsePortRange(text: string): PortRange | undefined {
  const [, first, last] = /^(\d{1,5})(?: ?- ?(\d{1,5}))?$/.exec(text) ?? [];
  if (first === undefined) return undefined;
  const range = { from: Number(first), to: Number(last ?? first) };
  return range.from <= range.to && range.to <= MAX_PORT ? range : undefined;
}

export function formatPortRange(range: PortRange): string {
  return range.from === range.to ? String(range.from) : `${range.from}-${range.to}`;
}
