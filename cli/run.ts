/** `tpot-node run [--hops N] [--trust CIDR]… [--key-file FILE] [--] CMD [ARG…]` */
import { InvalidArgumentError, type Command } from 'commander';
import { TpotError } from '../core/errors.js';
import { parsePrefix } from '../core/address.js';
import { execExitStatus, runCommand } from '../client-shim/run.js';
import { KEY_FILE } from './key-file.js';

const ANY = ['0.0.0.0/0', '::/0'];
const MAX_HOPS = 255;

function hops(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > MAX_HOPS)
    throw new InvalidArgumentError(`a number from 0 to ${MAX_HOPS}`);
  return value;
}

function trust(text: string, earlier: readonly string[] | undefined): string[] {
  if (parsePrefix(text) === undefined)
    throw new InvalidArgumentError('an address or a prefix such as 198.18.0.0/15');
  return [...(earlier ?? []), text];
}

const HELP = `
The command runs unmodified, in a cgroup of its own: its TCP connections carry the TPOT request in their SYN, and
where a node answers, everything after goes to that node in a tunnel. Where none answers, they are plain TCP.
Exit status, signals and terminal are the command's own. Needs root.

Examples:
  tpot-node run curl http://198.51.100.7/
  tpot-node run --trust 198.18.0.0/15 -- wget -q http://198.51.100.7/file
  tpot-node run --report r.json -- ./fetch-all      what became of its connections; \`status --shim\` while it runs
  tpot-node run -- bash          every command of that shell, until it and its children have ended`;

interface RunFlags {
  readonly hops: number;
  readonly trust?: string[];
  readonly keyFile?: string;
  readonly report?: string;
}

export function registerRun(program: Command): void {
  program
    .command('run')
    .summary('run a command with TPOT on')
    .description('Runs a command whose TCP connections let nodes on the path serve them.')
    .option('--hops <n>', 'how many nodes may take a connection one after the other (0: none)', hops, 8)
    .option(
      '--trust <cidr>',
      'accept replies from nodes in this prefix only; repeatable (default: any)',
      trust,
    )
    .option('--key-file <file>', KEY_FILE)
    .option(
      '--report <file>',
      'write counters, tunnels and black holes there as JSON, when the command has ended',
    )
    .argument('<command>', 'program to run')
    .argument('[args...]', 'its arguments, passed as they are')
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(async (command: string, args: string[], flags: RunFlags) => {
      try {
        await runCommand(
          { hops: flags.hops, trust: flags.trust ?? ANY, keyFile: flags.keyFile, report: flags.report },
          command,
          args,
        );
      } catch (error) {
        const status = error instanceof TpotError ? execExitStatus(error) : undefined;
        if (status === undefined) throw error;
        process.stderr.write(`tpot-node run: ${(error as TpotError).message}\n`);
        process.exitCode = status;
      }
    });
}
