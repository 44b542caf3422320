/** The command line as a whole. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../host/paths.js';
import { EXIT, exitStatusOf, formatError } from './output.js';

const HELP = `
A node takes TCP connections that ask for it (a TPOT option in the SYN), caches HTTP and relays the rest. A client
asks when it runs under \`tpot-node run\`; a node asks the next node. Where no node answers, TCP is as it always was.

First steps:
  tpot-node lab hello                       see it work: two clients, two nodes, an origin, in namespaces
  tpot-node up --check                      what a node would do on this machine
  tpot-node up                              do it
  tpot-node run curl http://198.51.100.7/   a client that nodes can serve
  tpot-node conns                           what the node is doing

Exit status: 0 done, 1 a check or an operation failed, 2 wrong usage, 69 no such node or kernel feature, 70 a defect,
77 no permission, 78 wrong configuration. \`run\` exits as its command does.`;

function version(): string {
  return (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

/** Where the commands are. Only the one asked for is loaded: \`run\` stands before somebody else's program. */
const COMMANDS: readonly {
  readonly names: readonly string[];
  readonly load: () => Promise<(program: Command) => void>;
}[] = [
  { names: ['up'], load: async () => (await import('./up.js')).registerUp },
  { names: ['down'], load: async () => (await import('./down.js')).registerDown },
  { names: ['reload'], load: async () => (await import('./reload.js')).registerReload },
  { names: ['cache'], load: async () => (await import('./cache.js')).registerCache },
  { names: ['black-holes'], load: async () => (await import('./black-holes.js')).registerBlackHoles },
  { names: ['status', 'conns', 'stats'], load: async () => (await import('./status.js')).registerStatus },
  { names: ['run'], load: async () => (await import('./run.js')).registerRun },
  { names: ['trace'], load: async () => (await import('./trace.js')).registerTrace },
  { names: ['doctor'], load: async () => (await import('./doctor.js')).registerDoctor },
  { names: ['lab'], load: async () => (await import('./lab.js')).registerLab },
  { names: ['bench'], load: async () => (await import('./bench.js')).registerBench },
];

async function createProgram(asked: string | undefined): Promise<Command> {
  const program = new Command('tpot-node')
    .description('Translucent TCP proxy node: caches and relays connections whose SYN asks for it.')
    .version(version())
    .enablePositionalOptions()
    .showHelpAfterError('hint: add --help to see how it is used')
    .exitOverride()
    .addHelpText('after', HELP);
  const only = COMMANDS.filter(({ names }) => asked !== undefined && names.includes(asked));
  for (const { load } of only.length > 0 ? only : COMMANDS) (await load())(program);
  return program;
}

/** Runs the command line and returns its exit status; everything that went wrong has been printed by then. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  try {
    await (await createProgram(argv[0])).parseAsync([...argv], { from: 'user' });
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    // Commander has printed its own; help that was asked for has status 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    process.stderr.write(formatError(error));
    return exitStatusOf(error);
  }
}
