import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { Estimates } from './transform-estimate.js';

const leg = (): Socket => new Socket().pause();

test('text would have become smaller, random bytes would not', () => {
  const estimates = new Estimates();
  const [text, random] = [leg(), leg()];
  estimates.watch(text, '198.18.0.1');
  estimates.watch(random, undefined);
  expect(text.isPaused()).toBe(true);
  text.emit('data', Buffer.from('all work and no play '.repeat(400)));
  random.emit('data', randomBytes(8000));
  const [saved, not] = estimates.report();
  expect(saved).toMatchObject({ node: '198.18.0.1', legs: 1, received: 8400, sampled: 8400 });
  expect(saved?.wouldSave).toBeGreaterThan(7000);
  expect(not).toMatchObject({ node: 'destination', wouldSave: 0 });
  estimates.close();
});

test('of a long stream a small share is looked at, and of many streams no more in a second', () => {
  const estimates = new Estimates(() => 0);
  const block = Buffer.alloc(64 * 1024);
  const one = leg();
  estimates.watch(one, undefined);
  for (let count = 0; count < 64; count++) one.emit('data', block);
  expect(estimates.report()[0]).toMatchObject({ received: 4 * 1024 * 1024, sampled: 4 * 16 * 1024 });
  for (let count = 0; count < 200; count++) {
    const other = leg();
    estimates.watch(other, undefined);
    other.emit('data', block);
  }
  expect(estimates.report()[0]?.sampled).toBe(512 * 1024);
  estimates.close();
});

test('a compressor that fails costs the estimate and nothing else', () => {
  const broken = (): never => {
    throw new Error('no memory');
  };
  const codec = { name: 'broken', bit: 1, levels: [1], compressor: broken, decompressor: broken };
  const estimates = new Estimates(() => 0, codec);
  const one = leg();
  estimates.watch(one, undefined);
  one.emit('data', Buffer.alloc(1000));
  expect(estimates.report()[0]).toMatchObject({ received: 1000, sampled: 0, wouldSave: 0 });
  estimates.close();
});

test('nodes beyond the limit are added up', () => {
  const estimates = new Estimates();
  for (let count = 0; count < 100; count++) estimates.watch(leg(), `198.18.0.${count}`);
  const report = estimates.report();
  expect(report).toHaveLength(65);
  expect(report.at(-1)).toMatchObject({ node: 'others', legs: 36 });
});
