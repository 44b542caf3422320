/** The labs of docs/reliability.md, as a user runs them. `npm test` has those that are quick. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tryCommand } from '../host/exec.js';
import { packageRoot } from '../host/paths.js';

interface Report {
  readonly ok: boolean;
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[];
  readonly cases: readonly { readonly id: string }[];
}

test.each(['stripped', 'blocked', 'restart', 'mtu', 'attack'])('lab %s holds', async (lab) => {
  const { code, stdout, stderr } = await tryCommand(join(packageRoot, 'bin', 'tpot-node'), [
    'lab',
    lab,
    '--json',
  ]);
  const report = JSON.parse(stdout) as Report;
  expect(
    report.checks.filter((check) => !check.ok),
    stderr,
  ).toEqual([]);
  expect([report.ok, code]).toEqual([true, 0]);
  expect(report.cases.every(({ id }) => id.startsWith(`${lab}/`))).toBe(true);
  expect(report.cases.length).toBeGreaterThan(3);
});

test.each(['ecmp', 'transcode'])('lab %s holds', async (name) => {
  const lab = await tryCommand(join(packageRoot, 'bin', 'tpot-node'), ['lab', name, '--json']);
  const { ok, checks } = JSON.parse(lab.stdout) as Report;
  expect(
    checks.filter((check) => !check.ok),
    lab.stderr,
  ).toEqual([]);
  expect([ok, lab.code]).toEqual([true, 0]);
});

test('lab chain holds with a load of thousands, and says where it was answered', async () => {
  const command = ['lab', 'chain', '--json', '--requests', '3000'];
  const lab = await tryCommand(join(packageRoot, 'bin', 'tpot-node'), command);
  const { ok, checks, load } = JSON.parse(lab.stdout) as Report & {
    readonly load: { readonly requests: number; readonly nodes: readonly { readonly hits: number }[] };
  };
  expect(
    checks.filter((check) => !check.ok),
    lab.stderr,
  ).toEqual([]);
  expect([ok, lab.code, load.requests]).toEqual([true, 0, 3000]);
  expect(load.nodes.every(({ hits }) => hits > 0)).toBe(true);
});
