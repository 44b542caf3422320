/**
 * `kill -9` of a node while a thousand spliced transfers run through it, and a restart after it: nobody notices.
 *
 * What it cost while it ran is printed, not asserted: the longest silence that any receiver saw, the memory and the
 * descriptors of the node.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import type { Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const SPLICE = { rules: [{ action: 'splice' }] };
const TRANSFERS = 1000;
const BYTES = 450_000;
const PAUSE_MS = 250;
/** Chunks of at most so many bytes; nothing before the connection has rested; one connection after the other. */
const SHAPE = [9000, 600, 6];

afterEach(closeAll);

function cost(pid: number): { megabytes: number; descriptors: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
  return { megabytes: Math.round(kilobytes / 1024), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

async function splicedNow(chain: Chain, node: string): Promise<number> {
  return (await chain.conns(node)).filter(({ state }) => state === 'spliced').length;
}

async function allSpliced(chain: Chain, program: Program): Promise<void> {
  for (const node of ['p1', 'p2']) {
    await program.while(async () => (await splicedNow(chain, node)) === TRANSFERS, {
      what: `${TRANSFERS} connections spliced on ${node}`,
      timeoutMs: 60_000,
      intervalMs: 500,
    });
  }
}

test('a thousand transfers run on through kill -9 and a restart', async () => {
  const chain = await standChain({ nodes: { p1: SPLICE, p2: SPLICE } });
  const node = (): number => chain.net.node('p1').identity?.pid ?? 0;
  const before = cost(node());
  const args = [TRANSFERS, BYTES, TRANSFERS, PAUSE_MS, ...SHAPE].map(String);
  const program = chain.spawn('c1', [process.execPath, fixture('duplex.mjs'), ORIGIN, '22', ...args], {
    label: 'duplex',
  });
  await allSpliced(chain, program);
  const spliced = cost(node());
  const [quiet] = await mark(program);
  await chain.net.node('p1').stop('SIGKILL');
  // For a while there is no node at all.
  await mark(program);
  await chain.net.startNode({ host: 'p1', config: SPLICE });
  const adopted = await splicedNow(chain, 'p1');
  const [line] = await program.output(/^\{.*"right".*\}$/m, { timeoutMs: 300_000 });
  const score = JSON.parse(line) as Record<string, unknown>;
  console.log({ before, spliced, after: cost(node()), adopted, quiet, score });
  expect(score).toMatchObject({ right: TRANSFERS, wrong: 0, failed: 0, errors: {} });
  expect(adopted).toBe(TRANSFERS);
  expect(spliced.descriptors).toBeLessThan(before.descriptors + 20);
  await waitFor(async () => (await chain.conns('p1')).length === 0, {
    what: 'ended connections to be forgotten',
    timeoutMs: 120_000,
    intervalMs: 1000,
  });
});

/** Has the count of stalls begun anew, and returns what it was. */
async function mark(program: Program): Promise<string[]> {
  const lines = (): string[] => program.stdout().match(/^stalls .*$/gm) ?? [];
  const seen = lines().length;
  program.signal('SIGUSR2');
  await program.while(() => lines().length > seen, { what: 'the count of stalls', timeoutMs: 20_000 });
  return lines().slice(-1);
}
