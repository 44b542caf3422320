/** What `tpot-node run` tells of itself: while it runs (`status --shim`), and when it has ended (`--report`). */
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ShimReport } from '../client-shim/report.js';
import { tpotNodeCommand } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({ nodes: { p1: { rules: [{ action: 'relay' }] } } });
});
afterAll(closeAll);

const [node20, launcher] = tpotNodeCommand;

test('tunnels and counters while it runs, and a report when it has ended', async () => {
  const file = join(chain.net.directory, 'report.json');
  const talker = [process.execPath, fixture('talker.mjs'), ORIGIN, '22'];
  const program = chain
    .host('c1')
    .spawn(node20, [launcher, 'run', '--report', file, '--', ...talker], { label: 'run' });
  await program.output(/SSH-2\.0/);
  const shown = await chain.host('c1').must(node20, [launcher, 'status', '--shim', '--json']);
  const report = (JSON.parse(shown) as ShimReport[]).find(({ pid }) => pid === program.pid);
  expect(report).toMatchObject({
    command: talker,
    counters: { 'request-sent': 1, 'reply-accepted': 1 },
    tunnels: [{ destination: `${ORIGIN}:22`, nextHop: '198.18.1.1' }],
    blackHoles: [],
  });
  const text = await chain.host('c1').must(node20, [launcher, 'status', '--shim']);
  expect(text).toMatch(/tunnels:\nSOURCE +DESTINATION +NODE\n[^]*192\.0\.2\.80:22 +198\.18\.1\.1/);
  expect(existsSync(file)).toBe(false);
  await program.stop();
  await waitFor(() => existsSync(file), { what: 'the report' });
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
    pid: program.pid,
    counters: { 'request-sent': 1, 'reply-accepted': 1 },
  });
  const socket = `/run/tpot-node/run/${program.pid}.sock`;
  await waitFor(() => !existsSync(socket), { what: 'the socket to go' });
});

test('a report that cannot be written is refused before the command runs', async () => {
  const marker = join(chain.net.directory, 'ran');
  const words = ['run', '--report', '/nowhere/r.json', '--', 'touch', marker];
  const { code, stderr } = await chain.host('c1').run(node20, [launcher, ...words]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^error: the report cannot be written: .*\nhint: /);
  expect(existsSync(marker)).toBe(false);
});

test('a report goes through no link that somebody has put in its way', async () => {
  const folder = join(chain.net.directory, 'anybody');
  const victim = join(chain.net.directory, 'victim');
  mkdirSync(folder);
  writeFileSync(victim, 'precious');
  symlinkSync(victim, join(folder, 'r.json'));
  // The number of the process is easily foreseen; this shell knows it beforehand.
  const script = `ln -s ${victim} ${folder}/r.json.part-$$; exec ${node20} ${launcher} run --report ${folder}/r.json -- true`;
  await chain.host('c1').must('sh', ['-c', script]);
  await waitFor(() => !lstatSync(join(folder, 'r.json')).isSymbolicLink(), { what: 'the report' });
  expect(readFileSync(victim, 'utf8')).toBe('precious');
});
