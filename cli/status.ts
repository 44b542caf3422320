/** `tpot-node status|conns|stats [--name N] [--json]` */
import type { Command } from 'commander';
import { askNode, chooseNode } from '../node/admin-client.js';
import type { ConnectionRow } from '../node/connections.js';
import type { NodeStats, NodeStatus } from '../node/node.js';
import { formatAge, formatBytes, print, printJson, section, table } from './output.js';

interface Flags {
  readonly name?: string;
  readonly json?: boolean;
}

export function formatStatus(status: NodeStatus): string {
  const { name, state, addresses, uptimeSeconds, connections } = status;
  const holes = status.blackHoles.map(({ destination, secondsLeft }) => [
    destination,
    formatAge(secondsLeft),
  ]);
  const udpNodes = status.udpNodes.map(({ node, secondsLeft }) => [node, formatAge(secondsLeft)]);
  return [
    section(`tpot-node ${name}`, {
      state,
      address: addresses.join(', '),
      pid: status.pid,
      up: formatAge(uptimeSeconds),
      connections,
    }),
    section('cache', status.cache),
    section('kernel', status.kernel),
    section('counters', status.counters),
    holes.length === 0
      ? 'black holes: none'
      : `black holes (get no requests for so long):\n${table(['DESTINATION', 'LEFT'], holes)}`,
    ...(udpNodes.length === 0
      ? []
      : [`nodes reached in UDP (IP in IP did not pass):\n${table(['NODE', 'LEFT'], udpNodes)}`]),
  ].join('\n\n');
}

export function formatConns(rows: readonly ConnectionRow[]): string {
  if (rows.length === 0) return 'no connections';
  // Most columns are always there; this one is wide, and often empty.
  const named = rows.some(({ sni }) => sni !== null);
  const heading = [
    'CLIENT',
    'DESTINATION',
    'VIA',
    'NEXT HOP',
    'STATE',
    'ACTION',
    'REASON',
    ...(named ? ['SNI'] : []),
    'IN',
    'OUT',
    'AGE',
  ];
  return table(
    heading,
    rows.map((row) => [
      row.client,
      row.destination,
      row.via,
      row.nextVia === 'tunnel-udp' ? `${row.nextHop ?? ''} (udp)` : row.nextHop,
      row.state,
      row.action,
      row.reason,
      ...(named ? [row.sni] : []),
      formatBytes(row.bytesIn),
      formatBytes(row.bytesOut),
      formatAge(row.ageSeconds),
    ]),
  );
}

export function formatStats({ connections, counters, cache }: NodeStats): string {
  const { open, total, bytesIn, bytesOut, byAction, byReason } = connections;
  return [
    section('connections', { open, total, in: formatBytes(bytesIn), out: formatBytes(bytesOut) }),
    section('by action', byAction),
    section('by reason', byReason),
    section('cache', cache),
    section('counters', counters),
  ].join('\n\n');
}

/** The three commands differ in what they ask and how they show it to people. */
function registerView(
  program: Command,
  name: 'status' | 'conns' | 'stats',
  summary: string,
  format: (answer: never) => string,
  help: string,
): void {
  program
    .command(name)
    .summary(summary)
    .description(`${summary[0]?.toUpperCase() ?? ''}${summary.slice(1)}.`)
    .option('--name <name>', 'which node (default: the only one running)')
    .option('--json', 'print JSON for programs')
    .addHelpText('after', `\n${help}`)
    .action(async (flags: Flags) => {
      const answer = await askNode(await chooseNode(flags.name), `/${name}`);
      if (flags.json === true) printJson(answer);
      else print(format(answer as never)); // the node answers each path with what its view shows
    });
}

export function registerStatus(program: Command): void {
  registerView(
    program,
    'status',
    'show how a node is doing: state, counters, cache, kernel, black holes',
    formatStatus,
    'Examples:\n  tpot-node status\n  tpot-node status --name p1 --json | jq .counters',
  );
  registerView(
    program,
    'conns',
    'list the connections of a node',
    formatConns,
    'IN is from the client, OUT is to the client. docs/cli.md explains states and reasons.\n\n' +
      'Examples:\n  tpot-node conns\n  tpot-node conns --json | jq -r ".[] | select(.nextHop) | .client"',
  );
  registerView(
    program,
    'stats',
    'show totals of a node, by action and by reason',
    formatStats,
    'Examples:\n  tpot-node stats\n  tpot-node stats --json | jq .connections.byReason',
  );
}
