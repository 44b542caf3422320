/** The child's side of the conversation: commands from stdin, read without leaving the poll loop. */
import { readSync, writeSync } from 'node:fs';
import type { LoadCommand, LoadEvent } from './protocol.js';

export const STDIN = 0;
const STDOUT = 1;
const CHUNK = 64 * 1024;

const chunk = Buffer.alloc(CHUNK);
let text = '';

/** The commands that have come; ends the process when the bench has gone. Call it when stdin is readable. */
export function readCommands(): LoadCommand[] {
  const length = readSync(STDIN, chunk);
  if (length === 0) process.exit(0);
  const lines = (text + chunk.toString('utf8', 0, length)).split('\n');
  text = lines.pop() ?? '';
  return lines.map((line) => JSON.parse(line) as LoadCommand);
}

export function tell(event: LoadEvent): void {
  writeSync(STDOUT, `${JSON.stringify(event)}\n`);
}
