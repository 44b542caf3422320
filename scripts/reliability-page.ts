/**
 * Writes docs/reliability.md from runs of the labs that have cases.
 *
 *   node dist/scripts/reliability-page.js [RUNS]        default: 3
 */
import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../host/paths.js';
import { reliabilityPage, type PageLab } from '../netns/case-page.js';
import { runLab } from '../netns/lab.js';
import { labs } from '../netns/labs/all.js';

/** Labs of docs/reliability.md, in the order of the page. */
const NAMES = ['stripped', 'blocked', 'restart', 'mtu', 'attack'];

const runs = Number(process.argv[2] ?? 3);
const pages: PageLab[] = [];
for (const lab of labs.filter(({ name }) => NAMES.includes(name))) {
  const done = [];
  for (let run = 1; run <= runs; run++) {
    const { ok, cases, checks, milliseconds } = await runLab(lab);
    process.stderr.write(
      `${lab.name} ${run}/${runs}: ${ok ? 'holds' : 'does not hold'}, ${Math.round(milliseconds / 1000)} s\n`,
    );
    for (const check of checks.filter((one) => !one.ok))
      process.stderr.write(`  ${check.name}: ${check.detail}\n`);
    done.push({ lab: lab.name, ok, cases });
  }
  pages.push({ name: lab.name, summary: lab.summary, runs: done });
}
const day = new Date().toISOString().slice(0, 10);
const file = join(packageRoot, 'docs', 'reliability.md');
writeFileSync(
  file,
  reliabilityPage(pages, `${day}, Linux ${release()}, ${runs} ${runs === 1 ? 'run' : 'runs'} of each lab`),
);
process.stdout.write(`${file}\n`);
if (pages.some((page) => page.runs.some(({ ok }) => !ok))) process.exitCode = 1;
