/** `tpot-node doctor [--toward HOST[:PORT] [--key-file FILE]] [--json]` */
import type { Command } from 'commander';
import { readKeys } from '../client-shim/keys.js';
import type { Target } from '../client-shim/target.js';
import type { Check } from '../doctor/check.js';
import { runDoctor } from '../doctor/doctor.js';
import { KEY_FILE } from './key-file.js';
import { EXIT, print, printJson } from './output.js';
import { exitOnSignals } from './signals.js';
import { targetArgument } from './trace.js';

/** A line per check; below one that is not ok, what to do about it. */
export function formatChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.map(({ name, status, found, mend }) => {
    const line = `${status.padEnd(4)}  ${name.padEnd(width)}  ${found}`;
    return mend === null ? line : `${line}\n${' '.repeat(width + 8)}mend: ${mend}`;
  });
  const count = (wanted: Check['status']): number => checks.filter(({ status }) => status === wanted).length;
  return [...lines, `${count('ok')} ok, ${count('warn')} to be warned of, ${count('fail')} failed`].join(
    '\n',
  );
}

const HELP = `
Loads the programs, attaches them where they disturb nobody and takes them away again; reads settings, interfaces and
packet filter rules of this network namespace. With --toward a real connection is made: is the SYN with the request
answered, does a reply come, does the tunnel pass? Needs root for most of it. docs/cli.md lists the checks.

Exit status: 0 nothing failed (there may be warnings), 1 something did.

Examples:
  tpot-node doctor
  tpot-node doctor --toward 198.51.100.7:80
  tpot-node doctor --json | jq -r '.[] | select(.status == "fail") | .name + ": " + .mend'`;

interface DoctorFlags {
  readonly toward?: Target;
  readonly keyFile?: string;
  readonly json?: boolean;
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('check whether this machine, and the path to a destination, can do it')
    .description(
      'Checks kernel, settings, interfaces, packet filter rules and, if asked, the path to a destination.',
    )
    .option(
      '--toward <destination>',
      'HOST[:PORT] to make a connection to; port 80 if there is none',
      targetArgument,
    )
    .option('--key-file <file>', `with --toward: ${KEY_FILE}`)
    .option('--json', 'print JSON for programs')
    .addHelpText('after', HELP)
    .action(async (flags: DoctorFlags) => {
      exitOnSignals();
      const checks = await runDoctor(flags.toward, readKeys(flags.keyFile));
      if (flags.json === true) printJson(checks);
      else print(formatChecks(checks));
      process.exitCode = checks.some(({ status }) => status === 'fail') ? EXIT.failed : EXIT.ok;
    });
}
