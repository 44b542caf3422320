import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../core/clock.js';
import { silentLogger } from '../core/log.js';
import { openDisk } from './cache-disk.js';

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'tpot-disk-'));
});
afterEach(() => rmSync(path, { recursive: true }));

const open = (name: string, directory = path) =>
  openDisk({ name, cacheDisk: { path: directory, maxBytes: 2 ** 20 } }, systemClock, silentLogger);

it('belongs to one node at a time', async () => {
  await (await open('p1'))?.close();
  await expect(open('p2')).rejects.toMatchObject({
    code: 'cache-directory-in-use',
    message: `cache.disk.path: ${path} is the node p1's already (process ${process.pid})`,
  });
});

it('is made when it is missing, and refused where it cannot be, or others may write it', async () => {
  await (await open('p1', join(path, 'new', 'one')))?.close();
  writeFileSync(join(path, 'file'), '');
  await expect(open('p1', join(path, 'file', 'x'))).rejects.toMatchObject({ code: 'cache-directory' });
  chmodSync(path, 0o777);
  await expect(open('p1')).rejects.toMatchObject({ code: 'cache-directory', hint: `chmod 700 ${path}` });
});

it('is none when none is configured, or it has no room', async () => {
  expect(await openDisk({ name: 'p1', cacheDisk: undefined }, systemClock, silentLogger)).toBeUndefined();
  const none = { name: 'p1', cacheDisk: { path, maxBytes: 0 } };
  expect(await openDisk(none, systemClock, silentLogger)).toBeUndefined();
});
