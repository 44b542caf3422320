/** A command as a content transform: the content is its standard input, what it prints is the new content. */
import { spawn } from 'node:child_process';
import { TpotError } from '../core/errors.js';
import type { CommandStep } from './steps.js';
import type { ContentSubject, TransformedContent } from './transform.js';

/** Limits that it inherits from this process are those of memory (worker-pool.ts). */
export interface CommandLimits {
  /** Bytes it may print. */
  readonly largest: number;
  /** Seconds of processor time. */
  readonly cpuSeconds: number;
}

/** `ulimit` in a shell that reads none of the arguments, then the program in its place. */
const LIMITED = 'ulimit -t "$1" && ulimit -c 0 && shift && exec "$@"';

function environmentOf({ mediaType, charset, uri, fields }: ContentSubject): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    TPOT_MEDIA_TYPE: mediaType,
    TPOT_CHARSET: charset,
    TPOT_URI: uri,
  };
  for (const [name, value] of Object.entries(fields)) {
    environment[`TPOT_REQUEST_${name.toUpperCase().replaceAll('-', '_')}`] = value;
  }
  return environment;
}

/**
 * The command sees the media type, the URI and the fields of its `vary` in its environment, and nothing else of the node's.
 *
 * @throws TpotError `command-failed`: a status other than 0, a signal, or more output than it may have
 */
export function filterThrough(
  content: Buffer,
  subject: ContentSubject,
  { command, mediaType }: CommandStep,
  { largest, cpuSeconds }: CommandLimits,
): Promise<TransformedContent> {
  const [program = ''] = command;
  const args = ['-c', LIMITED, 'sh', String(cpuSeconds), ...command];
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: environmentOf(subject),
    });
    const parts: Buffer[] = [];
    let size = 0;
    child.stdout.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= largest) {
        parts.push(part);
        return;
      }
      child.kill('SIGKILL');
      child.stdout.destroy(); // what it has started writes to nobody from now on
    });
    child.stdin.on('error', () => undefined); // it may not want all of its input
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 && size <= largest) {
        resolve({ content: Buffer.concat(parts), ...(mediaType === undefined ? {} : { mediaType }) });
        return;
      }
      const how =
        size > largest ? `printed more than ${largest} bytes` : `ended with ${code ?? signal ?? ''}`;
      reject(new TpotError('command-failed', `${program} ${how}`));
    });
    child.stdin.end(content);
  });
}
