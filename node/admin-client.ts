/** Talks to running nodes through their administration sockets. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { TpotError } from '../core/errors.js';
import { runtimeDirectory } from '../host/paths.js';
import { isListening, socketPath } from './admin.js';

const SUFFIX = '.sock';
/** Added to the node's own `drainTimeout` before {@link stopNode} gives up. */
const STOP_GRACE_MS = 10_000;
const POLL_MS = 20;

/** The names of the nodes that are running, in order. */
export async function runningNodes(directory = runtimeDirectory): Promise<string[]> {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();
  const alive = await Promise.all(
    names.map((name) => isListening(socketPath(name, directory)).catch(permission)),
  );
  return names.filter((_, index) => alive[index]);
}

function permission(error: NodeJS.ErrnoException): never {
  if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error;
  throw new TpotError('no-permission', 'the administration sockets are for root only', {
    hint: 'Use sudo.',
    cause: error,
  });
}

/**
 * The node a command means: the one named, or the only one.
 *
 * @throws TpotError `no-such-node` when it is not running, `which-node` when several are and none is named.
 */
export async function chooseNode(name: string | undefined, directory = runtimeDirectory): Promise<string> {
  const running = await runningNodes(directory);
  const hint =
    running.length === 0
      ? 'No node is running; start one with `tpot-node up`.'
      : `Running: ${running.join(', ')}.`;
  if (name !== undefined && !running.includes(name)) {
    throw new TpotError('no-such-node', `no node named ${name} is running`, { hint });
  }
  const [first] = running;
  if (first === undefined)
    throw new TpotError('no-such-node', 'no node is running', { hint: 'Start one with `tpot-node up`.' });
  if (name === undefined && running.length > 1) {
    throw new TpotError('which-node', 'several nodes are running', {
      hint: `Choose one with --name. ${hint}`,
    });
  }
  return name ?? first;
}

/** What is asked by something else than GET. */
const METHODS: Readonly<Record<string, string>> = {
  '/drain': 'POST',
  '/reload': 'POST',
  '/black-holes': 'DELETE',
};

const FAILED = 500;

function refusal(name: string, error: unknown): TpotError {
  return new TpotError('refused', `the node ${name} says: ${String(error)}`);
}

/**
 * One request to a node; the JSON it answers.
 *
 * @throws TpotError `no-such-node` when it does not answer, `refused` with what it says has failed.
 */
export function askNode(
  name: string,
  path:
    | '/status'
    | '/conns'
    | '/stats'
    | '/cache/stats'
    | '/drain'
    | '/reload'
    | `/black-holes${'' | `/${string}`}`,
  directory = runtimeDirectory,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const lost = (error: unknown): void =>
      reject(
        new TpotError('no-such-node', `the node ${name} does not answer`, { cause: error, retryable: true }),
      );
    const method = METHODS[/^\/[^/]*/.exec(path)?.[0] ?? ''] ?? 'GET';
    const outgoing = request({ socketPath: socketPath(name, directory), path, method }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('error', lost);
      response.on('end', () => {
        try {
          const told: unknown = JSON.parse(text);
          if (response.statusCode === FAILED) reject(refusal(name, (told as { error?: unknown }).error));
          else resolve(told);
        } catch (error) {
          lost(error);
        }
      });
    });
    outgoing.on('error', lost);
    outgoing.end();
  });
}

/**
 * One request to a node whose answer is lines of JSON, as they come.
 *
 * @throws TpotError `no-such-node` when it does not answer, `refused` with what it says is wrong.
 */
export async function* askLines(
  name: string,
  method: 'GET' | 'DELETE' | 'POST',
  path: `/cache/${string}`,
  content?: unknown,
  directory = runtimeDirectory,
): AsyncGenerator {
  const outgoing = request({ socketPath: socketPath(name, directory), path, method });
  outgoing.end(content === undefined ? undefined : JSON.stringify(content));
  try {
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    for await (const text of createInterface({ input: response })) {
      const value = JSON.parse(text) as { readonly error?: unknown; readonly url?: unknown };
      if (typeof value.error === 'string' && value.url === undefined) throw refusal(name, value.error);
      yield value;
    }
    if (!response.complete) throw new Error('the answer broke off');
  } catch (error) {
    if (error instanceof TpotError) throw error;
    const message = `the node ${name} does not answer`;
    throw new TpotError('no-such-node', message, { cause: error, retryable: true });
  }
}

/** A process that has ended but has not been waited for by its parent counts as ended. */
function isAlive(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^\d+ \(.*\) [ZX]/s.test(status);
  } catch {
    return false;
  }
}

/**
 * Asks a node to stop and waits until its process has ended.
 *
 * @throws TpotError `still-running` when it has not by then.
 */
export async function stopNode(name: string, directory = runtimeDirectory): Promise<void> {
  const { pid, drainTimeoutMs } = (await askNode(name, '/drain', directory)) as {
    pid: number;
    drainTimeoutMs: number;
  };
  const deadline = performance.now() + drainTimeoutMs + STOP_GRACE_MS;
  // The socket too: a process id means nothing in another PID namespace.
  while (isAlive(pid) || (await isListening(socketPath(name, directory)))) {
    if (performance.now() > deadline) {
      throw new TpotError('still-running', `the node ${name} has not ended`, {
        hint: `Its process is ${pid}; \`kill -9 ${pid}\` ends it at once, and the next \`up\` cleans up.`,
      });
    }
    await delay(POLL_MS);
  }
}
