/** The quickest bench from the command line to the files that it saves. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { BenchResult } from '../bench/result.js';
import { tryCommand } from '../host/exec.js';
import { tpotNodeCommand } from '../netns/host.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tpot-bench-test-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const [node, launcher] = tpotNodeCommand;

it('`bench cost --quick --json` times every path and saves what it prints', async () => {
  const args = [launcher, 'bench', 'cost', '--quick', '--json', '--out', directory];
  const { stdout, stderr, code } = await tryCommand(node, args);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr).toContain('running every path');
  const result = JSON.parse(stdout) as BenchResult;
  expect(JSON.parse(readFileSync(join(directory, 'cost.json'), 'utf8'))).toEqual(result);
  expect(readFileSync(join(directory, 'cost-cost.svg'), 'utf8')).toContain('spliced segment');
  expect(result).toMatchObject({ format: 1, bench: 'cost', quick: true });
  expect(result.machine.kernel).not.toBe('');
  const { paths: costs, ways } = result.samples as Record<
    'paths' | 'ways',
    { name: string; nanoseconds: number[] }[]
  >;
  expect(ways.map(({ nanoseconds }) => nanoseconds.length)).toEqual([5, 5, 5, 5, 5]);
  for (const { name, nanoseconds } of costs) {
    expect(nanoseconds.length, name).toBe(5);
    expect(Math.max(...nanoseconds), name).toBeLessThan(1_000_000);
  }
  const median = (name: string): number => costs.find((one) => one.name === name)?.nanoseconds[2] ?? NaN;
  expect(median('splice')).toBeGreaterThan(median('not-ip'));
});

it('says which benches and contenders there are', async () => {
  const unknown = await tryCommand(node, [launcher, 'bench', 'speed', '--out', directory]);
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toMatch(
    /there is no bench speed\nhint: There are splice, latency, setup, flows, cache, chain, cost, transcode\./,
  );
  const list = await tryCommand(node, [launcher, 'bench', 'list', '--json']);
  expect((JSON.parse(list.stdout) as { name: string }[]).map(({ name }) => name)).toContain('latency');
});
