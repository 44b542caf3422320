import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Clock } from './clock.js';
import { createLogger, LOG_LEVELS, type LogFields } from './log.js';

const clock: Clock = { now: () => Date.UTC(2001, 1, 3, 4, 5, 6, 7), monotonic: () => 0 };
const PREAMBLE = 'time=2001-02-03T04:05:06.007Z';

function linesOf(event: string, fields?: LogFields): string[] {
  const lines: string[] = [];
  createLogger((line) => lines.push(line), clock).info(event, fields);
  return lines;
}

/** What a reader of logfmt makes of a line: pairs of key and value, in order. */
function read(line: string): [string, string][] {
  return [...line.trimEnd().matchAll(/(\w+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)/g)].map(
    ([, key = '', value = '']) => [key, value.startsWith('"') ? (JSON.parse(value) as string) : value],
  );
}

const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    'a b=c',
    'x\ntime=1 level=error event=forged',
    '"',
    '\\',
    '" level=error',
    '',
    '\r',
    '\u2028',
    '\u009b2J',
    'é',
  ),
);

describe('a log line', () => {
  it('holds time, level, event and fields', () => {
    expect(
      linesOf('taken', { client: '198.18.0.1', port: 80, bytes: 12n, edge: false, nextHop: undefined }),
    ).toEqual([`${PREAMBLE} level=info event=taken client=198.18.0.1 port=80 bytes=12 edge=false\n`]);
  });

  it('cannot be forged: whatever a value holds, it is one line and reads back as the same fields', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, (event, url, last) => {
        const [line = '', ...more] = linesOf(event, { url, last });
        expect(more).toEqual([]);
        expect(read(line)).toEqual([
          ['time', '2001-02-03T04:05:06.007Z'],
          ['level', 'info'],
          ['event', event],
          ['url', url],
          ['last', last],
        ]);
        expect(line.endsWith('\n')).toBe(true);
        // Nothing that starts a line or moves a terminal's cursor (C0, DEL, C1, the Unicode separators).
        expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('levels', () => {
  it.each(LOG_LEVELS)('from %s on are written', (minimum) => {
    const lines: string[] = [];
    const logger = createLogger((line) => lines.push(line), clock, minimum);
    for (const level of LOG_LEVELS) logger[level](level);
    const expected = LOG_LEVELS.slice(LOG_LEVELS.indexOf(minimum));
    expect(lines.map((line) => read(line)[2]?.[1])).toEqual(expected);
    expect(lines.map((line) => read(line)[1]?.[1])).toEqual(expected);
  });
});
