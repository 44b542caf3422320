/**
 * Writes docs/performance.md and its figures from the results of benches.
 *
 *   node dist/scripts/performance-page.js [RESULTS]        default: bench-results
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawFigure } from '../bench/draw/chart.js';
import { performancePage } from '../bench/page.js';
import type { BenchResult } from '../bench/result.js';
import { benches } from '../bench/run.js';
import { packageRoot } from '../host/paths.js';

const PICTURES = 'performance';

function readResults(directory: string): BenchResult[] {
  return benches
    .map(({ name }) => join(directory, `${name}.json`))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as BenchResult);
}

const results = readResults(process.argv[2] ?? 'bench-results');
if (results.length === 0) {
  process.stderr.write('no results: run `tpot-node bench NAME` first\n');
  process.exit(1);
}
const docs = join(packageRoot, 'docs');
const page = join(docs, 'performance.md');
rmSync(join(docs, PICTURES), { recursive: true, force: true });
mkdirSync(join(docs, PICTURES), { recursive: true });
for (const { bench, figures } of results) {
  for (const figure of figures) {
    writeFileSync(join(docs, PICTURES, `${bench}-${figure.name}.svg`), drawFigure(figure));
  }
}
writeFileSync(page, performancePage(results, PICTURES, existsSync(page) ? readFileSync(page, 'utf8') : ''));
process.stdout.write(`${page}\n`);
