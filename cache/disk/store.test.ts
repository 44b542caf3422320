/** What goes wrong with disks and processes, and what clients get all the same. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { indexFields } from '../fields.js';
import { currentAge, freshnessLeft } from '../freshness.js';
import { contentOf, Disks, response, SetClock } from '../stores.props.js';
import type { StoredResponse } from '../stored.js';
import { dyingIo, faultyIo, type Fault } from './faulty-io.props.js';
import { RETRY_MS } from './health.js';
import { IndexTable, ROW_BYTES } from './index-table.js';
import type { DiskStore } from './store.js';

const disks = new Disks();
afterAll(() => disks.remove());

const NONE = indexFields([]);
const KEY = '192.0.2.1 80 example.test /a';
const OTHER = '192.0.2.1 80 example.test /b';
const LARGE = Buffer.alloc(200_000, 'large ');

async function get(store: DiskStore, key = KEY): Promise<StoredResponse | undefined> {
  return store.get(key, NONE);
}

function filesIn(path: string): string[] {
  const found = readdirSync(path, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** A version of a response: what says which one it is stands in the head and everywhere in the content. */
function version(number: number, size: number): StoredResponse {
  return response(Buffer.alloc(size, `version ${number} `), ['ETag', `"${number}"`]);
}

async function checkVersion(
  entry: StoredResponse | undefined,
  size: (version: number) => number,
): Promise<void> {
  if (entry === undefined) return;
  const number = Number(/\d+/.exec(entry.fields.get('etag')?.[0] ?? '')?.[0]);
  const expected = Buffer.alloc(size(number), `version ${number} `);
  expect((await contentOf(entry)).equals(expected)).toBe(true);
}

async function stream(store: DiskStore, key: string, entry: StoredResponse): Promise<boolean> {
  const writer = store.begin(key, entry);
  for (const block of entry.body) await writer?.write(block);
  return (await writer?.commit()) ?? false;
}

/** Small and large ones, replaced, renewed, streamed and dropped: every kind of step there is. */
async function scenario(store: DiskStore): Promise<void> {
  await store.put(KEY, version(1, 100));
  await store.put(OTHER, version(1, 200_000));
  await store.put(KEY, version(2, 70_000));
  await stream(store, OTHER, version(2, 200_000));
  await store.put(KEY, version(3, 100));
  store.delete(OTHER);
  await store.put(OTHER, version(3, 200_000));
  await store.idle();
}

const SIZES: Record<string, (version: number) => number> = {
  [KEY]: (number) => (number === 2 ? 70_000 : 100),
  [OTHER]: () => 200_000,
};

describe('a process that ends at any step', () => {
  it.each([false, true])('leaves nothing wrong behind (in the middle of a write: %s)', async (half) => {
    for (let step = 0; ; step++) {
      const path = disks.directory();
      const { io, died } = dyingIo(step, half);
      const doomed = await disks.open(path, { io });
      await scenario(doomed);
      const after = await disks.open(path);
      for (const key of [KEY, OTHER]) await checkVersion(await get(after, key), SIZES[key] ?? (() => 0));
      expect(after.stats().corrupt).toBe(0);
      // What was not complete is gone, and what is there is known.
      const bytes = filesIn(path).reduce(
        (sum, file) => sum + Math.ceil(statSync(file).size / 4096) * 4096,
        0,
      );
      expect(after.stats().bytes).toBe(bytes);
      if (died()) continue;
      expect((await get(after))?.fields.get('etag')).toEqual(['"3"']);
      expect((await get(after, OTHER))?.fields.get('etag')).toEqual(['"3"']);
      expect(step).toBeGreaterThan(20);
      break;
    }
  });
});

describe('damaged files', () => {
  it.each([
    ['small', 5000],
    ['large', 200_000],
  ])('a byte that is another one anywhere is found, and the response is gone: %s', async (_, size) => {
    const path = disks.directory();
    const written = await disks.open(path);
    for (let at = 0; at < 24; at++) {
      await written.put(KEY, version(1, size));
      const files = filesIn(path);
      const file = files[at % files.length] ?? '';
      const bytes = readFileSync(file);
      const place = Math.floor((bytes.length * at) / 24);
      bytes.writeUInt8(bytes.readUInt8(place) ^ 0x20, place);
      writeFileSync(file, bytes);
      expect(await get(written)).toBeUndefined();
      await written.idle();
      expect(filesIn(path)).toEqual([]);
    }
    expect(written.stats().corrupt).toBe(24);
  });

  it('a file cut short, or another one in its place, is found at the start', async () => {
    const path = disks.directory();
    const before = await disks.open(path);
    await before.put(KEY, response('one'));
    await before.put(OTHER, response('two'));
    const [first = '', second = ''] = filesIn(path);
    writeFileSync(first, readFileSync(second));
    writeFileSync(second, readFileSync(second).subarray(0, -1));
    const after = await disks.open(path);
    expect(after.stats()).toMatchObject({ entries: 0, corrupt: 2 });
    expect(filesIn(path)).toEqual([]);
  });

  it('while a large one is read: what was given is right, and the rest is an error', async () => {
    const path = disks.directory();
    const store = await disks.open(path, { readWhole: 0 });
    await store.put(KEY, response(Buffer.alloc(600_000, 'abc')));
    const file = filesIn(path).find((name) => name.includes('.')) ?? '';
    const bytes = readFileSync(file);
    bytes.writeUInt8(0, 500_000);
    writeFileSync(file, bytes);
    const entry = await get(store);
    const reader = await entry?.file?.open();
    expect((await reader?.read(0))?.equals(Buffer.alloc(262_144, 'abc'))).toBe(true);
    await expect(reader?.read(262_144)).rejects.toThrow();
    await reader?.close();
    expect(await get(store)).toBeUndefined();
    expect(store.stats().corrupt).toBe(1);
  });
});

describe('a disk that fails', () => {
  it.each(['ENOSPC', 'EIO', 'EROFS'])('%s: left alone for a while, then used again', async (code) => {
    const clock = new SetClock();
    let fault: Fault;
    const io = faultyIo((call) => (['open', 'write', 'rename'].includes(call) ? fault : undefined));
    const store = await disks.open(disks.directory(), { io, clock });
    await store.put(OTHER, response('before'));
    fault = { code };
    expect(await store.put(KEY, response('x'))).toBe(false);
    expect(store.stats()).toMatchObject({ state: 'suspended', errors: 1 });
    fault = undefined;
    expect(await store.put(KEY, response('x'))).toBe(false); // not even tried
    expect(store.stats()).toMatchObject({ skipped: 1, errors: 1 });
    expect(await get(store, OTHER)).toBeDefined(); // what can be read is
    clock.advance(RETRY_MS);
    expect(await store.put(KEY, response('x'))).toBe(true);
    expect(store.stats().state).toBe('ok');
  });

  it('that cannot be read is asked nothing for a while', async () => {
    const clock = new SetClock();
    let fault: Fault;
    const io = faultyIo((call) => (call === 'readFile' ? fault : undefined));
    const store = await disks.open(disks.directory(), { io, clock });
    await store.put(KEY, response('x'));
    fault = { code: 'EIO' };
    expect(await get(store)).toBeUndefined();
    fault = undefined;
    expect(store.get(KEY, NONE)).toBeUndefined();
    clock.advance(RETRY_MS);
    expect(await get(store)).toBeDefined();
  });

  it('at the start is tried again later', async () => {
    const clock = new SetClock();
    let fault: Fault = { code: 'EIO' };
    const io = faultyIo(() => fault);
    const store = await disks.open(disks.directory(), { io, clock });
    expect(await store.put(KEY, response('x'))).toBe(false);
    fault = undefined;
    clock.advance(RETRY_MS);
    await store.put(KEY, response('x')); // begins to look again
    for (let turn = 0; turn < 1000 && !store.writable; turn++) await new Promise(setImmediate);
    expect(await store.put(KEY, response('x'))).toBe(true);
  });

  it('what could not be removed is when it works again', async () => {
    const clock = new SetClock();
    const path = disks.directory();
    let fault: Fault;
    const io = faultyIo((call) => (call === 'unlink' ? fault : undefined));
    const store = await disks.open(path, { io, clock });
    await store.put(KEY, response('x'));
    fault = { code: 'EROFS' };
    store.delete(KEY);
    await store.idle();
    expect(filesIn(path)).toHaveLength(1);
    fault = undefined;
    clock.advance(RETRY_MS);
    await store.put(OTHER, response('y'));
    await store.idle();
    expect(filesIn(path)).toHaveLength(1);
  });
});

describe('time', () => {
  it('the age goes on while nobody runs; a clock that was set back makes a response stale', async () => {
    const path = disks.directory();
    const clock = new SetClock();
    const before = await disks.open(path, { clock });
    clock.advance(10_000);
    await before.put(KEY, response('x'));
    await before.close();
    const later = new SetClock();
    later.wall = clock.wall + 20_000;
    later.mono = 5; // another process's
    const after = await get(await disks.open(path, { clock: later }));
    expect(after && currentAge(after.freshness, later.mono)).toBe(5 + 10 + 20);
    const earlier = new SetClock();
    earlier.wall -= 3_600_000;
    const stale = await get(await disks.open(path, { clock: earlier }));
    expect(stale && freshnessLeft(stale.freshness, earlier.mono)).toBeLessThanOrEqual(0);
  });

  it('the order of use goes across processes, roughly', async () => {
    const path = disks.directory();
    const clock = new SetClock();
    clock.wall = Date.now() + 3_600_000;
    const size = { maxBytes: 40 * 4096, clock };
    const before = await disks.open(path, size);
    const key = (index: number): string => `192.0.2.1 80 example.test /${index}`;
    for (let index = 0; index < 10; index++) await before.put(key(index), response('x'));
    clock.advance(3_600_000);
    await get(before, key(3));
    await before.close();
    const after = await disks.open(path, { maxBytes: 8 * 4096, clock });
    expect(after.stats()).toMatchObject({ entries: 8, evictions: 2 });
    expect(await get(after, key(3))).toBeDefined();
  });
});

describe('the directory', () => {
  it('is refused when others may write it, or when it is none', async () => {
    const open = disks.directory();
    chmodSync(open, 0o777);
    await expect(disks.open(open)).rejects.toMatchObject({
      code: 'cache-directory',
      hint: `chmod 700 ${open}`,
    });
    const file = join(disks.directory(), 'file');
    writeFileSync(file, '');
    await expect(disks.open(file)).rejects.toMatchObject({ code: 'cache-directory' });
    await expect(disks.open(join(file, 'below'))).rejects.toMatchObject({ code: 'cache-directory' });
  });

  it('and what is in it are for their owner only', async () => {
    const path = join(disks.directory(), 'cache');
    const store = await disks.open(path);
    await store.put(KEY, response(LARGE));
    const modes = [
      path,
      ...readdirSync(path, { recursive: true }).map((name) => join(path, String(name))),
    ].map((name) => (statSync(name).isDirectory() ? 'd' : '-') + (statSync(name).mode & 0o777).toString(8));
    expect(new Set(modes)).toEqual(new Set(['d700', '-600']));
  });

  it('files of others in it stay', async () => {
    const path = disks.directory();
    const folder = join(path, 'v1', 'objects', 'ab');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'README'), 'x');
    await disks.open(path);
    expect(filesIn(path)).toHaveLength(1);
  });
});

describe('content that comes', () => {
  it('replaces what is stored when it is complete, and nothing before', async () => {
    const store = await disks.open(disks.directory());
    await store.put(KEY, version(1, 100));
    const writer = store.begin(KEY, version(2, 0));
    expect(await writer?.write(LARGE)).toBe(true);
    expect((await get(store))?.fields.get('etag')).toEqual(['"1"']);
    expect(await writer?.commit()).toBe(true);
    const entry = await get(store);
    expect(entry?.fields.get('etag')).toEqual(['"2"']);
    expect(entry && (await contentOf(entry)).equals(LARGE)).toBe(true);
  });

  it('does not count when it was dropped meanwhile, and leaves nothing when it breaks off', async () => {
    const path = disks.directory();
    const store = await disks.open(path);
    const dropped = store.begin(KEY, version(1, 0));
    await dropped?.write(LARGE);
    store.delete(KEY);
    expect(await dropped?.commit()).toBe(false);
    const broken = store.begin(KEY, version(1, 0));
    await broken?.write(LARGE);
    await broken?.abort();
    await store.idle();
    expect(filesIn(path)).toEqual([]);
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });

  it('ends when it is too large, whatever was announced', async () => {
    const store = await disks.open(disks.directory(), { maxBytes: 2 ** 22 });
    const writer = store.begin(KEY, version(1, 0));
    let taken = true;
    for (let index = 0; index < 5 && taken; index++) taken = (await writer?.write(LARGE)) ?? false;
    expect(taken).toBe(false);
    await store.idle();
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0, skipped: 1 });
  });

  it('stays where it is when its header section is renewed', async () => {
    const path = disks.directory();
    const store = await disks.open(path, { readWhole: 0 });
    await store.put(KEY, response(LARGE, ['ETag', '"1"']));
    const body = filesIn(path).find((name) => name.includes('.')) ?? '';
    const written = statSync(body).ino;
    const entry = await get(store);
    const rawHeaders = ['ETag', '"1"', 'X-New', 'yes'];
    expect(entry && (await store.put(KEY, { ...entry, rawHeaders }))).toBe(true);
    expect(statSync(body).ino).toBe(written);
    const after = await get(await disks.open(path, { readWhole: 0 }));
    expect(after?.fields.get('x-new')).toEqual(['yes']);
    expect(after && (await contentOf(after)).equals(LARGE)).toBe(true);
  });
});

describe('the index', () => {
  it('finds, orders and forgets as a map does, at a known size', () => {
    const table = new IndexTable(100_000);
    const row = (index: number) => ({
      keyHash: [index % 977, index] as const,
      variantHash: [index, 0] as const,
      units: 1,
      suffix: 0,
      vary: 0,
      originHash: 0,
      authorityHash: 0,
      tags: 0,
      used: 10_000 - index,
    });
    for (let index = 0; index < 5000; index++) table.add(row(index));
    for (let index = 0; index < 5000; index += 2)
      table.remove(table.find([index % 977, index], [index, 0]) ?? -1);
    expect(table).toMatchObject({ size: 2500, units: 2500, bytes: 8192 * ROW_BYTES });
    expect(table.find([1, 1], [1, 0])).toBeDefined();
    expect(table.find([2, 2], [2, 0])).toBeUndefined();
    for (let index = 0; index < 2500; index++) table.add(row(10_000 + index));
    table.sortByUse();
    const used = [...table.slots()].map((slot) => table.row(slot).used);
    expect(used).toEqual([...used].sort((one, other) => one - other));
    expect(used).toHaveLength(5000);
  });
});
