/** The sweep over the table of spliced connections: what waits for it, what it waits for, and what ends it. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { TpotSpliceFlag } from '../bpf/generated/maps.js';
import { SpliceTable } from '../node/splice-table.js';
import { holdEntry } from '../node/splice-entry.js';
import { reverse } from '../splice/mapping.js';
import { flows, mapFlow } from './bpf-programs.js';
import { OUT, SplicingPrograms } from './splicing-programs.js';

/** Half as many entries as make more than one batch. */
const CONNECTIONS = 600;
const IDLE_MS = 1000;
const PATIENCE_MS = 10_000;

let kernel: SplicingPrograms;
let table: SpliceTable;
let open = true;
beforeAll(() => {
  kernel = new SplicingPrograms();
});
beforeEach(() => {
  table = new SpliceTable(kernel.programs, IDLE_MS);
});
afterEach(() => {
  vi.restoreAllMocks();
  table.close();
});
afterAll(() => {
  if (open) kernel.close();
});

/** A connection of which a packet was seen last at `seen`. */
function enter(port: number, seen: bigint): void {
  const flow = { ...flows[4], sourcePort: port };
  const out = { ...OUT[4], sourcePort: port };
  const there = { ...holdEntry(out, seen), startedNs: 1n, flags: TpotSpliceFlag.FROM_CLIENT };
  const back = { ...holdEntry(reverse(flow), seen), startedNs: 1n, flags: 0 };
  kernel.programs.map('tpotSplices').set(mapFlow(flow), there);
  kernel.programs.map('tpotSplices').set(mapFlow(reverse(out)), back);
}

const left = (): number => [...kernel.programs.map('tpotSplices').keys()].length;

it('forgets what was silent for too long, both directions, and keeps the rest', async () => {
  for (const port of [1, 2, 3]) enter(port, 1n);
  enter(4, process.hrtime.bigint() + 60n * 10n ** 9n);
  await table.sweep();
  expect(left()).toBe(2);
  expect(await table.totals()).toMatchObject({ connections: 1 });
});

it('waits for a list, but not for one whose reader has stopped', async () => {
  enter(1, 1n);
  const before = left();
  const list = table.list();
  await list.next();
  await table.sweep();
  expect(left()).toBe(before);
  const now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => now + 2 * PATIENCE_MS);
  await table.sweep();
  expect(left()).toBe(before - 2);
  await list.return(undefined);
});

it('ends when the node does, as a list does', async () => {
  for (let port = 1; port <= CONNECTIONS; port++) enter(port, 1n);
  const other = new SpliceTable(kernel.programs, IDLE_MS);
  const sweep = table.sweep();
  const list = other.list();
  expect((await list.next()).done).toBe(false);
  const next = list.next();
  open = false;
  for (const one of [table, other]) one.close();
  kernel.close();
  await sweep;
  expect(await next).toEqual({ done: true, value: undefined });
});
