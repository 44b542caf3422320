/** The disk store in processes that are killed at any moment, and on a disk that is full. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { builtFile } from '../host/paths.js';
import { fixture } from './chain.js';

const KILLS = Number(process.env['DISK_KILLS'] ?? 300);
const MODULE = builtFile('cache', 'disk/store.js');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tpot-disk-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function line(child: ChildProcess, begin: string): Promise<string[]> {
  if (child.stdout === null) throw new Error('no output');
  for await (const text of createInterface({ input: child.stdout })) {
    if (text.startsWith(begin)) return text.split(' ').slice(1);
  }
  throw new Error(`it ended without saying ${begin}`);
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

test(`killed ${KILLS} times, it never gives a wrong byte, and goes on with what it had`, async () => {
  let found = 0;
  for (let round = 1; round <= KILLS; round++) {
    const args = [fixture('disk-writer.mjs'), MODULE, directory, String(8 * 2 ** 20), String(round)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [hits = '', wrong, corrupt] = await line(child, 'checked');
      expect([round, wrong, corrupt]).toEqual([round, '0', '0']);
      found += Number(hits);
      // Any moment will do; this is no wait for something.
      await delay(Math.random() * 40);
    } finally {
      await kill(child);
    }
  }
  expect(found).toBeGreaterThan(KILLS * 5);
});

test('on a full disk it goes on with what it has, nothing of it wrong', async () => {
  const command = `mount -t tmpfs -o size=3m tmpfs "$1" && chmod 700 "$1" && exec "$2" "$3" "$4" "$1" ${64 * 2 ** 20} 7`;
  const args = [
    '-m',
    'sh',
    '-c',
    command,
    'sh',
    directory,
    process.execPath,
    fixture('disk-writer.mjs'),
    MODULE,
  ];
  const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [state, errors, wrong] = await line(child, 'errors');
    expect([state, wrong]).toEqual(['suspended', '0']);
    expect(Number(errors)).toBeGreaterThan(0);
  } finally {
    await kill(child);
  }
});
