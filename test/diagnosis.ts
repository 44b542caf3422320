/** What `tpot-node doctor` finds in a host of a chain. */
import { expect } from 'vitest';
import type { Check } from '../doctor/check.js';
import { tpotNodeCommand } from '../netns/host.js';
import type { Chain } from './chain.js';

interface Diagnosis {
  readonly code: number | undefined;
  readonly checks: Readonly<Record<string, Check>>;
}

export async function doctor(chain: Chain, host: string, ...args: string[]): Promise<Diagnosis> {
  const [program, launcher] = tpotNodeCommand;
  const { code, stdout, stderr } = await chain
    .host(host)
    .run(program, [launcher, 'doctor', '--json', ...args]);
  if (stdout === '') throw new Error(stderr);
  const checks = JSON.parse(stdout) as Check[];
  expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length);
  for (const { status, mend } of checks) expect(mend === null).toBe(status === 'ok');
  expect(code).toBe(checks.some(({ status }) => status === 'fail') ? 1 : 0);
  return { code, checks: Object.fromEntries(checks.map((check) => [check.name, check])) };
}

/** A table with one chain; rules one per line. */
export const table = (hook: string, policy: string, ...rules: string[]): string => `table inet seen {
  chain c {
    type filter hook ${hook} priority 0; policy ${policy};
    ${rules.join('\n    ')}
  }
}`;
