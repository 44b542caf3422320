/** `tpot-node bench NAME [--json] [--quick] [--only NAMES] [--out DIR] | list` */
import type { Command } from 'commander';
import type { BenchResult } from '../bench/result.js';
import { exitOnSignals } from './signals.js';
import { print, printJson, section, table } from './output.js';

const HELP = `
A bench runs what it compares side by side in network namespaces, in alternating rounds, and prints medians with their
spread and ratios to a named baseline. HAProxy, nginx and dante are installed from Debian when missing; their services
are not started. Needs root and a machine with nothing else to do. Results are saved as JSON and SVG.

Examples:
  tpot-node bench list
  tpot-node bench cost
  tpot-node bench splice --quick
  tpot-node bench splice --only relay-edge,haproxy --json`;

interface Flags {
  readonly json?: boolean;
  readonly quick?: boolean;
  readonly only?: string[];
  readonly out: string;
}

/** A result as people read it. */
export function formatBench(result: BenchResult): string {
  const { machine, targets, notes, tables, offloads } = result;
  const verdicts = targets.map(({ what, aim, found, met }) => [met ? 'met' : 'MISSED', what, aim, found]);
  return [
    section(`bench ${result.bench}${result.quick ? ' (quick)' : ''}`, {
      machine: `${machine.processor}, ${machine.cores} processors, ${machine.system}, Linux ${machine.kernel}`,
      background: `${(100 * machine.background).toFixed(0)} % of the machine was in use before`,
      ...result.settings,
    }),
    ...Object.entries(offloads).map(([size, values]) => section(`offloads, ${size} packets`, values)),
    ...tables.map(({ title, heading, rows }) => `${title}:\n${table(heading, rows)}`),
    ...(verdicts.length === 0 ? [] : [`targets:\n${table(['', 'WHAT', 'AIM', 'FOUND'], verdicts)}`]),
    ...(notes.length === 0 ? [] : [notes.join('\n')]),
  ].join('\n\n');
}

function words(text: string): string[] {
  return text.split(',').filter((word) => word !== '');
}

async function benchAction(name: string, flags: Flags): Promise<void> {
  exitOnSignals();
  // Only here: the charts take half a second to load, and neither help nor a wrong option should wait for them.
  const { runBench } = await import('../bench/run.js');
  const progress = (text: string): boolean => process.stderr.write(`bench ${name}: ${text}\n`);
  const { result, files } = await runBench(name, flags.out, {
    quick: flags.quick ?? false,
    only: flags.only,
    progress,
  });
  if (flags.json === true) printJson(result);
  else print(formatBench(result));
  process.stderr.write(`saved: ${files.join(' ')}\n`);
}

async function listAction(flags: { readonly json?: boolean }): Promise<void> {
  const { benches } = await import('../bench/run.js');
  const known = benches.map(({ name, summary }) => ({ name, summary }));
  if (flags.json === true) printJson(known);
  else for (const { name, summary } of known) print(`${name.padEnd(8)} ${summary}`);
}

export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .summary('measure against IP forwarding and what one would otherwise install')
    .description('Runs a benchmark.')
    .argument('<name>', 'which one, as `bench list` names them')
    .option('--json', 'print the result as JSON')
    .option('--quick', 'under a minute, and less exact')
    .option('--only <names>', 'only these contenders, separated by commas, and the baseline', words)
    .option('--out <directory>', 'where results go', 'bench-results')
    .addHelpText('after', HELP)
    .action(benchAction);
  bench
    .command('list')
    .description('lists the benchmarks')
    .option('--json', 'print [{ name, summary }]')
    .action(listAction);
}
