import { describe, expect, it, vi } from 'vitest';
import { TpotError } from '../core/errors.js';
import { ConfigError } from '../node/config.js';
import {
  EXIT,
  exitStatusOf,
  formatAge,
  formatBytes,
  formatError,
  print,
  printJson,
  section,
  table,
} from './output.js';

describe('errors', () => {
  it.each([
    ['config-invalid', EXIT.configuration],
    ['no-permission', EXIT.noPermission],
    ['no-such-node', EXIT.unavailable],
    ['kernel-feature-missing', EXIT.unavailable],
    ['which-node', EXIT.usage],
    ['still-running', EXIT.failed],
  ])('%s exits %d', (code, status) => expect(exitStatusOf(new TpotError(code, 'x'))).toBe(status));

  it('that are not ours are internal and show where they come from', () => {
    const error = new RangeError('surprise');
    expect(exitStatusOf(error)).toBe(EXIT.internal);
    expect(formatError(error)).toMatch(/^error: RangeError: surprise\n.*output\.test[^]*\nhint: .*defect/);
  });

  it('have their hint on a line of its own', () => {
    expect(formatError(new TpotError('x', 'it broke', { hint: 'Mend it.' }))).toBe(
      'error: it broke\nhint: Mend it.\n',
    );
    expect(formatError(new TpotError('x', 'it broke'))).toBe('error: it broke\n');
  });

  it('of the configuration show every problem with its place and hint', () => {
    const error = new ConfigError([
      { where: 'a.yaml:1:1', message: 'unknown key `x`', hint: 'Keys known here: y.' },
      { where: '--address', message: 'bad', hint: undefined },
    ]);
    expect(formatError(error)).toBe(
      'error: a.yaml:1:1: unknown key `x`\nhint: Keys known here: y.\nerror: --address: bad\n',
    );
  });
});

describe('tables', () => {
  it('are aligned, numbers to the right, nothing as a dash', () => {
    expect(
      table(
        ['NAME', 'COUNT', 'HOP'],
        [
          ['a', 1, null],
          ['longer', 200, '198.18.1.1'],
        ],
      ),
    ).toBe('NAME    COUNT  HOP\na           1  -\nlonger    200  198.18.1.1');
  });

  it('may be empty', () => expect(table(['A', 'B'], [])).toBe('A  B'));

  it('of names and values have a title', () => {
    expect(section('counters', { taken: 3, 'pass-hops': 10 })).toBe(
      'counters:\n  taken      3\n  pass-hops  10',
    );
    expect(section('cache', {})).toBe('cache: none');
    expect(section('kernel', { interfaces: ['eth0'], release: '6.1' })).toContain('interfaces  ["eth0"]');
  });
});

describe('quantities for people', () => {
  it.each([
    [0, '0s'],
    [59, '59s'],
    [61, '1m 1s'],
    [3600, '1h'],
    [93_784, '1d 2h'],
  ])('%d seconds are %s', (seconds, text) => expect(formatAge(seconds)).toBe(text));
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [2 ** 30, '1.0 GiB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));
});

describe('what others have written', () => {
  /** A path or a tag as Node hands it over: bytes from 0x80 on are one character each. */
  const hostile = 'x\u001b]0;owned\u0007\u009b2J\r\nconnections: 7';
  const shown = (show: () => void): string => {
    const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      show();
      return write.mock.calls.map(([text]) => String(text)).join('');
    } finally {
      write.mockRestore();
    }
  };

  it.each([
    ['a table', () => print(table(['URL', 'N'], [[hostile, 1]])), 2],
    ['a section', () => print(section('cache', { [hostile]: hostile, nested: { a: hostile } })), 3],
    ['lines', () => print(`a ${hostile}`), 2],
    ['JSON', () => printJson({ url: hostile }), 1],
    ['an error', () => process.stdout.write(formatError(new TpotError('refused', hostile))), 2],
  ])('%s: no terminal obeys it, and it makes no line where it has no business', (_, show, lines) => {
    const text = shown(show);
    expect(text).toMatch(/^[^\p{Cc}]*(\n[^\p{Cc}]*)*$/u);
    expect(text.trimEnd().split('\n')).toHaveLength(lines);
  });
});

it('a table can have as many rows as a node has connections', () => {
  const text = table(
    ['N'],
    Array.from({ length: 300_000 }, (_, index) => [index]),
  );
  expect(text.slice(-6)).toBe('299999');
});
