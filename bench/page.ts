/** docs/performance.md, out of saved results. Pure; scripts/performance-page.ts reads and writes the files. */
import type { BenchResult, Cell, ResultTable } from './result.js';

/** Between these lines the page is written by hand: generating it again keeps what is there. */
const HAND_BEGIN = '<!-- by hand: begin -->';
const HAND_END = '<!-- by hand: end -->';
const HAND_DEFAULT = 'Nothing has been written about the targets that were missed.';

/** Above this share of the machine in use by others, numbers are not worth quoting. */
const MAX_BACKGROUND = 0.1;

const escape = (cell: Cell): string => String(cell ?? '-').replaceAll('|', '\\|');

function markdownTable({ heading, rows }: Pick<ResultTable, 'heading' | 'rows'>): string {
  const line = (cells: readonly Cell[]): string => `| ${cells.map(escape).join(' | ')} |`;
  return [
    line(heading),
    line(heading.map((_, column) => (column === 0 ? '---' : '---:'))),
    ...rows.map(line),
  ].join('\n');
}

function list(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n');
}

function warnings({ quick, machine }: BenchResult): string[] {
  const busy = Math.round(100 * machine.background);
  return [
    ...(quick ? ['**A quick run: it shows that the bench works, not how fast anything is.**'] : []),
    ...(machine.background > MAX_BACKGROUND
      ? [`**${busy} % of the machine was in use by others before the run: not to be quoted.**`]
      : []),
  ];
}

function offloadsOf({ offloads }: BenchResult): string[] {
  const sizes = Object.keys(offloads);
  if (sizes.length === 0) return [];
  const names = [...new Set(Object.values(offloads).flatMap((values) => Object.keys(values)))];
  const rows = names.map((name) => [name, ...sizes.map((size) => offloads[size]?.[name] ?? '-')]);
  return [markdownTable({ heading: ['offload', ...sizes.map((size) => `${size} packets`)], rows })];
}

function machineLine({ machine, started, seconds }: BenchResult): string {
  const gibibytes = (machine.memoryBytes / 1024 ** 3).toFixed(0);
  return (
    `${started.slice(0, 10)}, ${seconds} s, ${machine.processor}, ${machine.cores} processors, ${gibibytes} GiB, ` +
    `${machine.system}, Linux ${machine.kernel}, Node ${machine.node}.`
  );
}

function sectionOf(result: BenchResult, pictures: string): string {
  const figures = result.figures.map(
    ({ name, title }) => `![${title}](${pictures}/${result.bench}-${name}.svg)`,
  );
  return [
    `## ${result.bench}`,
    ...warnings(result),
    machineLine(result),
    list(result.settings),
    ...offloadsOf(result),
    ...figures,
    ...result.tables.map((table) => `### ${table.title}\n\n${markdownTable(table)}`),
    ...result.notes,
  ].join('\n\n');
}

function targetsOf(results: readonly BenchResult[]): string {
  const rows = results.flatMap(({ bench, targets }) =>
    targets.map(({ what, aim, found, met }) => [what, bench, aim, found, met ? 'met' : '**missed**']),
  );
  return markdownTable({ heading: ['target', 'bench', 'aim', 'found', ''], rows });
}

/** What stands between the two marks of an earlier page. */
export function handWritten(page: string): string {
  const [begin, end] = [page.indexOf(HAND_BEGIN), page.indexOf(HAND_END)];
  return begin < 0 || end < begin ? HAND_DEFAULT : page.slice(begin + HAND_BEGIN.length, end).trim();
}

const INTRODUCTION = `# Performance

Written by \`npm run performance\` from the results that \`tpot-node bench NAME\` saves; only what stands under
"What is still short" is written by hand. Every contender has a network of its own (client – node – origin, in
namespaces), all stand side by side, and rounds alternate. Quoted is the median over the rounds, with the smallest
and the largest in parentheses; ratios are to the baseline in the same round.

The ends of a load copy nothing (they send pages and drop what arrives inside the kernel), so that the machine is there
for what is measured. All of it runs on one machine: "machine %" is the client's, the node's and the origin's work
together.`;

export function performancePage(results: readonly BenchResult[], pictures: string, earlier: string): string {
  const sections = results.map((result) => sectionOf(result, pictures));
  const short = `## What is still short\n\n${HAND_BEGIN}\n${handWritten(earlier)}\n${HAND_END}`;
  const doubts = [...new Set(results.flatMap(warnings))];
  const targets = ['## Targets', ...doubts, targetsOf(results)];
  return `${[INTRODUCTION, ...targets, short, ...sections].join('\n\n')}\n`;
}
