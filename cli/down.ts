/** `tpot-node down [--name N]` */
import type { Command } from 'commander';
import { chooseNode, stopNode } from '../node/admin-client.js';
import { print } from './output.js';

const HELP = `
Asks the node to stop and waits until its process has ended: it takes nothing new, and its connections have
drainTimeout to end by themselves.

Examples:
  tpot-node down                 the only node that is running
  tpot-node down --name p1`;

export function registerDown(program: Command): void {
  program
    .command('down')
    .summary('stop a node')
    .description('Stops a running node and waits until it has ended.')
    .option('--name <name>', 'which node (default: the only one running)')
    .addHelpText('after', HELP)
    .action(async (flags: { readonly name?: string }) => {
      const name = await chooseNode(flags.name);
      await stopNode(name);
      print(`tpot-node ${name} stopped`);
    });
}
