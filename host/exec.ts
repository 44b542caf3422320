import { execFile, execFileSync } from 'node:child_process';
import { TpotError } from '../core/errors.js';

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

const MAX_OUTPUT = 64 * 1024 * 1024;

function missingProgram(program: string, cause: unknown): TpotError {
  return new TpotError('program-missing', `cannot run ${program}: not found`, {
    hint: `Install the Debian package that holds ${program} (\`npm run setup\` does it).`,
    cause,
  });
}

/** Runs a program to its end and returns its output and status; throws only when it cannot be started. */
export function tryCommand(program: string, args: readonly string[], input?: string): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { maxBuffer: MAX_OUTPUT, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error?.code === 'ENOENT') reject(missingProgram(program, error));
        else
          resolve({
            stdout,
            stderr,
            code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1,
          });
      },
    );
    child.stdin?.on('error', () => undefined); // the program may end before it has read its input
    child.stdin?.end(input ?? '');
  });
}

/** `no-permission` where that is what the program said, else `command-failed`; the message quotes it. */
function failed(what: string, said: string, cause?: unknown): TpotError {
  const forbidden = /operation not permitted|permission denied/i.test(said);
  return new TpotError(forbidden ? 'no-permission' : 'command-failed', `${what}: ${said}`, {
    cause,
    ...(forbidden
      ? { hint: 'Use sudo; in a container, allow CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF.' }
      : {}),
  });
}

/**
 * As {@link tryCommand}, but a non-zero status is an error that quotes what the program said: `command-failed`, or
 * `no-permission` where that is what it was about.
 */
export async function command(program: string, args: readonly string[], input?: string): Promise<string> {
  const result = await tryCommand(program, args, input);
  if (result.code !== 0) {
    const said = (result.stderr || result.stdout).trim();
    throw failed(`${program} ${args.join(' ')}: exit ${result.code}`, said);
  }
  return result.stdout;
}

/** Synchronous {@link command}, for set-up and for clean-up on the way out. */
export function commandSync(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missingProgram(program, error);
    const said = ((error as { stderr?: string }).stderr ?? '').trim();
    throw failed(`${program} ${args.join(' ')}`, said, error);
  }
}
