import { expect, test } from 'vitest';
import { reliabilityPage } from './case-page.js';

test('a row for each case, with medians over the runs', () => {
  const run = (
    fallbackMs: number,
    ok = true,
  ): {
    lab: string;
    ok: boolean;
    cases: { id: string; title: string; without: string; with: string; fallbackMs: number }[];
  } => ({
    lab: 'demo',
    ok,
    cases: [{ id: 'demo/a', title: 'a case', without: 'works', with: 'works, too', fallbackMs }],
  });
  const page = reliabilityPage(
    [{ name: 'demo', summary: 'a demonstration', runs: [run(2040), run(90), run(3010, false)] }],
    'today',
  );
  expect(page).toContain('| a case | works | works, too | – | 2.0 s |  |');
  expect(page).toContain('every check held in 2 of 3 runs');
  expect(page).toContain('(today)');
});
