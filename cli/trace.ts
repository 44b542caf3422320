/** `tpot-node trace HOST[:PORT] [--max N] [--key-file FILE] [--json]` */
import { InvalidArgumentError, type Command } from 'commander';
import { readKeys } from '../client-shim/keys.js';
import { parseTarget, resolveTarget, type Target } from '../client-shim/target.js';
import { TRACE_ENDS, tracePath, type Trace, type TraceEnd } from '../client-shim/trace.js';
import { formatIp, type IpAddress } from '../core/address.js';
import { KEY_FILE } from './key-file.js';
import { EXIT, print, printJson, table } from './output.js';
import { exitOnSignals } from './signals.js';

const MAX_HOPS = 255;
const DEFAULT_MAX = 16;

/** For commander: `HOST[:PORT]`. */
export function targetArgument(text: string): Target {
  const target = parseTarget(text);
  if (target === undefined) {
    throw new InvalidArgumentError('a name or an address, and a port: 192.0.2.1:80, [2001:db8::1]:80');
  }
  return target;
}

function maxArgument(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > MAX_HOPS) {
    throw new InvalidArgumentError(`a number from 1 to ${MAX_HOPS}`);
  }
  return value;
}

export function formatDestination(address: IpAddress, port: number): string {
  return address.family === 6 ? `[${formatIp(address)}]:${port}` : `${formatIp(address)}:${port}`;
}

/** Ends that leave nothing to find out; the others say that something is in the way. */
const EXPLAINED = new Set<TraceEnd>(['destination', 'refused', 'hidden', 'max', 'keyed']);

const milliseconds = (value: number): string => `${value.toFixed(3)} ms`;

export function formatTrace(destination: string, { hops, end, milliseconds: last }: Trace): string {
  const rows = hops.map(({ hop, address, milliseconds: time, capabilities }) => [
    hop,
    address,
    milliseconds(time),
    capabilities === null ? 'not told' : capabilities.join(', ') || 'none',
  ]);
  const time = last === null ? '' : ` (${milliseconds(last)})`;
  return [
    ...(rows.length === 0 ? [] : [table(['HOP', 'NODE', 'ROUND TRIP', 'CAPABILITIES'], rows)]),
    `${destination}${time}: ${TRACE_ENDS[end]}`,
    ...(EXPLAINED.has(end) ? [] : [`hint: tpot-node doctor --toward ${destination}`]),
  ].join('\n');
}

const HELP = `
Asks for the first node on the path, the second, and so on, with one real connection each, which is reset as soon as
it is answered; no node opens a connection for it. The last one reaches the destination itself. Needs root.

Exit status: 0 the chain is complete, 1 it is not (the last line says why).

Examples:
  tpot-node trace 198.51.100.7
  tpot-node trace www.example.net:443 --max 4
  tpot-node trace '[2001:db8::7]:80' --json | jq -r '.hops[].address'`;

interface TraceFlags {
  readonly max: number;
  readonly keyFile?: string;
  readonly json?: boolean;
}

export function registerTrace(program: Command): void {
  program
    .command('trace')
    .summary('find the nodes on the path to a destination')
    .description('Prints address, round-trip time and capabilities of every node on the path.')
    .argument('<destination>', 'HOST[:PORT]; port 80 if there is none', targetArgument)
    .option('--max <n>', 'ask for at most so many nodes', maxArgument, DEFAULT_MAX)
    .option('--key-file <file>', KEY_FILE)
    .option('--json', 'print JSON for programs')
    .addHelpText('after', HELP)
    .action(async (target: Target, flags: TraceFlags) => {
      exitOnSignals();
      const { port } = target;
      const address = await resolveTarget(target);
      const found = await tracePath({ address, port }, flags.max, readKeys(flags.keyFile));
      const destination = formatDestination(address, port);
      if (flags.json === true) printJson({ destination, ...found });
      else print(formatTrace(destination, found));
      process.exitCode = found.complete ? EXIT.ok : EXIT.failed;
    });
}
