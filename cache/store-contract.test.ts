/** What every store does, the same for each: see store-contract.ts. */
import { afterAll, describe, expect, it } from 'vitest';
import type { DiskStore } from './disk/store.js';
import { indexFields } from './fields.js';
import type { Selection, Store } from './store-contract.js';
import { MemoryStore } from './store.js';
import { contentOf, Disks, response } from './stores.props.js';

const disks = new Disks();
afterAll(() => disks.remove());

const KEY = '192.0.2.1 80 example.test /a';
const OTHER = '192.0.2.1 80 example.test /b';
const ELSEWHERE = '192.0.2.2 80 example.test /a';
const NONE = new Map<string, readonly string[]>();

interface Kind {
  readonly name: string;
  readonly open: (maxBytes: number) => Promise<Store>;
}

const kinds: readonly Kind[] = [
  { name: 'memory', open: (maxBytes) => Promise.resolve(new MemoryStore(maxBytes, maxBytes / 8)) },
  { name: 'disk', open: (maxBytes) => disks.open(disks.directory(), { maxBytes }) },
];

async function textOf(store: Store, key: string, ...fields: string[]): Promise<string | undefined> {
  const entry = await store.get(key, indexFields(fields));
  return entry && (await contentOf(entry)).toString();
}

async function selected(store: Store, selection: Selection): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.select(selection)) keys.push(key);
  return keys.sort();
}

describe.each(kinds)('a store: $name', ({ open }) => {
  it('gives back what was put, head and content', async () => {
    const store = await open(2 ** 24);
    const entry = response('content', ['ETag', '"a"', 'X-Odd', 'caf\u00e9']);
    expect(await store.put(KEY, entry)).toBe(true);
    const found = await store.get(KEY, NONE);
    expect(found).toMatchObject({ ...entry, body: found?.body });
    expect(await textOf(store, KEY)).toBe('content');
    expect(await textOf(store, OTHER)).toBeUndefined();
    expect(await textOf(store, ELSEWHERE)).toBeUndefined();
    expect(store.stats()).toMatchObject({ entries: 1, stores: 1 });
  });

  it('keeps a response without content, and one of more than a block', async () => {
    const store = await open(2 ** 26);
    const large = 'x'.repeat(300_001);
    await store.put(KEY, response(''));
    await store.put(OTHER, response(large));
    expect(await textOf(store, KEY)).toBe('');
    expect(await textOf(store, OTHER)).toBe(large);
  });

  it('replaces the same variant, and keeps others beside it', async () => {
    const store = await open(2 ** 24);
    const vary = ['accept-language'];
    const put = (text: string, language: string): unknown =>
      store.put(
        KEY,
        response(text, ['Content-Language', language], { vary, asked: ['Accept-Language', language] }),
      );
    await put('old', 'de');
    await put('new', 'de');
    await put('english', 'en');
    expect(await textOf(store, KEY, 'Accept-Language', 'de')).toBe('new');
    expect(await textOf(store, KEY, 'Accept-Language', 'en')).toBe('english');
    expect(await textOf(store, KEY, 'Accept-Language', 'fr')).toBeUndefined();
    expect(store.stats().entries).toBe(2);
  });

  it('lets all variants go when one names other fields', async () => {
    const store = await open(2 ** 24);
    await store.put(KEY, response('de', [], { vary: ['accept-language'], asked: ['Accept-Language', 'de'] }));
    await store.put(
      KEY,
      response('gzip', [], { vary: ['accept-encoding'], asked: ['Accept-Encoding', 'gzip'] }),
    );
    expect(await textOf(store, KEY, 'Accept-Language', 'de')).toBeUndefined();
    expect(await textOf(store, KEY, 'Accept-Encoding', 'gzip')).toBe('gzip');
  });

  it('bounds the variants of a resource', async () => {
    const store = await open(2 ** 24);
    for (let index = 0; index < 200; index++) {
      await store.put(KEY, response('x', [], { vary: ['x-any'], asked: ['X-Any', String(index)] }));
    }
    expect(store.stats().entries).toBeLessThanOrEqual(64);
    expect(await textOf(store, KEY, 'X-Any', '199')).toBe('x');
  });

  it('drops a variant, a resource, and a group of one origin', async () => {
    const store = await open(2 ** 24);
    const grouped = response('x', ['Cache-Groups', '"news"']);
    for (const key of [KEY, OTHER, ELSEWHERE]) await store.put(key, grouped);
    store.deleteGroup('192.0.2.1 80 example.test', 'sports');
    expect(store.stats().entries).toBe(3);
    store.deleteGroup('192.0.2.1 80 example.test', 'news');
    expect([await textOf(store, KEY), await textOf(store, OTHER)]).toEqual([undefined, undefined]);
    expect(await textOf(store, ELSEWHERE)).toBe('x');
    store.drop(ELSEWHERE, grouped);
    expect(await textOf(store, ELSEWHERE)).toBeUndefined();
    await store.put(KEY, grouped);
    store.delete(KEY);
    expect(await textOf(store, KEY)).toBeUndefined();
    expect(store.stats()).toMatchObject({ entries: 0 });
  });

  it('what is dropped while it is being put is not there afterwards', async () => {
    const store = await open(2 ** 24);
    const put = store.put(KEY, response('x'));
    store.delete(KEY);
    await put;
    expect(await textOf(store, KEY)).toBeUndefined();
    const [first, second] = [store.put(KEY, response('first')), store.put(KEY, response('second'))];
    await Promise.all([first, second]);
    expect(await textOf(store, KEY)).toBe('second');
  });

  it('selects by destination, authority, target, its beginning, and tag', async () => {
    const store = await open(2 ** 24);
    await store.put(KEY, response('x', ['Cache-Tag', 'one, two']));
    await store.put(OTHER, response('x', ['Surrogate-Key', 'two three']));
    await store.put(ELSEWHERE, response('x', ['Cache-Groups', '"four"']));
    expect(await selected(store, {})).toEqual([KEY, OTHER, ELSEWHERE]);
    expect(await selected(store, { destination: '192.0.2.2 80' })).toEqual([ELSEWHERE]);
    expect(await selected(store, { authority: 'example.test', target: '/a' })).toEqual([KEY, ELSEWHERE]);
    expect(await selected(store, { authority: 'other.test', target: '/a' })).toEqual([]);
    expect(await selected(store, { target: '/', prefix: true })).toHaveLength(3);
    expect(await selected(store, { target: '/b', prefix: true })).toEqual([OTHER]);
    expect(await selected(store, { tag: 'two' })).toEqual([KEY, OTHER]);
    expect(await selected(store, { tag: 'four' })).toEqual([ELSEWHERE]);
    expect(await selected(store, { tag: 'five' })).toEqual([]);
  });

  it('stays within its bytes, the least recently used leave', async () => {
    const store = await open(2 ** 20);
    const key = (index: number): string => `192.0.2.1 80 example.test /${index}`;
    for (let index = 0; index < 60; index++) {
      await store.get(key(0), NONE);
      await store.put(key(index), response(Buffer.alloc(40_000, index)));
      expect(store.stats().bytes).toBeLessThanOrEqual(2 ** 20);
    }
    expect(store.stats().evictions).toBe(60 - store.stats().entries);
    expect(await store.get(key(0), NONE)).toBeDefined();
    expect(await store.get(key(1), NONE)).toBeUndefined();
    expect(await store.put(KEY, response(Buffer.alloc(2 ** 18)))).toBe(false);
    expect(await store.get(KEY, NONE)).toBeUndefined();
  });
});

describe('what only the disk has to do', () => {
  it('survives: another process finds what was put', async () => {
    const path = disks.directory();
    const before = await disks.open(path);
    await before.put(KEY, response('kept'));
    await before.close();
    const after: DiskStore = await disks.open(path);
    expect(after.stats()).toMatchObject({ entries: 1, corrupt: 0, state: 'ok' });
    expect(await textOf(after, KEY)).toBe('kept');
  });
});
