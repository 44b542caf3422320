/**
 * Measures the paths of cost-paths.ts in the network namespace it is started in, which it takes for its own.
 *
 *   unshare --net node dist/bench/benches/cost-child.js '{"rounds":5,"runs":100000}'
 *
 * stdout: one {@link CostSamples} as JSON.
 */
import { writeFileSync } from 'node:fs';
import { TpotError } from '../../core/errors.js';
import { commandSync } from '../../host/exec.js';
import { TpotFlag } from '../../bpf/generated/maps.js';
import { ipv4Number, TpotPrograms } from '../../bpf/programs.js';
import { testRun } from '../../bpf/test-run.js';
import { kernelRow } from '../../node/kernel-policy.js';
import { flattenRules } from '../../tpot/policy.js';
import { loadInstructions, PROGRAM_TYPE } from '../measure/live-frames.js';
import { median } from '../measure/statistics.js';
import { costPaths, NODE_ADDRESS, type CostPath } from './cost-paths.js';
import { measureWays } from './cost-ways.js';
import type { CostPlan, CostSamples, PathCost } from './cost.js';

/** A call with a single run has the clock's own cost in it, and cold caches; so many give a steady median. */
const SINGLE_RUNS = 2000;

function prepareNamespace(): void {
  commandSync('ip', ['link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'far']);
  for (const name of ['lo', 'out', 'far']) commandSync('ip', ['link', 'set', name, 'up']);
  commandSync('ip', ['route', 'add', 'default', 'dev', 'out']);
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
}

function loadPrograms(): TpotPrograms {
  const programs = TpotPrograms.load();
  programs.declareUnused();
  const address4 = ipv4Number(NODE_ADDRESS);
  programs.configure({ flags: TpotFlag.NODE, address4, maxConnections: 100 });
  programs.setPolicy(
    flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]).map(kernelRow),
  );
  return programs;
}

/** `return TC_ACT_UNSPEC`: what a test run costs beyond the program that it runs. */
function loadEmptyProgram(): number {
  const instructions = Buffer.from('b7000000ffffffff9500000000000000', 'hex'); // r0 = -1; exit
  return loadInstructions(PROGRAM_TYPE.schedCls, 'empty', instructions);
}

/** Nanoseconds of one run, over at least `runs` of them. */
function timeOnce(fd: number, path: Pick<CostPath, 'frame' | 'gsoSize' | 'repeat'>, runs: number): number {
  const { gsoSize = 0 } = path;
  const repeat = Math.min(path.repeat, runs);
  const calls = repeat === 1 ? SINGLE_RUNS : Math.ceil(runs / repeat);
  const times = Array.from({ length: calls }, () => testRun(fd, path.frame, { repeat, gsoSize }).nanoseconds);
  return median(times);
}

/** Fails when the path was not the one that was meant. */
function checkPath(programs: TpotPrograms, path: CostPath): void {
  const before = programs.counters();
  testRun(programs.programFd(path.program), path.frame, { gsoSize: path.gsoSize ?? 0 });
  const grown = Object.entries(programs.counters())
    .filter(([reason, count]) => count !== before[reason])
    .map(([reason]) => reason);
  const ok = path.reason === undefined ? grown.length === 0 : grown.includes(path.reason);
  if (!ok) throw new TpotError('bench-failed', `${path.name}: counted ${grown.join(', ') || 'nothing'}`);
}

function measure(programs: TpotPrograms, { rounds, runs }: CostPlan): PathCost[] {
  const empty = loadEmptyProgram();
  return costPaths.map((path): PathCost => {
    path.prepare?.(programs);
    checkPath(programs, path);
    const fd = programs.programFd(path.program);
    const pairs = Array.from(
      { length: rounds },
      () => [timeOnce(fd, path, runs), timeOnce(empty, path, runs)] as const,
    );
    return {
      name: path.name,
      title: path.title,
      single: path.repeat === 1,
      asRun: pairs.map(([time]) => time),
      nanoseconds: pairs.map(([time, harness]) => Math.max(0, time - harness)),
    };
  });
}

prepareNamespace();
const programs = loadPrograms();
const plan = JSON.parse(process.argv[2] ?? '{}') as CostPlan;
const paths = measure(programs, plan);
programs.declareUnused();
const samples: CostSamples = { paths, ways: measureWays(programs, plan.rounds) };
process.stdout.write(JSON.stringify(samples));
programs.close();
