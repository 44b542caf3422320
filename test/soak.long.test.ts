/**
 * A day of an office behind two nodes, by number and kind of connections, as fast as they go: nothing grows. SOAK_CONNECTIONS sets another
 * number: with 20,000, eight hours, caches and pools are still being filled in the second half; what grows for good grows with any.
 * What grows is told by a line through the second half of the samples, since the first fills the cache and the pools.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';
import { listed, median, secondHalf, slopeOf } from './trend.js';

/** 24 h at 0.7 connections a second. */
const CONNECTIONS = Number(process.env['SOAK_CONNECTIONS'] ?? 60_000);
const CONCURRENT = 16;
const ROUNDS = 16;
/** Bytes for each connection: pages come and go, but what each connection left behind would be more. */
const LEFT_BEHIND = 128;
/** Makes V8 collect garbage early, so that what stays in memory is what is used. */
const SMALL_HEAP = '--max-old-space-size=64 --max-semi-space-size=2';
const NODES = ['p1', 'p2'] as const;

interface Sample {
  readonly residentMib: number;
  readonly descriptors: number;
  /** What the kernel says that the node's tables take. */
  readonly mapsKib: number;
}

afterEach(closeAll);

/** Descriptors of BPF maps say what the map takes, which for those without reserved room is what is in them. */
function mapsKib(pid: number): number {
  const sizes = readdirSync(`/proc/${pid}/fdinfo`).map((fd) => {
    const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1');
    return info.includes('map_type:') ? Number(/^memlock:\s+(\d+)/m.exec(info)?.[1] ?? 0) : 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0) / 1024;
}

async function sample(chain: Chain, node: string): Promise<Sample> {
  const { pid } = await chain.status(node);
  const resident = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return {
    residentMib: Number(resident) / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    mapsKib: mapsKib(pid),
  };
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
    const [resident, maps, open] = [
      all.map(({ residentMib }) => residentMib),
      all.map((one) => one.mapsKib),
      all.map(({ descriptors }) => descriptors),
    ];
    const after = await sample(chain, node);
    // Of the tables the level counts and not the slope: entries of the last 30 seconds stand in them.
    const each = (slopeOf(secondHalf(resident)) * 1024 * 1024) / (CONNECTIONS / ROUNDS);
    const told =
      `${node}: ${seconds} s, MiB ${listed(resident)}: ${each.toFixed(0)} bytes a connection in the second half; ` +
      `maps KiB ${listed(maps)}, then ${after.mapsKib.toFixed(0)}; descriptors ${listed(open)}, then ${after.descriptors}\n`;
    process.stdout.write(told);
    expect(each, told).toBeLessThan(LEFT_BEHIND);
    expect(after.mapsKib, told).toBeLessThanOrEqual(median(secondHalf(maps)));
    expect(after.descriptors, told).toBeLessThanOrEqual(Math.min(...open.slice(1)));
    const { kernel } = await chain.status(node);
    expect({ taken: kernel['taken'], tunnels: kernel['tunnels'] }, told).toEqual({ taken: 0, tunnels: 0 });
  }
});
