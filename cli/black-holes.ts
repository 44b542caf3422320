/** `tpot-node black-holes ls|clear [ADDRESS] [--name N] [--json]` */
import { InvalidArgumentError, type Command } from 'commander';
import { formatIp, parseIp } from '../core/address.js';
import { askNode, chooseNode } from '../node/admin-client.js';
import type { NodeStatus } from '../node/node.js';
import { EXIT, formatAge, print, printJson, table } from './output.js';

const HELP = `
A path that loses SYNs with a request, or blocks a tunnel, makes its destination a black hole: connections to it start
plain for ten minutes, longer each time. Clear it when the path has been mended; the next connection asks again.
Exit status: 0 done, 1 the address is none of them.

Examples:
  tpot-node black-holes ls
  tpot-node black-holes clear 198.51.100.7
  tpot-node black-holes clear                    all of them`;

interface Flags {
  readonly name?: string;
  readonly json?: boolean;
}

export function formatBlackHoles(holes: NodeStatus['blackHoles']): string {
  if (holes.length === 0) return 'no black holes';
  const rows = holes.map(({ destination, secondsLeft }) => [destination, formatAge(secondsLeft)]);
  return table(['DESTINATION', 'LEFT'], rows);
}

function addressArgument(text: string): string {
  const address = parseIp(text);
  if (address === undefined) throw new InvalidArgumentError('an address such as 198.51.100.7');
  return formatIp(address);
}

async function list(flags: Flags): Promise<void> {
  const { blackHoles } = (await askNode(await chooseNode(flags.name), '/status')) as NodeStatus;
  if (flags.json === true) printJson(blackHoles);
  else print(formatBlackHoles(blackHoles));
}

async function clear(address: string | undefined, flags: Flags): Promise<void> {
  const name = await chooseNode(flags.name);
  const path = address === undefined ? ('/black-holes' as const) : (`/black-holes/${address}` as const);
  const answer = (await askNode(name, path)) as { readonly cleared: number };
  if (flags.json === true) printJson(answer);
  else print(`${answer.cleared} cleared`);
  if (address !== undefined && answer.cleared === 0) process.exitCode = EXIT.failed;
}

export function registerBlackHoles(program: Command): void {
  const command = program
    .command('black-holes')
    .summary('list or clear destinations whose path drops requests')
    .description('Destinations that get plain connections for a while, because requests to them were lost.')
    .addHelpText('after', HELP);
  command
    .command('ls')
    .description('lists them')
    .option('--name <name>', 'which node (default: the only one running)')
    .option('--json', 'print [{ destination, secondsLeft }]')
    .action(list);
  command
    .command('clear')
    .description('forgets one of them, or all')
    .argument('[address]', 'the destination (default: all)', addressArgument)
    .option('--name <name>', 'which node (default: the only one running)')
    .option('--json', 'print { cleared }')
    .action(clear);
}
