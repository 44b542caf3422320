import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { ContentJob } from './job.js';
import { WorkerPool } from './worker-pool.js';

const folder = mkdtempSync(join(tmpdir(), 'tpot-pool-'));
const pool = new WorkerPool({ processes: 1, memory: 512 * 2 ** 20, timeout: 20_000, largest: 2 ** 20 });
afterEach(() => {
  pool.close();
  rmSync(folder, { recursive: true });
});

/** Answers for the worker, and then lets the worker answer, too. */
const FORGER = `import { writeSync } from 'node:fs';
export default function forger(content) {
  const json = Buffer.from('{"id":1,"reports":[]}');
  const prefix = Buffer.alloc(8);
  prefix.writeUInt32LE(json.length, 0);
  prefix.writeUInt32LE(0xffffffff, 4);
  if (content.toString().startsWith('one')) writeSync(1, Buffer.concat([prefix, json]));
  return { content: content.subarray(0, 3) };
}
`;

it('never takes the answer to one response for that to another', async () => {
  const path = join(folder, 'forger.mjs');
  writeFileSync(path, FORGER);
  const job = (content: string): ContentJob => ({
    steps: [
      { kind: 'module', name: 'forger', types: ['text/plain'], vary: [], path, version: '1', options: {} },
    ],
    ...{ content: Buffer.from(content), mediaType: 'text/plain', charset: undefined },
    ...{ recoding: undefined, uri: 'http://192.0.2.80/', fields: [{}] },
  });
  const text = async (content: string): Promise<string> => {
    try {
      return Buffer.from((await pool.run(job(content))).content ?? '').toString();
    } catch {
      return 'failed';
    }
  };
  const [, second] = await Promise.all([text('one content'), text('two content')]);
  // The worker's own answer to the first comes late, and ends the worker with whatever it has just been given: once.
  const answers = [second, await text('two again'), await text('two more')];
  expect(answers.filter((answer) => answer !== 'two' && answer !== 'failed')).toEqual([]);
  expect(answers.filter((answer) => answer === 'failed').length).toBeLessThan(2);
});
