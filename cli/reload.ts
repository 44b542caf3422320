/** `tpot-node reload [NAME] [--json]` */
import type { Command } from 'commander';
import { askNode, chooseNode } from '../node/admin-client.js';
import type { ConfigChange } from '../node/config-diff.js';
import { ConfigError } from '../node/config.js';
import type { ReloadReport } from '../node/reload.js';
import { EXIT, print, printJson } from './output.js';

const HELP = `
The node reads its configuration file again, included files too, as on SIGHUP. Anything wrong with it: nothing changes,
the problems are printed, and the exit status is 78. Otherwise everything that can change at run time is in force at
once, for new connections; those that there are go on as they began. Keys that need a restart are named.

Examples:
  tpot-node reload                the only node that is running
  tpot-node reload p1 --json | jq '.changes[].key'`;

type Applied = Extract<ReloadReport, { readonly reloaded: true }>;

function changeLines({ key, removed, added }: ConfigChange): string[] {
  const entries = [...removed.map((text) => `  - ${text}`), ...added.map((text) => `  + ${text}`)];
  return [`${key}:`, ...(entries.length === 0 ? ['  the same in another order'] : entries)];
}

export function formatReload(name: string, { changes, needsRestart }: Applied): string {
  return [
    `tpot-node ${name} reloaded: ${changes.length === 0 ? 'nothing has changed' : ''}`.replace(/: $/, ''),
    ...changes.flatMap(changeLines),
    ...needsRestart.flatMap((change) => ['needs a restart:', ...changeLines(change)]),
  ].join('\n');
}

export function registerReload(program: Command): void {
  program
    .command('reload')
    .summary('have a node read its configuration again')
    .description('Applies the configuration file of a running node, or says what is wrong with it.')
    .argument('[name]', 'which node (default: the only one running)')
    .option('--json', 'print JSON for programs')
    .addHelpText('after', HELP)
    .action(async (named: string | undefined, flags: { readonly json?: boolean }) => {
      const name = await chooseNode(named);
      const report = (await askNode(name, '/reload')) as ReloadReport;
      if (flags.json === true) {
        printJson(report);
        if (!report.reloaded) process.exitCode = EXIT.configuration;
      } else if (report.reloaded) print(formatReload(name, report));
      else throw new ConfigError(report.problems);
    });
}
