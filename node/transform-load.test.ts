import { expect, test } from 'vitest';
import { TransformLoad } from './transform-load.js';

const states = (looks: readonly number[]): boolean[] => {
  const load = new TransformLoad();
  return looks.map((utilization) => {
    load.look(utilization);
    return load.saturated;
  });
};

test('five busy seconds in a row are too many, a burst is not', () => {
  expect(states([1, 1, 1, 1, 1])).toEqual([false, false, false, false, true]);
  expect(states([1, 1, 1, 1, 0.9, 1, 1, 1, 1])).not.toContain(true);
});

test('between busy and free nothing changes', () => {
  expect(states([1, 1, 1, 1, 1, 0.8, 0.96, 0.71, 0.69, 0.8])).toEqual([
    ...[false, false, false, false],
    ...[true, true, true, true],
    ...[false, false],
  ]);
});

test('a change is told once', () => {
  const load = new TransformLoad();
  expect([1, 1, 1, 1, 1, 1, 0, 0].map((utilization) => load.look(utilization))).toEqual([
    ...[false, false, false, false, true],
    ...[false, true, false],
  ]);
});
