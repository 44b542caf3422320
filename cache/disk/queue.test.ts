import { expect, it } from 'vitest';
import { FileQueue } from './queue.js';

it('removals come before what waits to be written, but not before what stands under their name', async () => {
  const queue = new FileQueue();
  const done: string[] = [];
  const work = (what: string) => () => {
    done.push(what);
    return Promise.resolve();
  };
  const busy = ['a', 'b', 'c'];
  for (const name of busy) void queue.add(name, work(`write ${name}`));
  void queue.add('d', work('write d'));
  void queue.add('e', work('write e'));
  void queue.add('e', work('remove e'), 'next');
  void queue.add('f', work('remove f'), 'next');
  await queue.idle();
  expect(done.slice(0, 3)).toEqual(busy.map((name) => `write ${name}`));
  expect(done.indexOf('remove f')).toBeLessThan(done.indexOf('write d'));
  expect(done.indexOf('write e')).toBeLessThan(done.indexOf('remove e'));
});
