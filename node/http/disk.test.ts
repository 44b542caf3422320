/** A cache with a disk: what comes from it, what goes to it, and what clients get when it lets them down. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DiskStore, type DiskStoreOptions } from '../../cache/disk/store.js';
import { Harness, ShiftedClock, until } from './harness.props.js';

const LARGE = Buffer.alloc(3_000_000, 'a large content ');
const MEMORY = 4 * 2 ** 20;

let path: string;
let clock: ShiftedClock;
let disk: DiskStore;
const opened: Harness[] = [];

beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'tpot-disk-'));
  clock = new ShiftedClock();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((harness) => harness.close()));
  await disk.close();
  rmSync(path, { recursive: true });
});

interface Stand {
  readonly harness: Harness;
  readonly port: number;
  /** Requests that the origin had. */
  readonly asked: () => number;
}

/** A node over `path`; a second one is what comes after a restart. */
async function stand(cacheBytes = MEMORY, options: Partial<DiskStoreOptions> = {}): Promise<Stand> {
  disk = await DiskStore.open({ path, maxBytes: 256 * 2 ** 20, clock, ...options });
  await disk.scanned;
  const harness = new Harness({}, cacheBytes, 0, { clock, disk });
  opened.push(harness);
  let asked = 0;
  const origin = await harness.origin((request, response) => {
    asked++;
    if (request.method === 'POST') {
      response.end('done');
      return;
    }
    const etag = `"${request.url ?? ''}"`;
    response.setHeader('Cache-Control', 'max-age=1000');
    response.setHeader('ETag', etag);
    response.setHeader('Cache-Tag', 'all');
    if (request.url?.startsWith('/any?') === true) response.setHeader('No-Vary-Search', 'params');
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304).end();
      return;
    }
    const content = request.url === '/large' ? LARGE : Buffer.from('small');
    if (request.url === '/chunked') response.write(LARGE);
    else if (request.url === '/large') response.setHeader('Content-Length', LARGE.length);
    response.end(request.url === '/chunked' ? undefined : content);
  });
  return { harness, port: await harness.front(origin, '192.0.2.80'), asked: () => asked };
}

/** As when the process is killed: only what is on the disk is left. */
async function restart(before: Stand, cacheBytes = MEMORY): Promise<Stand> {
  await disk.idle();
  await before.harness.close();
  opened.splice(opened.indexOf(before.harness), 1);
  return stand(cacheBytes);
}

const bodyFile = (): string =>
  readdirSync(path, { recursive: true })
    .map(String)
    .find((name) => /\.[0-9a-f]{8}$/.test(name)) ?? '';

it('a restart goes on with what was stored, and counts its age', async () => {
  const before = await stand();
  await before.harness.ask(before.port, '/a');
  const after = await restart(before);
  clock.advance(100_000);
  const { body, headers } = await after.harness.ask(after.port, '/a');
  expect(body.toString()).toBe('small');
  expect(headers['cache-status']).toMatch(/^p1; hit; ttl=/);
  expect(Number(headers['age'])).toBeGreaterThanOrEqual(100);
  expect(after.asked()).toBe(0);
  await after.harness.ask(after.port, '/a');
  expect(disk.stats().hits).toBe(1); // the second one came out of memory
});

it('what is read back stands in for other queries, too, and goes with them', async () => {
  const before = await stand();
  await before.harness.ask(before.port, '/any?a=1');
  const { harness, port, asked } = await restart(before);
  await harness.ask(port, '/any?a=1');
  expect((await harness.ask(port, '/any?a=2')).headers['cache-status']).toMatch(/^p1; hit/);
  expect(asked()).toBe(0);
  await harness.ask(port, '/any?a=2', { method: 'POST', body: 'x' });
  expect((await harness.ask(port, '/any?a=1')).headers['cache-status']).toMatch(/^p1; fwd=uri-miss/);
  expect(asked()).toBe(2);
});

it.each(['/large', '/chunked'])(
  'what is too large for memory is stored while it comes: %s',
  async (target) => {
    const { harness, port, asked } = await stand();
    expect((await harness.ask(port, target)).body.equals(LARGE)).toBe(true);
    await until(() => disk.stats().entries === 1);
    const { body, headers } = await harness.ask(port, target);
    expect(body.equals(LARGE)).toBe(true);
    expect(headers['cache-status']).toMatch(/^p1; hit/);
    expect(headers['content-length']).toBe(String(LARGE.length));
    expect(asked()).toBe(1);
    expect(harness.service.status()).toMatchObject({ entries: 0, disk: { entries: 1, state: 'ok' } });
  },
);

it('ranges, conditions and HEAD of a large one need no more of it than they give', async () => {
  const { harness, port, asked } = await stand();
  await harness.ask(port, '/large');
  await until(() => disk.stats().entries === 1);
  const range = (text: string) => harness.ask(port, '/large', { headers: { range: `bytes=${text}` } });
  const part = await range('1000001-1999999');
  expect(part.status).toBe(206);
  expect(part.headers['content-range']).toBe('bytes 1000001-1999999/3000000');
  expect(part.body.equals(LARGE.subarray(1_000_001, 2_000_000))).toBe(true);
  expect((await range('-1')).body.toString()).toBe(LARGE.subarray(-1).toString());
  expect((await range('9999999-')).status).toBe(416);
  const several = await range('0-1,5-6');
  expect([several.status, several.body.length]).toEqual([200, LARGE.length]);
  expect((await harness.ask(port, '/large', { headers: { 'if-none-match': '"/large"' } })).status).toBe(304);
  const head = await harness.ask(port, '/large', { method: 'HEAD' });
  expect([head.headers['content-length'], head.body.length]).toEqual(['3000000', 0]);
  expect(asked()).toBe(1);
});

it('a large one that is stale is validated, and goes on from the disk', async () => {
  const { harness, port, asked } = await stand();
  await harness.ask(port, '/large');
  await until(() => disk.stats().entries === 1);
  const stores = disk.stats().stores;
  clock.advance(2_000_000);
  const { body, headers } = await harness.ask(port, '/large');
  expect(body.equals(LARGE)).toBe(true);
  expect(headers['cache-status']).toMatch(/fwd=stale; fwd-status=304/);
  await until(() => disk.stats().stores === stores + 1);
  expect((await harness.ask(port, '/large')).headers['cache-status']).toMatch(/^p1; hit/);
  expect(asked()).toBe(2);
});

it('damage is never served: found before the head it is a miss, behind it the response is cut', async () => {
  const { harness, port, asked } = await stand();
  const damage = (at: number): void => {
    const file = join(path, bodyFile());
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    writeFileSync(file, bytes);
  };
  await harness.ask(port, '/large');
  await until(() => disk.stats().entries === 1);
  damage(10);
  expect((await harness.ask(port, '/large')).body.equals(LARGE)).toBe(true);
  expect(asked()).toBe(2);
  await until(() => disk.stats().entries === 1);
  damage(2_000_000);
  await expect(harness.ask(port, '/large')).rejects.toThrow();
  expect((await harness.ask(port, '/large')).body.equals(LARGE)).toBe(true);
  expect(disk.stats().corrupt).toBe(2);
});

it('an unsafe request takes it off the disk, too, for the next process as well', async () => {
  const before = await stand();
  for (const target of ['/large', '/a']) await before.harness.ask(before.port, target);
  await until(() => disk.stats().entries === 2);
  for (const target of ['/large', '/a']) await before.harness.ask(before.port, target, { method: 'POST' });
  expect(disk.stats().entries).toBe(0);
  const after = await restart(before);
  expect(disk.stats().entries).toBe(0);
  await after.harness.ask(after.port, '/a');
  expect(after.asked()).toBe(1);
});

it('a download that breaks off leaves nothing', async () => {
  const { harness } = await stand();
  const origin = await harness.scripted((socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\nCache-Control: max-age=60\r\n\r\n`);
    socket.write(LARGE.subarray(0, 2_000_000), () => socket.destroy());
  });
  await expect(harness.ask(await harness.front(origin.port), '/broken')).rejects.toThrow();
  await until(() => disk.stats().skipped === 1 && readdirSync(join(path, 'v1', 'tmp')).length === 0);
  expect(disk.stats()).toMatchObject({ entries: 0, bytes: 0, stores: 0 });
});

it('works without memory', async () => {
  const { harness, port, asked } = await stand(0);
  for (const target of ['/a', '/large']) await harness.ask(port, target);
  await until(() => disk.stats().entries === 2);
  for (const target of ['/a', '/large']) {
    expect((await harness.ask(port, target)).headers['cache-status']).toMatch(/^p1; hit/);
  }
  expect(asked()).toBe(2);
});

it('lists and purges what is in memory and on the disk', async () => {
  const { harness, port } = await stand();
  for (const target of ['/a', '/large']) await harness.ask(port, target);
  await until(() => disk.stats().entries === 2);
  const { cache } = harness.service;
  const listed: string[] = [];
  for await (const { key, where } of cache.list({ tag: 'all' })) listed.push(`${key} ${where}`);
  expect(listed.sort()).toEqual([
    '192.0.2.80 80 example.test /a both',
    '192.0.2.80 80 example.test /large disk',
  ]);
  const gone: string[] = [];
  for await (const key of cache.purge({ tag: 'all' })) gone.push(key);
  expect(gone).toHaveLength(2);
  expect([harness.stat('entries'), disk.stats().entries, bodyFile()]).toEqual([0, 0, '']);
});
