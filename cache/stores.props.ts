/** Stored responses and disk stores for the tests of this folder. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../core/clock.js';
import { NO_RESPONSE_DIRECTIVES } from './cache-control.js';
import { DiskStore, type DiskStoreOptions } from './disk/store.js';
import { indexFields, listFields } from './fields.js';
import { cacheGroups } from './invalidation.js';
import type { StoredResponse } from './stored.js';
import { variantKey } from './vary.js';

/** Time that a test sets. */
export class SetClock implements Clock {
  wall = Date.UTC(2030, 0, 1);
  mono = 1000;
  now(): number {
    return this.wall;
  }
  monotonic(): number {
    return this.mono;
  }
  advance(milliseconds: number): void {
    this.wall += milliseconds;
    this.mono += milliseconds;
  }
}

/** A response with `body`; `asked` are the fields of its request, `sent` its own. */
export function response(
  body: Buffer | string,
  sent: readonly string[] = [],
  { vary = [], asked = [] }: { readonly vary?: readonly string[]; readonly asked?: readonly string[] } = {},
): StoredResponse {
  const content = Buffer.from(body);
  const fields = listFields(sent);
  return {
    status: 200,
    statusMessage: 'OK',
    httpVersion: '1.1',
    rawHeaders: sent,
    fields,
    freshness: { lifetime: 60, heuristic: false, initialAge: 5, receivedMonotonic: 1000 },
    directives: NO_RESPONSE_DIRECTIVES,
    vary,
    variant: variantKey(vary, indexFields(asked)),
    forEverybody: true,
    since: 0,
    groups: cacheGroups(fields),
    body: content.length === 0 ? [] : [content],
    bodyLength: content.length,
    pieces: undefined,
  };
}

/** All content of a response, wherever it is; checks its length. */
export async function contentOf(entry: StoredResponse): Promise<Buffer> {
  if (entry.file === undefined) return Buffer.concat(entry.body);
  const reader = await entry.file.open();
  try {
    const blocks: Buffer[] = [];
    for (let at = 0; at < entry.bodyLength; at += blocks.at(-1)?.length ?? 0)
      blocks.push(await reader.read(at));
    return Buffer.concat(blocks);
  } finally {
    await reader.close();
  }
}

/** Directories and the stores in them, until {@link Disks.remove}. */
export class Disks {
  readonly #paths: string[] = [];

  directory(): string {
    const path = mkdtempSync(join(tmpdir(), 'tpot-disk-'));
    this.#paths.push(path);
    return path;
  }

  async open(path: string, options: Partial<DiskStoreOptions> = {}): Promise<DiskStore> {
    const clock = new SetClock();
    const store = await DiskStore.open({ path, maxBytes: 64 * 2 ** 20, clock, ...options });
    await store.scanned;
    return store;
  }

  remove(): void {
    for (const path of this.#paths.splice(0)) rmSync(path, { recursive: true, force: true });
  }
}
