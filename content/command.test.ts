import { expect, it } from 'vitest';
import { filterThrough } from './command.js';
import type { CommandStep } from './steps.js';

const subject = { mediaType: 'text/plain', charset: 'utf-8', uri: 'http://192.0.2.80/', fields: {} };
const limits = { largest: 64 * 1024, cpuSeconds: 5 };
const step = (script: string): CommandStep => ({
  kind: 'command',
  name: 'test',
  types: ['text/plain'],
  vary: [],
  command: ['/bin/sh', '-c', script],
  mediaType: undefined,
});

it('gives what a command prints', async () => {
  const made = await filterThrough(Buffer.from('a  b'), subject, step('tr -s " "'), limits);
  expect(Buffer.from(made.content).toString()).toBe('a b');
});

it('collects no more than a command may print, nor waits for what it has started', async () => {
  const endless = step('yes & wait');
  await expect(filterThrough(Buffer.from('x'), subject, endless, limits)).rejects.toMatchObject({
    code: 'command-failed',
    message: expect.stringContaining('printed more than 65536 bytes') as string,
  });
});
