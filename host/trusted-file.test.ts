import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readTrusted } from './trusted-file.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tpot-trusted-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function fileIn(...parts: string[]): string {
  const path = join(folder, ...parts);
  writeFileSync(path, 'text', { mode: 0o600 });
  return path;
}

function directory(name: string, mode: number): string {
  mkdirSync(join(folder, name));
  chmodSync(join(folder, name), mode); // whatever the umask is
  return name;
}

const messageOf = (path: string): string => {
  const read = readTrusted(path);
  return 'problem' in read ? read.problem.message : read.text;
};

describe('a directory on the way', () => {
  it.each([
    [0o755, 'text'],
    [0o1777, 'text'],
    [0o777, 'others may put another file in its place'],
    [0o757, 'others may put another file in its place'],
  ])('of mode %o', (mode, expected) => {
    expect(messageOf(fileIn(directory('d', mode), 'f'))).toContain(expected);
  });

  // Only root gives a directory to another group.
  it.runIf(process.getuid?.() === 0)('that a group may write, which is not that of root', () => {
    const path = fileIn(directory('d', 0o775), 'f');
    expect(messageOf(path)).toBe('text');
    chownSync(join(folder, 'd'), 0, 65_534);
    expect(messageOf(path)).toContain('another file in its place');
  });

  it('to which only a link of a link leads', () => {
    const open = directory('open', 0o777);
    fileIn('f');
    symlinkSync('../f', join(folder, open, 'inner'));
    symlinkSync(join('.', open, 'inner'), join(folder, 'outer'));
    expect(messageOf(join(folder, 'f'))).toBe('text');
    expect(messageOf(join(folder, 'outer'))).toContain(join(folder, open));
  });
});

it('what is too long is refused, a file and a device that never ends', () => {
  const path = fileIn('f');
  truncateSync(path, 16 * 2 ** 20 + 1);
  expect(messageOf(path)).toContain('more than 16777216 bytes');
  expect(messageOf('/dev/zero')).toContain('more than 16777216 bytes');
});

it('what is no file is read as it is', () => expect(messageOf('/dev/null')).toBe(''));
