/** Runs a bench, adds where and when, and saves what it found. */
import { TpotError } from '../core/errors.js';
import { requireRoot } from '../netns/processes.js';
import type { Bench, BenchOptions } from './benches/bench.js';
import { cacheBench } from './benches/cache.js';
import { chainBench } from './benches/chain.js';
import { flowsBench } from './benches/flows.js';
import { latencyBench } from './benches/latency.js';
import { setupBench } from './benches/setup.js';
import { costBench } from './benches/cost.js';
import { spliceBench } from './benches/splice.js';
import { transcodeBench } from './benches/transcode.js';
import { describeMachine } from './measure/machine.js';
import { saveResult, type BenchResult } from './result.js';

export const benches: readonly Bench[] = [
  spliceBench,
  latencyBench,
  setupBench,
  flowsBench,
  cacheBench,
  chainBench,
  costBench,
  transcodeBench,
];

export interface SavedResult {
  readonly result: BenchResult;
  /** The JSON, then the figures. */
  readonly files: readonly string[];
}

/** @throws TpotError `bench-unknown`, `no-permission`, and what the bench runs into. */
export async function runBench(name: string, directory: string, options: BenchOptions): Promise<SavedResult> {
  const bench = benches.find((one) => one.name === name);
  if (bench === undefined) {
    throw new TpotError('bench-unknown', `there is no bench ${name}`, {
      hint: `There are ${benches.map((one) => one.name).join(', ')}.`,
    });
  }
  requireRoot();
  const started = new Date();
  options.progress('looking at the machine');
  const machine = await describeMachine();
  const findings = await bench.run(options);
  const seconds = Math.round((Date.now() - started.getTime()) / 1000);
  const { quick } = options;
  const result: BenchResult = {
    format: 1,
    bench: name,
    quick,
    started: started.toISOString(),
    seconds,
    machine,
    ...findings,
  };
  return { result, files: saveResult(result, directory) };
}
