/** More than a node takes, all of it at once: what is over the limit passes by, and nobody is lost. */
import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

const IDLE = 10_000;
const WAVE = 1000;

afterEach(closeAll);

const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024;

/** Connections that say nothing, opened a wave at a time; SIGUSR2 makes each ask. */
async function openIdle(chain: Chain, count: number): Promise<ReturnType<Chain['spawn']>[]> {
  const waves = [];
  for (let opened = 0; opened < count; opened += WAVE) {
    const args = [fixture('swarm.mjs'), ORIGIN, '9000', String(WAVE), 'bulk', '1000'];
    const wave = chain.spawn('c1', [process.execPath, ...args], { label: 'swarm' });
    await wave.output(/^connected$/m, { timeoutMs: 60_000 });
    waves.push(wave);
  }
  return waves;
}

test(`${IDLE} idle connections: the node serves others meanwhile, and each of them in the end`, async () => {
  const chain = await standChain({
    nodes: { p1: { rules: [{ action: 'relay' }], limits: { connections: 5000 } } },
  });
  const { pid } = await chain.status('p1');
  const before = residentMib(pid);
  const waves = await openIdle(chain, IDLE);
  await waitFor(async () => (await chain.conns('p1')).length === 5000, {
    what: 'as many as the node may take',
  });
  const each = (1024 * (residentMib(pid) - before)) / 5000;
  process.stdout.write(`${each.toFixed(0)} KiB for each idle connection\n`);
  expect(await chain.must('c2', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`])).toContain('hello');
  const { counters } = await chain.status('p1');
  expect(counters['pass-limit']).toBeGreaterThanOrEqual(IDLE - 5000);
  for (const wave of waves) {
    wave.signal('SIGUSR2');
    const [line] = await wave.output(/^\{.*\}$/m, { timeoutMs: 120_000 });
    expect(JSON.parse(line)).toEqual({ right: WAVE, wrong: 0, failed: 0, errors: {} });
  }
  await waitFor(async () => (await chain.conns('p1')).length === 0, { what: 'all to end' });
});

test('clients that send a request head a byte at a time: each is refused in time, and others are served meanwhile', async () => {
  const nodes = { p1: { limits: { headersTimeout: '2s' } } };
  const chain = await standChain({ nodes });
  const script = `
import socket, sys, time
ones = []
for i in range(200):
    s = socket.create_connection(('${ORIGIN}', 80), 20)
    s.sendall(b'GET /slow HTTP/1.1\\r\\nHost: x\\r\\n')
    s.settimeout(0.02)
    ones.append(s)
print('open', flush=True)
answers = []
while ones:
    for s in list(ones):
        try:
            s.sendall(b'a')
            answer = s.recv(100)
        except TimeoutError:
            continue
        except OSError:
            answer = b''
        answers.append(answer[:12])
        ones.remove(s)
print(answers.count(b'HTTP/1.1 408'), len(answers))
`.replaceAll('\\\\', '\\');
  const slow = chain.spawn('c1', ['python3', '-c', script], { label: 'slow' });
  await slow.output(/^open$/m, { timeoutMs: 60_000 });
  expect(await chain.must('c2', ['curl', '-sSf', '-m', '20', `http://${ORIGIN}/hello`])).toContain('hello');
  const [, refused, all] = await slow.output(/^(\d+) (\d+)$/m, { timeoutMs: 100_000 });
  expect(Number(all)).toBe(200);
  const { cache } = await chain.status('p1');
  expect(cache['rejected']).toEqual({ ERR_HTTP_REQUEST_TIMEOUT: 200 });
  expect(Number(refused)).toBeGreaterThan(0); // the others were reset when they went on sending
});
