/** The cases of http-smuggling.test.ts in great numbers. FUZZ_CASES and FUZZ_SEED say how many, and which. */
import { expect, test } from 'vitest';
import { RequestFuzz, ResponseFuzz } from './fuzz/http-runner.js';
import { fuzzRun } from './fuzz/random.js';

const CASES = 5_000;

test.each([
  ['requests', RequestFuzz],
  ['responses', ResponseFuzz],
] as const)('%s are never taken for two, nor two for one', async (what, Fuzz) => {
  const { random, cases, done } = fuzzRun(`HTTP ${what}`, CASES);
  const fuzz = new Fuzz(random);
  try {
    await fuzz.open();
    for (let number = 0; number < cases; number++) await fuzz.run(number);
  } finally {
    await fuzz.h.close();
  }
  done(fuzz.seen);
  expect(fuzz.seen.size).toBeGreaterThan(1);
});
