/** `tpot-node up [--config FILE] [--name N] [--address A] [--interface IF]… [--check [--to A:PORT [--from A] [--sni NAME]]]` */
import type { Command } from 'commander';
import { explainConfig } from '../node/config-explain.js';
import { loadConfig, type NodeConfig } from '../node/config.js';
import { TpotError } from '../core/errors.js';
import { runInForeground } from '../node/foreground.js';
import { traceRules } from '../node/rule-trace.js';
import { print } from './output.js';

const HELP = `
The node stays in the foreground, in the current network namespace. It prints \`tpot-node NAME ready\` on stdout when
it takes connections and logs on stderr. SIGTERM or SIGINT: it takes nothing new, waits for its connections to end (at
most drainTimeout) and exits 0; a second signal ends it at once. SIGHUP reads the configuration again, as
\`tpot-node reload\` does. Needs root.

Without a file: HTTP on ports 80 and 8080 is cached, everything else relayed. docs/configuration.md has every key.

Examples:
  tpot-node up                                       all interfaces, the first global address
  tpot-node up --config /etc/tpot-node/p1.yaml
  tpot-node up --config p1.yaml --check              validate and explain, change nothing
  tpot-node up --config p1.yaml --check --to 192.0.2.80:443 --sni www.example.net
                                                     which rule decides about such a connection
  tpot-node up --name p1 --address 198.18.1.1 --interface eth0 --interface eth1`;

interface UpFlags {
  readonly config?: string;
  readonly name?: string;
  readonly address?: string;
  readonly interface?: string[];
  readonly check?: boolean;
  readonly to?: string;
  readonly from?: string;
  readonly sni?: string;
}

/** One connection is only asked about, never waited for. */
function requireCheck({ check, to, from, sni }: UpFlags): void {
  if (to !== undefined ? check === true : from === undefined && sni === undefined) return;
  throw new TpotError('usage', '--to belongs to --check, and --from and --sni to --to', {
    hint: 'tpot-node up --check --to 192.0.2.80:443 --sni www.example.net',
  });
}

function collect(value: string, earlier: readonly string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

export function registerUp(program: Command): void {
  program
    .command('up')
    .summary('run a node')
    .description('Runs a node until it is stopped. Options override the file.')
    .option('--config <file>', 'configuration in YAML')
    .option('--name <name>', 'name of the node (default: the host name)')
    .option('--address <address>', 'announced in replies, end of the tunnels (default: the first global one)')
    .option(
      '--interface <name>',
      'take connections on this interface; repeatable (default: all but loopback)',
      collect,
    )
    .option('--check', 'validate the configuration, explain it and exit')
    .option('--to <address:port>', 'with --check: say which rule decides about a connection to there')
    .option('--from <address>', 'with --to: from this client')
    .option('--sni <name>', 'with --to: with this TLS server name')
    .addHelpText('after', HELP)
    .action(async (flags: UpFlags) => {
      const overrides = { name: flags.name, address: flags.address, interfaces: flags.interface };
      requireCheck(flags);
      const load = (): NodeConfig => loadConfig(flags.config, overrides);
      const config = load();
      if (flags.to !== undefined) {
        print(traceRules(config.rules, { to: flags.to, from: flags.from, sni: flags.sni }));
        return;
      }
      if (flags.check === true) {
        print(explainConfig(config, flags.config ?? 'defaults'));
        return;
      }
      // Not exitCode: idle upstreams and timers of a node that has stopped must not keep the process.
      process.exit(await runInForeground(load, flags.config, () => print(`tpot-node ${config.name} ready`)));
    });
}
