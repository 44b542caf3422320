/** What commands print, and the status they exit with. */
import { ConfigError } from '../node/config.js';
import { messageOf, TpotError } from '../core/errors.js';
import { printable, printableJson, printableLines } from '../core/printable.js';

/** Exit statuses, after sysexits.h where it has one. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unavailable: 69,
  internal: 70,
  noPermission: 77,
  configuration: 78,
} as const;

const EXIT_OF_CODE: Readonly<Record<string, number>> = {
  'config-invalid': EXIT.configuration,
  'interface-missing': EXIT.configuration,
  'cache-directory': EXIT.configuration,
  'no-permission': EXIT.noPermission,
  'no-such-node': EXIT.unavailable,
  'name-in-use': EXIT.unavailable,
  'address-in-use': EXIT.unavailable,
  'cache-directory-in-use': EXIT.unavailable,
  'kernel-feature-missing': EXIT.unavailable,
  'program-missing': EXIT.unavailable,
  'packages-missing': EXIT.unavailable,
  usage: EXIT.usage,
  'which-node': EXIT.usage,
  'bench-unknown': EXIT.usage,
};

/** The status for an error that ended a command. One that is not ours is a defect of the program. */
export function exitStatusOf(error: unknown): number {
  if (!(error instanceof TpotError)) return EXIT.internal;
  return EXIT_OF_CODE[error.code] ?? EXIT.failed;
}

function withHint(message: string, hint: string | undefined): string {
  return printableLines(`error: ${message}\n${hint === undefined ? '' : `hint: ${hint}\n`}`);
}

/** What stderr shows of an error: the message, and on a line of its own what can be done. */
export function formatError(error: unknown): string {
  if (error instanceof ConfigError) {
    return error.problems.map(({ where, message, hint }) => withHint(`${where}: ${message}`, hint)).join('');
  }
  if (error instanceof TpotError) return withHint(error.message, error.hint);
  const stack = error instanceof Error ? error.stack : undefined;
  return withHint(
    stack ?? messageOf(error),
    'This is a defect of tpot-node; please report it with the lines above.',
  );
}

/** One value, on one line, so that it can be piped; whatever strings it has, a terminal shows them. */
export function printJson(value: unknown): void {
  process.stdout.write(`${printableJson(value)}\n`);
}

/** Lines for people. Nothing in them reaches a terminal as a command: names, URLs and paths may be anybody's. */
export function print(text: string): void {
  const shown = printableLines(text);
  process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
}

type Cell = string | number | boolean | null | undefined;

/** Columns as wide as their widest cell; numbers stand right. The first row is the heading. */
export function table(heading: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const shown = (cell: Cell): string => (cell === null || cell === undefined ? '-' : printable(String(cell)));
  const lines = [heading, ...rows].map((row) => heading.map((_, column) => shown(row[column])));
  const columns = heading.map((_, column) => ({
    // No spread: there can be more rows than a call can have arguments.
    width: lines.reduce((most, cells) => Math.max(most, cells[column]?.length ?? 0), 0),
    numeric: rows.length > 0 && rows.every((row) => typeof row[column] === 'number'),
  }));
  const aligned = (cells: readonly string[]): string =>
    columns
      .map(({ width, numeric }, column) => {
        const cell = cells[column] ?? '';
        return numeric ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return lines.map(aligned).join('\n');
}

/** A titled list of names and values, aligned; nested values are printed as JSON. */
export function section(title: string, values: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(values).map(([key, value]): [string, string] => [
    printable(key),
    typeof value === 'string' ? printable(value) : printableJson(value),
  ]);
  if (entries.length === 0) return `${title}: none`;
  const width = Math.max(...entries.map(([key]) => key.length));
  return [`${title}:`, ...entries.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`)].join('\n');
}

/** `3d 4h`, `2h 5m`, `7m 3s`, `12s`: the two largest units. */
export function formatAge(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0s';
  let left = seconds;
  return units
    .slice(first, first + 2)
    .map(([unit, size]) => {
      const count = Math.floor(left / size);
      left -= count * size;
      return `${count}${unit}`;
    })
    .filter((part) => !part.startsWith('0'))
    .join(' ');
}

/** `1.5 MiB`: for people; `--json` has the number. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 ? value : value.toFixed(1)} ${units[power] ?? 'B'}`;
}
