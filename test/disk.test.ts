/** A node that keeps its cache on disk: killed and started again, and looked into with `tpot-node cache`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tpotNodeCommand, type RunResult } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import type { CacheRow } from '../node/cache-admin.js';
import type { WarmResult } from '../node/warm.js';
import { CACHE_AND_RELAY, type Chain, closeAll, ORIGIN, standChain } from './chain.js';

let chain: Chain;
let path: string;

beforeAll(async () => {
  path = mkdtempSync(join(tmpdir(), 'tpot-disk-'));
  const cache = { disk: { path, size: '64MiB' } };
  chain = await standChain({ nodes: { p1: { edge: true, rules: CACHE_AND_RELAY, cache } } });
});
afterAll(async () => {
  await closeAll();
  rmSync(path, { recursive: true });
});

const url = (target: string): string => `http://${ORIGIN}${target}`;

function cache(...args: string[]): Promise<RunResult> {
  const [program, script] = tpotNodeCommand;
  return chain
    .host('p1')
    .run(program, [script, 'cache', ...args, '--name', chain.net.nodeName('p1'), '--json']);
}

const rows = <T>({ stdout }: RunResult): T[] =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);

async function onDisk(): Promise<number> {
  const [stats] = rows<{ disk: { entries: number } }>(await cache('stats'));
  return stats?.disk.entries ?? 0;
}

test('what a client has fetched is there after kill -9, and the commands see and remove it', async () => {
  const fetch = (): Promise<string> =>
    chain.host('c1').must('curl', ['-sSf', '-D', '-', '-o', '/dev/null', url('/bytes/300001')]);
  await fetch();
  await waitFor(async () => (await onDisk()) === 1, { what: 'the response on the disk' }); // behind the answer
  await chain.net.node('p1').stop('SIGKILL');
  const [node] = chain.net.spec.nodes ?? [];
  await chain.net.startNode(node ?? { host: 'p1' });
  const again = await fetch();
  expect(again).toMatch(/cache-status: .*hit/i);
  expect(Number(/^age: (\d+)/im.exec(again)?.[1])).toBeGreaterThanOrEqual(0);
  expect(await chain.requests('/bytes/300001')).toHaveLength(1);

  const [row] = rows<CacheRow>(await cache('ls', url('/bytes/300001')));
  expect(row).toMatchObject({
    url: url('/bytes/300001'),
    destination: `${ORIGIN}:80`,
    status: 200,
    where: 'both',
  });
  expect(rows(await cache('rm', '--prefix', url('/bytes/')))).toEqual([{ removed: 1 }]);
  expect(await cache('rm', url('/bytes/300001'))).toMatchObject({ code: 1 });
  expect(rows(await cache('ls'))).toEqual([]);
});

test('warm fetches as a client would, and says what is not stored', async () => {
  const warmed = await cache('warm', url('/bytes/1234'), url('/private/x'));
  const results = rows<WarmResult>(warmed).sort((one, other) => one.url.localeCompare(other.url));
  expect(results).toMatchObject([
    { url: url('/bytes/1234'), status: 200, bytes: 1234, stored: true, error: null },
    { url: url('/private/x'), status: 200, stored: false, error: null },
  ]);
  expect(warmed.code).toBe(1);
  const answer = await chain
    .host('c1')
    .must('curl', ['-sSf', '-D', '-', '-o', '/dev/null', url('/bytes/1234')]);
  expect(answer).toMatch(/cache-status: .*hit/i);
});
