/**
 * Sends GET requests from a host, over connections that it keeps:
 *
 *   node dist/netns/requests-child.js FILE ADDRESS AT-ONCE
 *
 * FILE has one {@link Ask} a line, as JSON. What comes of each goes to stdout the same way, in the order of their ends.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Ask, Exchange } from './exchanges.js';
import { pause, waitFor } from './wait.js';

const [file = '', address = '', atOnce = '1'] = process.argv.slice(2);
const asks = readFileSync(file, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as Ask);
const agent = new Agent({ keepAlive: true, maxSockets: Number(atOnce) });
const TIMEOUT_MS = 10_000;
const AGAIN_MS = 50;
const PATIENCE_MS = 60_000;

/** Reads a response to its end; rejects when it is cut short. */
function read(message: IncomingMessage): Promise<Pick<Exchange, 'bytes' | 'sha256'>> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256');
    let bytes = 0;
    message.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    message.once('error', reject);
    message.once('end', () => resolve({ bytes, sha256: hash.digest('hex') }));
  });
}

function respond({ path, headers = {} }: Ask): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: address, path, headers: { host: address, ...headers }, agent });
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('timeout')));
    request.once('response', resolve).once('error', reject).end();
  });
}

async function exchange(ask: Ask): Promise<Exchange> {
  const { path } = ask;
  const began = Date.now();
  const nothing = { status: 0, bytes: 0, sha256: '', age: undefined, cacheStatus: '' };
  try {
    const message = await respond(ask);
    const { statusCode: status = 0, headers } = message;
    const body = await read(message);
    const age = headers.age === undefined ? undefined : Number(headers.age);
    const cacheStatus = String(headers['cache-status'] ?? '');
    return { path, began, ended: Date.now(), status, ...body, age, cacheStatus };
  } catch (error) {
    return { path, began, ended: Date.now(), ...nothing, error: (error as Error).message };
  }
}

async function run(ask: Ask): Promise<void> {
  const { after, until } = ask;
  if (after !== undefined) await waitFor(() => existsSync(after), { what: after, timeoutMs: PATIENCE_MS });
  const deadline = Date.now() + PATIENCE_MS;
  let done = await exchange(ask);
  while (until !== undefined && done.error === undefined && done.status !== until && Date.now() < deadline) {
    await pause(AGAIN_MS);
    done = await exchange(ask);
  }
  process.stdout.write(`${JSON.stringify(done)}\n`);
}

async function worker(): Promise<void> {
  for (let ask = asks.shift(); ask !== undefined; ask = asks.shift()) await run(ask);
}

await Promise.all(Array.from({ length: Number(atOnce) }, worker));
agent.destroy();
