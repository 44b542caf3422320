import { expect, it } from 'vitest';
import { Admission } from './admission.js';

const SLOTS = 65_536;
const keys = (count: number, prefix: string): string[] =>
  Array.from({ length: count }, (_, at) => `${prefix}/${at}`);

it('a key is admitted from its second request on', () => {
  const admission = new Admission();
  expect(keys(3, 'a').map((key) => admission.again(key))).toEqual([false, false, false]);
  expect(keys(3, 'a').map((key) => admission.again(key))).toEqual([true, true, true]);
  expect(admission.again('b')).toBe(false);
});

it('where more are asked for once than it holds, the newest take the places of older ones, and nobody else’s', () => {
  const admission = new Admission();
  const old = keys(1000, 'old');
  for (const key of old) admission.again(key);
  expect(keys(8 * SLOTS, 'flood').filter((key) => admission.again(key))).toEqual([]);
  // e^-8 of them may have been spared.
  expect(old.filter((key) => admission.again(key)).length).toBeLessThan(10);
  const fresh = keys(1000, 'fresh');
  for (const key of fresh) admission.again(key);
  // Of a thousand in 65,536 places a handful share one.
  expect(fresh.filter((key) => admission.again(key)).length).toBeGreaterThan(970);
});
