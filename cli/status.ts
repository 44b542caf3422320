/** `tpot-node status|conns|stats [--name N] [--json]` */
import type { Command } from 'commander';
import { askNode, chooseNode } from '../node/admin-client.js';
import type { ConnectionRow } from '../node/connections.js';
import { shimReports, type ShimReport } from '../client-shim/report.js';
import { TpotError } from '../core/errors.js';
import { printable } from '../core/printable.js';
import type { NodeStats, NodeStatus } from '../node/node.js';
import { formatAge, formatBytes, print, printJson, section, table } from './output.js';
import { transformMetrics } from './transform-metrics.js';
import { transformedLegs, transformStats, transformStatus } from './transform-views.js';

interface Flags {
  readonly name?: string;
  readonly json?: boolean;
  /** Of `status` only. */
  readonly shim?: boolean;
  /** Of `stats` only. */
  readonly prometheus?: boolean;
}

function formatHoles(blackHoles: NodeStatus['blackHoles']): string {
  if (blackHoles.length === 0) return 'black holes: none';
  const rows = blackHoles.map(({ destination, secondsLeft }) => [destination, formatAge(secondsLeft)]);
  return `black holes (get no requests for so long):\n${table(['DESTINATION', 'LEFT'], rows)}`;
}

function formatReturnSources(sources: NodeStatus['returnSources']): string[] {
  if (sources.length === 0) return [];
  const rows = sources.map(({ source, secondsLeft }) => [source, formatAge(secondsLeft)]);
  return [`sources that get their segments in a tunnel:\n${table(['SOURCE', 'LEFT'], rows)}`];
}

function formatUdpNodes(udpNodes: NodeStatus['udpNodes']): string[] {
  if (udpNodes.length === 0) return [];
  const rows = udpNodes.map(({ node, secondsLeft }) => [node, formatAge(secondsLeft)]);
  return [`nodes reached in UDP (IP in IP did not pass):\n${table(['NODE', 'LEFT'], rows)}`];
}

export function formatStatus(status: NodeStatus): string {
  const { name, state, addresses, uptimeSeconds, connections } = status;
  return [
    section(`tpot-node ${name}`, {
      state,
      address: addresses.join(', '),
      pid: status.pid,
      up: formatAge(uptimeSeconds),
      connections,
    }),
    section('cache', status.cache),
    ...transformStatus(status),
    section('kernel', status.kernel),
    section('counters', status.counters),
    formatHoles(status.blackHoles),
    ...formatUdpNodes(status.udpNodes),
    ...formatReturnSources(status.returnSources),
  ].join('\n\n');
}

export function formatConns(rows: readonly ConnectionRow[]): string {
  if (rows.length === 0) return 'no connections';
  // Most columns are always there; this one is wide, and often empty.
  const named = rows.some(({ sni }) => sni !== null);
  const transformed = rows.some((row) => row.clientTransforms !== null || row.nextTransforms !== null);
  const heading = [
    'CLIENT',
    'DESTINATION',
    'VIA',
    'NEXT HOP',
    'STATE',
    'ACTION',
    'REASON',
    ...(named ? ['SNI'] : []),
    ...(transformed ? ['TRANSFORMED'] : []),
    'IN',
    'OUT',
    'AGE',
  ];
  return table(
    heading,
    rows.map((row) => [
      row.client,
      row.destination,
      row.returnTunnel ? `${row.via} (both ways)` : row.via,
      row.nextVia === 'tunnel-udp' ? `${row.nextHop ?? ''} (udp)` : row.nextHop,
      row.state,
      row.action,
      row.reason,
      ...(named ? [row.sni] : []),
      ...(transformed ? [transformedLegs(row)] : []),
      formatBytes(row.bytesIn),
      formatBytes(row.bytesOut),
      formatAge(row.ageSeconds),
    ]),
  );
}

function formatContent(content: NodeStats['content']): string[] {
  if (content === undefined || (content.steps.length === 0 && Object.keys(content.untouched).length === 0)) {
    return [];
  }
  const rows = content.steps.map((step) => [
    step.name,
    String(step.responses),
    String(step.smaller),
    String(step.failed),
    formatBytes(step.bytesIn),
    formatBytes(step.bytesOut),
    step.bytesIn === 0 ? '-' : `${Math.round((100 * step.bytesOut) / step.bytesIn)} %`,
    `${step.cpuSeconds.toFixed(2)} s`,
    `${step.delayP50} ms`,
    `${step.delayP99} ms`,
  ]);
  const header = ['CONTENT', 'RESPONSES', 'SMALLER', 'FAILED', 'IN', 'OUT', 'RATIO', 'CPU', 'P50', 'P99'];
  return [
    ...(rows.length === 0 ? [] : [`content transforms:\n${table(header, rows)}`]),
    section('content left as it was', content.untouched),
    section('transformed contents kept', { ...content.variants }),
  ];
}

export function formatStats({ connections, counters, cache, transforms, content }: NodeStats): string {
  const { open, total, bytesIn, bytesOut, byAction, byReason } = connections;
  return [
    section('connections', { open, total, in: formatBytes(bytesIn), out: formatBytes(bytesOut) }),
    section('by action', byAction),
    section('by reason', byReason),
    section('cache', cache),
    ...transformStats(transforms),
    ...formatContent(content),
    section('counters', counters),
  ].join('\n\n');
}

/** What `status --shim` shows: every command that runs with TPOT on. */
export function formatShims(reports: readonly ShimReport[]): string {
  if (reports.length === 0) return 'no command runs with TPOT on';
  return reports
    .flatMap(({ pid, command, uptimeSeconds, counters, tunnels, blackHoles }) => [
      section(`tpot-node run ${printable(command.join(' '))}`, { pid, up: formatAge(uptimeSeconds) }),
      section('counters', counters),
      tunnels.length === 0
        ? 'tunnels: none'
        : `tunnels:\n${table(
            ['SOURCE', 'DESTINATION', 'NODE'],
            tunnels.map(({ source, destination, nextHop }) => [source, destination, nextHop]),
          )}`,
      formatHoles(blackHoles),
    ])
    .join('\n\n');
}

async function shimAction(json: boolean): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new TpotError('no-permission', 'the sockets of `tpot-node run` are for root only', {
      hint: 'Use sudo.',
    });
  }
  const reports = await shimReports();
  if (json) printJson(reports);
  else print(formatShims(reports));
}

/** The three commands differ in what they ask and how they show it to people. */
function registerView(
  program: Command,
  name: 'status' | 'conns' | 'stats',
  summary: string,
  format: (answer: never) => string,
  help: string,
): Command {
  return program
    .command(name)
    .summary(summary)
    .description(`${summary[0]?.toUpperCase() ?? ''}${summary.slice(1)}.`)
    .option('--name <name>', 'which node (default: the only one running)')
    .option('--json', 'print JSON for programs')
    .addHelpText('after', `\n${help}`)
    .action(async (flags: Flags) => {
      if (flags.shim === true) {
        await shimAction(flags.json === true);
        return;
      }
      const node = await chooseNode(flags.name);
      const answer = await askNode(node, `/${name}`);
      if (flags.json === true) printJson(answer);
      else if (flags.prometheus === true)
        print(transformMetrics(node, (answer as NodeStats).transforms).trimEnd());
      else print(format(answer as never)); // the node answers each path with what its view shows
    });
}

export function registerStatus(program: Command): void {
  registerView(
    program,
    'status',
    'show how a node is doing: state, counters, cache, kernel, black holes',
    formatStatus,
    'Examples:\n  tpot-node status\n  tpot-node status --name p1 --json | jq .counters\n  tpot-node status --shim',
  ).option('--shim', 'of the commands that run under `tpot-node run`, instead of a node');
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
    'Examples:\n  tpot-node stats\n  tpot-node stats --json | jq .connections.byReason\n' +
      '  tpot-node stats --prometheus > /var/lib/prometheus/node-exporter/tpot.prom',
  ).option('--prometheus', 'print what transforms did as metrics for Prometheus');
}
