/** `tpot-node lab list | NAME [--json] [--keep] | exec HOST -- CMD | down` */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants } from 'node:os';
import { InvalidArgumentError, type Command } from 'commander';
import { TpotError } from '../core/errors.js';
import { runLab, type Lab, type LabReport, type Plot } from '../netns/lab.js';
import { labs } from '../netns/labs/all.js';
import { isAlive, requireRoot, signalProcess } from '../netns/processes.js';
import { formatReport, reportJson } from '../netns/report.js';
import { loadStates, tearDown, type LabState } from '../netns/state.js';
import { waitFor } from '../netns/wait.js';
import { EXIT, print, printJson } from './output.js';
import { exitOnSignals, SIGNAL_STATUS } from './signals.js';

const PROGRESS_AFTER_MS = 2000;
const OWNER_PATIENCE_MS = 15_000;

/** Tells on stderr what is being done, once it has taken longer than people like to look at nothing. */
function delayedProgress(lab: Lab): { tell: (text: string) => void; end: () => void } {
  let last = '';
  let talking = false;
  const write = (): boolean => process.stderr.write(`lab ${lab.name}: ${last}\n`);
  const timer = setTimeout(() => {
    talking = true;
    write();
  }, PROGRESS_AFTER_MS);
  const tell = (text: string): void => {
    last = text;
    if (talking) write();
  };
  return { tell, end: () => clearTimeout(timer) };
}

async function draw({ name, title, subtitle, x, y, lines }: Plot): Promise<string> {
  // Only now: reading the plotting library takes longer than most commands.
  const { drawFigure } = await import('../bench/draw/chart.js');
  const series = lines.map((line) => ({
    name: line.name,
    points: line.points.map(([at, value]) => ({ x: at, y: value })),
  }));
  const axis = (label: string): { label: string; scale: 'linear' } => ({ label, scale: 'linear' });
  return drawFigure({ name, title, subtitle, kind: 'lines', x: axis(x), y: axis(y), series });
}

/** Draws the plots of a report beside its captures; the files' names. */
async function drawAll({ plots, topology }: LabReport): Promise<string[]> {
  const files: string[] = [];
  for (const plot of plots) {
    const file = join(topology.directory, `${plot.name}.svg`);
    writeFileSync(file, await draw(plot));
    files.push(file);
  }
  return files;
}

interface LabFlags {
  readonly json?: boolean;
  readonly keep?: boolean;
  readonly requests?: number;
}

async function labAction(lab: Lab, flags: LabFlags): Promise<void> {
  exitOnSignals();
  const progress = delayedProgress(lab);
  try {
    const { keep = false, requests } = flags;
    const report = await runLab(lab, { keep, requests, progress: progress.tell });
    const drawings = await drawAll(report);
    if (flags.json === true) printJson(reportJson(report));
    else print(formatReport(report, drawings));
    process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
  } finally {
    progress.end();
  }
}

function standing(state: LabState): string {
  if (state.kept) return 'kept';
  return isAlive(state.owner) ? 'running' : 'orphaned';
}

function listAction(flags: { readonly json?: boolean }): void {
  const topologies = loadStates().map((state) => ({
    id: state.id,
    title: state.title,
    owner: state.owner.pid,
    state: standing(state),
    hosts: Object.keys(state.namespaces),
    files: state.directory,
  }));
  if (flags.json === true) {
    const known = labs.map(({ name, summary }) => ({ name, summary }));
    printJson({ labs: known, standing: topologies });
    return;
  }
  for (const { name, summary } of labs) print(`${name.padEnd(8)} ${summary}`);
  if (topologies.length > 0) print('\nstanding now');
  for (const { id, title, state, hosts } of topologies) {
    print(`${id.padEnd(8)} ${title} (${state}): ${hosts.join(' ')}`);
  }
}

function findState(id: string): LabState {
  const found = loadStates().find((state) => state.id === id);
  if (found !== undefined) return found;
  throw new TpotError('lab-unknown', `no lab ${id} stands`, {
    hint: '`tpot-node lab list` shows those that do.',
  });
}

function latestKept(): LabState {
  const found = loadStates().findLast((state) => state.kept);
  if (found !== undefined) return found;
  throw new TpotError('lab-unknown', 'no lab was kept', { hint: 'Run `tpot-node lab hello --keep` first.' });
}

/** Runs a command in a host, with this terminal; its status becomes ours. */
async function execAction(
  host: string,
  words: readonly string[],
  flags: { readonly id?: string },
): Promise<void> {
  requireRoot();
  const state = flags.id === undefined ? latestKept() : findState(flags.id);
  const namespace = state.namespaces[host];
  if (namespace === undefined) {
    const hosts = Object.keys(state.namespaces).join(', ');
    throw new TpotError('host-unknown', `lab ${state.id} has no host ${host}`, { hint: `It has ${hosts}.` });
  }
  // Everything behind the host is passed through, so commander leaves the separator in.
  const command = words[0] === '--' ? words.slice(1) : words;
  // Ctrl-C reaches the command from the terminal; it decides what to make of it.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => undefined);
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...command], { stdio: 'inherit' });
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve(code ?? SIGNAL_STATUS + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** Ends a lab that another process still runs, by asking that process; what it leaves is removed afterwards. */
async function endOwner(state: LabState): Promise<void> {
  if (state.kept || !signalProcess(state.owner, 'SIGTERM')) return;
  await waitFor(() => !isAlive(state.owner), {
    what: `lab ${state.id} to end`,
    timeoutMs: OWNER_PATIENCE_MS,
  });
}

async function downAction(flags: { readonly id?: string; readonly all?: boolean }): Promise<void> {
  requireRoot();
  const chosen =
    flags.id !== undefined
      ? [findState(flags.id)]
      : loadStates().filter((state) => flags.all === true || standing(state) !== 'running');
  for (const state of chosen) {
    await endOwner(state);
    await tearDown(state);
    print(`removed ${state.title} ${state.id}`);
  }
  if (chosen.length === 0) print('nothing to remove');
}

const MOST_REQUESTS = 100_000;

function parseRequests(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0 && count <= MOST_REQUESTS) return count;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${MOST_REQUESTS}.`);
}

const LAB_HELP = `
A lab makes hosts (network namespaces), links and nodes, runs real traffic through them, captures every link and checks
what it sees. Exit status 0 means that every check holds. Labs need root; any number may run side by side.

Examples:
  tpot-node lab hello
  tpot-node lab chain --json
  tpot-node lab hello --keep && tpot-node lab exec p1 -- ip addr; tpot-node lab down`;

export function registerLab(program: Command): void {
  const lab = program
    .command('lab')
    .summary('networks in a box that show the protocol at work')
    .description('Runs a laboratory of network namespaces.')
    .addHelpText('after', LAB_HELP);
  for (const one of labs) {
    const command = lab
      .command(one.name)
      .description(one.summary)
      .option('--json', 'print only { lab, ok, checks }')
      .option('--keep', 'leave hosts and nodes running')
      .action((flags: LabFlags) => labAction(one, flags));
    if (one.requests !== undefined) {
      command.option('--requests <n>', `of its load (default: ${one.requests})`, parseRequests);
    }
  }
  lab
    .command('list')
    .description('lists the labs, and which stand now')
    .option('--json', 'print { labs, standing }')
    .action(listAction);
  lab
    .command('exec')
    .description('runs a command in a host of the lab that was kept last')
    .option('--id <id>', 'another lab, as `lab list` names it')
    .argument('<host>')
    .argument('<command...>')
    .passThroughOptions()
    .action((host: string, command: string[], flags: { id?: string }) => execAction(host, command, flags));
  lab
    .command('down')
    .description('removes labs that were kept or whose process was killed')
    .option('--id <id>', 'only this one, even while it runs')
    .option('--all', 'also those that run')
    .action(downAction);
}
