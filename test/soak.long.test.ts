/**
 * Eight hours of an office behind two nodes, by number and kind of connections, as fast as they go: nothing grows. SOAK_CONNECTIONS sets
 * another number.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

/** 8 h at 0.7 connections a second. */
const CONNECTIONS = Number(process.env['SOAK_CONNECTIONS'] ?? 20_000);
const CONCURRENT = 16;
const ROUNDS = 8;
/** Pages come and go; a KiB that each connection left behind would be more. */
const GROWTH = 1.1;
/** Makes V8 collect garbage early, so that what stays in memory is what is used. */
const SMALL_HEAP = '--max-old-space-size=64 --max-semi-space-size=2';
const NODES = ['p1', 'p2'] as const;

interface Sample {
  readonly residentMib: number;
  readonly descriptors: number;
}

afterEach(closeAll);

async function sample(chain: Chain, node: string): Promise<Sample> {
  const { pid } = await chain.status(node);
  const resident = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return { residentMib: Number(resident) / 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** Nothing is left of a round but what the kernel keeps for TIME_WAIT. */
async function quiet(chain: Chain, node: string): Promise<void> {
  const taken = async (): Promise<unknown> => (await chain.status(node)).kernel['taken'];
  await waitFor(async () => (await taken()) === 0, {
    what: `${node} to have no connection`,
    timeoutMs: 90_000,
  });
  await waitFor(async () => (await chain.conns(node)).length === 0, {
    what: `${node} to forget spliced connections`,
    timeoutMs: 120_000,
  });
}

async function round(chain: Chain): Promise<void> {
  const args = [fixture('soak.mjs'), ORIGIN, String(CONNECTIONS / ROUNDS), String(CONCURRENT)];
  const said = await chain.must('c1', [process.execPath, ...args], { timeoutMs: 600_000 });
  expect(JSON.parse(said)).toEqual({ right: CONNECTIONS / ROUNDS, wrong: 0, failed: 0, errors: {} });
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

test(`${CONNECTIONS} connections through two nodes: memory, descriptors and tables stay as they were`, async () => {
  process.env['NODE_OPTIONS'] = SMALL_HEAP; // of the nodes, and of the client
  const splice = [{ match: { dport: 80 }, action: 'cache' }, { action: 'splice' }];
  const chain = await standChain({ nodes: { p1: { rules: splice }, p2: { rules: splice } } });
  const samples: Record<string, Sample[]> = { p1: [], p2: [] };
  const started = performance.now();
  for (let index = 0; index < ROUNDS; index++) {
    await round(chain);
    for (const node of NODES) samples[node]?.push(await sample(chain, node));
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  for (const node of NODES) {
    await quiet(chain, node);
    const all = samples[node] ?? [];
    const resident = all.map(({ residentMib }) => residentMib);
    const after = await sample(chain, node);
    const told = `${node}: ${seconds} s, MiB ${resident.map((one) => one.toFixed(0)).join(' ')}, descriptors ${all
      .map(({ descriptors }) => descriptors)
      .join(' ')}, then ${after.descriptors}\n`;
    process.stdout.write(told);
    // The first rounds fill the cache and the pools; from the middle on nothing may grow.
    expect(median(resident.slice(-3)), told).toBeLessThan(GROWTH * median(resident.slice(2, 5)));
    expect(after.descriptors, told).toBeLessThanOrEqual(
      Math.min(...all.slice(1).map(({ descriptors }) => descriptors)),
    );
    const { kernel } = await chain.status(node);
    expect({ taken: kernel['taken'], tunnels: kernel['tunnels'] }, told).toEqual({ taken: 0, tunnels: 0 });
  }
});
