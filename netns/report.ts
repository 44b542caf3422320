/** A lab's report as text for people, and as data for programs. */
import { drawTopology } from './draw.js';
import type { CaseOutcome } from './cases.js';
import type { CaptureSummary, LinkCapture } from './capture.js';
import type { CheckResult } from './checks.js';
import type { LabReport, Table } from './lab.js';

const NAME_WIDTH = 10;

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => (line === '' ? line : `  ${line}`))
    .join('\n');
}

function formatTable({ head, rows }: Table): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** Cases as a table, with the columns that any of them fills. */
function caseTable(cases: readonly CaseOutcome[]): Table {
  const time = (value: number | undefined): string => (value === undefined ? '' : `${value} ms`);
  const columns: readonly (readonly [string, (one: CaseOutcome) => string])[] = [
    ['case', ({ title }) => title],
    ['without TPOT', (one) => one.without],
    ['with TPOT', (one) => one.with],
    ['turned against it', ({ against = '' }) => against],
    ['to fall back', ({ fallbackMs }) => time(fallbackMs)],
    ['next time', ({ laterMs }) => time(laterMs)],
  ];
  const used = columns.filter(([, cell]) => cases.some((one) => cell(one) !== ''));
  return { head: used.map(([head]) => head), rows: cases.map((one) => used.map(([, cell]) => cell(one))) };
}

function describeCapture({ packets, drops, protocols }: CaptureSummary): string {
  if (packets === 0) return 'no packets';
  const kinds = Object.entries(protocols).map(([name, count]) => `${count} ${name}`);
  const lost = drops === undefined ? 'loss unknown' : `${drops} lost`;
  return `${packets} packets (${kinds.join(', ')}), ${lost}`;
}

function describeCaptures(captures: readonly LinkCapture[]): string {
  return ['captures', ...captures.map(({ file, summary }) => `  ${file}: ${describeCapture(summary)}`)].join(
    '\n',
  );
}

function describeHosts({ topology }: LabReport): string {
  const roles = topology.hosts.map(({ name, role, namespace, address }) =>
    [name.padEnd(NAME_WIDTH), role.padEnd(7), address.padEnd(15), namespace].join(' '),
  );
  return roles.join('\n');
}

function describeKept({ id, topology }: LabReport): string {
  const [first] = topology.hosts;
  return [
    `kept running as ${id}:`,
    indent(`tpot-node lab exec --id ${id} ${first?.name ?? 'HOST'} -- CMD   runs a command in a host`),
    indent(`tpot-node lab down --id ${id}   removes it`),
  ].join('\n');
}

/** What a program said may have several lines; they stay together. */
function formatCheck({ name, ok, detail }: CheckResult): string {
  return `  ${ok ? '✓' : '✗'} ${name} (${detail.replaceAll('\n', '\n      ')})`;
}

/** The whole report: picture, steps, tables, checks, captures; `drawings` are the files of its plots. */
export function formatReport(report: LabReport, drawings: readonly string[] = []): string {
  const { lab, topology, steps, tables, cases, checks, captures, ok, milliseconds } = report;
  const failed = checks.filter((check) => !check.ok).length;
  const seconds = (milliseconds / 1000).toFixed(1);
  const sections = [
    `${lab.name}: ${lab.summary}`,
    indent(drawTopology(topology.spec, topology.links)),
    indent(describeHosts(report)),
    ['steps', ...steps.map((step, index) => `  ${index + 1}. ${step}`)].join('\n'),
    ...tables.map((table) => indent(formatTable(table))),
    ...(cases.length > 0 ? [indent(formatTable(caseTable(cases)))] : []),
    ['checks', ...checks.map(formatCheck)].join('\n'),
    ...(drawings.length > 0 ? [['drawings', ...drawings.map((file) => `  ${file}`)].join('\n')] : []),
    ...(captures.length > 0 ? [describeCaptures(captures)] : []),
    ...(report.kept ? [describeKept(report)] : []),
    ok
      ? `all ${checks.length} checks hold (${seconds} s)`
      : `${failed} of ${checks.length} checks do not hold (${seconds} s); logs are in ${topology.directory}`,
  ];
  return `${sections.join('\n\n')}\n`;
}

/** The report for programs. */
export function reportJson({ lab, ok, checks, cases, figures }: LabReport): object {
  return { lab: lab.name, ok, checks, ...(cases.length > 0 ? { cases } : {}), ...figures };
}
