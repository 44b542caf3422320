/** A command as a content transform: the content is its standard input, what it prints the new content. */
import { spawn } from 'node:child_process';
import { TpotError } from '../../core/errors.js';
import type { ContentTransform } from './transform.js';

export interface CommandOptions {
  readonly name: string;
  /** Program and arguments; no shell reads them. */
  readonly command: readonly [string, ...string[]];
  readonly types: readonly string[];
  /** The media type of what it prints, when it is another one. */
  readonly mediaType: string | undefined;
  /** Bytes it may print. */
  readonly largest: number;
}

/** The command sees the media type and the URI in its environment, and nothing else of the node's. */
function run(
  options: CommandOptions,
  content: Buffer,
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Buffer> {
  const [program, ...args] = options.command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'], ...environment },
      signal,
      killSignal: 'SIGKILL',
    });
    const parts: Buffer[] = [];
    let size = 0;
    child.stdout.on('data', (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size > options.largest) child.kill('SIGKILL');
    });
    child.stdin.on('error', () => undefined); // it may not want all of its input
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(parts));
      else reject(new TpotError('command-failed', `${program} ended with ${code ?? 'a signal'}`));
    });
    child.stdin.end(content);
  });
}

export function commandTransform(options: CommandOptions): ContentTransform {
  return {
    name: options.name,
    types: options.types,
    vary: [],
    async transform(content, { mediaType, uri }, signal) {
      const environment = { TPOT_MEDIA_TYPE: mediaType, TPOT_URI: uri };
      const printed = await run(options, content, environment, signal);
      return {
        content: printed,
        ...(options.mediaType === undefined ? {} : { mediaType: options.mediaType }),
      };
    },
  };
}
