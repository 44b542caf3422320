/**
 * Bypass lists as people write them: `PREFIX [PORTS]` in the configuration, `to PREFIX [PORTS]` or
 * `from PREFIX [PORTS]` on a line of an included file. `*` is every address of both families.
 */
import { dirname, resolve } from 'node:path';
import { compileBypass, type BypassEntry } from '../tpot/bypass.js';
import { readTrusted } from '../host/trusted-file.js';
import { parseBypass, type RawBypass } from './bypass-entry.js';
import type { ConfigProblem } from './config-file.js';
import { formatPortRange } from './units.js';

/** Half of TPOT_MAX_BYPASS: two lists are in the kernel while one replaces the other. */
const MAX_PREFIXES = 65_536;
/** TPOT_BYPASS_RANGES. */
const MAX_RANGES = 8;
const SIDES: Readonly<Record<string, BypassEntry['side']>> = { to: 'destination', from: 'source' };
const LINE_HINT =
  'A line is `to PREFIX [PORTS]` or `from PREFIX [PORTS]`; PREFIX may be `*`, PORTS is 22 or 80,8000-8999.';

export interface BypassList {
  readonly entries: readonly BypassEntry[];
  readonly problems: readonly ConfigProblem[];
}

function parseLine(line: string): readonly BypassEntry[] | undefined {
  const [, word = '', rest = ''] = /^\s*(\S+)\s+(.*)$/.exec(line) ?? [];
  const side = SIDES[word];
  return side === undefined ? undefined : parseBypass(rest)?.map((entry) => ({ side, ...entry }));
}

/** The entries of an included file; `#` begins a comment. */
export function parseBypassFile(file: string, text: string): BypassList {
  const entries: BypassEntry[] = [];
  const problems: ConfigProblem[] = [];
  for (const [index, written] of text.split('\n').entries()) {
    const line = written.replace(/#.*/, '').trim();
    if (line === '') continue;
    const parsed = parseLine(line);
    if (parsed !== undefined) entries.push(...parsed);
    else {
      const message = `${JSON.stringify(line)} is no bypass entry`;
      problems.push({ where: `${file}:${index + 1}:1`, message, hint: LINE_HINT });
    }
  }
  return { entries, problems };
}

function readIncluded(file: string): BypassList {
  const read = readTrusted(file);
  return 'text' in read
    ? parseBypassFile(file, read.text)
    : { entries: [], problems: [{ where: file, ...read.problem }] };
}

function limits(entries: readonly BypassEntry[], where: string): ConfigProblem[] {
  const rows = compileBypass(entries);
  const crowded = rows.find(({ ports }) => ports.length > MAX_RANGES);
  const problems: ConfigProblem[] = [];
  if (rows.length > MAX_PREFIXES) {
    const message = `\`bypass\` has ${rows.length} prefixes, more than the ${MAX_PREFIXES} possible`;
    problems.push({ where, message, hint: 'Use wider prefixes.' });
  }
  if (crowded !== undefined) {
    const written = crowded.ports.map(formatPortRange).join(',');
    const message = `\`bypass\` has more than ${MAX_RANGES} ranges of ports for one prefix: ${written}`;
    problems.push({ where, message, hint: 'Use wider ranges, or leave the ports out.' });
  }
  return problems;
}

/** Everything the key `bypass` names. Files are looked for beside the configuration, `base`. */
export function resolveBypass(raw: RawBypass, base: string, where: string): BypassList {
  const own = Object.entries(SIDES).flatMap(([word, side]) =>
    (raw[word as 'to' | 'from'] ?? []).flatMap((text) =>
      (parseBypass(text) ?? []).map((entry) => ({ side, ...entry })),
    ),
  );
  const included = (raw.files ?? []).map((file) => readIncluded(resolve(dirname(base), file)));
  const entries = [...own, ...included.flatMap((list) => list.entries)];
  return { entries, problems: [...included.flatMap((list) => list.problems), ...limits(entries, where)] };
}
