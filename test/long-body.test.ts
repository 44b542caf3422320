/** Response bodies that are one long stream, over real namespaces: their connections leave for the kernel on the way. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { content } from '../netns/content.js';
import type { Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const PORT = 8080;
const URL = `http://${ORIGIN}:${PORT}`;
const SIZE = 6_000_000;
const CONFIG = { cache: { spliceAbove: '1MiB' } };
const TAPPING = { cache: { spliceAbove: '1MiB', tapAbove: '1MiB' } };

let chain: Chain;
let origin: Program;
beforeAll(async () => {
  chain = await standChain({ nodes: { p1: TAPPING, p2: CONFIG } });
  const command = [fixture('streams-origin.mjs'), String(PORT)];
  origin = chain.host('origin').spawn(process.execPath, command, { label: 'streams' });
  await origin.output(/^ready$/m);
});
afterAll(closeAll);

const reason = async (node: string, code: string): Promise<number> =>
  (await chain.stats(node)).connections.byReason[code] ?? 0;
/** Straight from P2, past the nodes. */
const ask = (path: string): Promise<string> => chain.host('p2').must('curl', ['-sSf', `${URL}${path}`]);

/** SHA-256 of a body with what `/small` says behind it. */
function hashOf(path: string, size: number): string {
  const hash = createHash('sha256');
  for (const piece of content(path, size)) hash.update(piece);
  return hash.update('small\n').digest('hex');
}

/** A long response, then a short one over the same connection. */
function fetchBoth(path: string): Program {
  const urls = `${URL}${path} ${URL}/small?${path}`;
  const script = `curl -sSf -w '%{stderr}connects %{num_connects}\\n' ${urls} | sha256sum`;
  return chain.spawn('c1', ['sh', '-c', script], { label: 'fetch' });
}

describe('a response that is not stored', () => {
  test.each(['length', 'chunked'])('leaves in the middle of its body: %s', async (kind) => {
    const path = `/${kind}/${SIZE}`;
    const before = await reason('p1', 'long-body');
    const program = fetchBoth(path);
    await program.while(async () => (await reason('p1', 'long-body')) === before + 1, {
      what: `${kind} to be spliced`,
    });
    await ask('/open');
    const [line] = await program.output(/^[0-9a-f]{64}/m);
    expect(line).toBe(hashOf(path, SIZE));
    expect(program.stderr().match(/connects \d/g)).toEqual(['connects 1', 'connects 0']);
    // The request behind it went the way of the bytes: to the same destination, past the caches.
    const [, via = ''] = await origin.output(new RegExp(`request /small\\?${path} connection \\d+ via (.*)`));
    expect(via).not.toContain('p1');
  });

  test('that never pauses loses nothing, whether it leaves or not', async () => {
    const size = 60_000_000;
    const path = `/flow/${size}`;
    const [line] = await fetchBoth(path).output(/^[0-9a-f]{64}/m, { timeoutMs: 60_000 });
    expect(line).toBe(hashOf(path, size));
  });

  test('an event stream goes on', async () => {
    const before = await reason('p1', 'long-body');
    const program = chain.spawn('c1', ['curl', '-sSN', `${URL}/events`], { label: 'events' });
    await program.output(/^data: hello$/m);
    await program.while(async () => (await reason('p1', 'long-body')) === before + 1, {
      what: 'the events to be spliced',
    });
    for (const event of [1, 2, 3]) {
      await ask(`/say/${event}`);
      await program.output(new RegExp(`^data: ${event}$`, 'm'));
    }
    await program.stop();
  });
});

test('a response that is stored leaves, too, and the next client gets what passed', async () => {
  const path = `/length/${SIZE}?stored`;
  const before = await chain.counter('p1', 'tapped');
  const first = fetchBoth(path);
  await first.while(async () => (await chain.counter('p1', 'tapped')) === before + 1, {
    what: 'it to be tapped',
  });
  await ask('/open');
  expect((await first.output(/^[0-9a-f]{64}/m))[0]).toBe(hashOf(path, SIZE));
  // The client may have ended by then.
  await waitFor(async () => (await chain.counter('p1', 'tap-complete')) === 1, { what: 'it to be stored' });
  const second = fetchBoth(path);
  expect((await second.output(/^[0-9a-f]{64}/m))[0]).toBe(hashOf(path, SIZE));
  expect(origin.stdout().match(/request \/length\/\d+\?stored/g)).toHaveLength(1);
  expect((await chain.stats('p1')).cache['hits']).toBeGreaterThan(0);
});

test('a client that wants the connection to end keeps it here', async () => {
  const path = `/chunked/${SIZE}?end`;
  const script = `curl -sSf -H 'Connection: close' '${URL}${path}' | sha256sum`;
  const program = chain.spawn('c1', ['sh', '-c', script], { label: 'fetch' });
  await program.while(async () => (await reason('p1', 'relayed-persistence')) > 0, { what: 'the reason' });
  await ask('/open');
  await program.output(/^[0-9a-f]{64}/m);
});
