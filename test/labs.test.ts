/** The labs themselves, as a user runs them, and what happens when one is interrupted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { tryCommand } from '../host/exec.js';
import { packageRoot } from '../host/paths.js';
import { identify, processesInNamespaces } from '../netns/processes.js';
import { waitFor } from '../netns/wait.js';

const launcher = join(packageRoot, 'bin', 'tpot-node');
let files = '';
const children: ChildProcess[] = [];
const ids: string[] = [];

beforeAll(() => {
  files = mkdtempSync(join(tmpdir(), 'tpot-labs-test-'));
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const id of ids.splice(0)) await tpot('lab', 'down', '--id', id); // gone already when the test went well
});

afterAll(() => rmSync(files, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Standing {
  readonly id: string;
  readonly owner: number;
  readonly state: string;
}

const tpot = (...args: string[]): ReturnType<typeof tryCommand> => tryCommand(launcher, args);

/** Starts a lab with its captures and logs in the folder of this test. */
function startLab(...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(launcher, ['lab', ...args], { env: { ...process.env, TMPDIR: files } });
  children.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const ended = new Promise<Ended>((resolve) => child.on('close', (code) => resolve({ code, ...output })));
  return { child, ended };
}

async function standing(): Promise<readonly Standing[]> {
  const { stdout } = await tpot('lab', 'list', '--json');
  return (JSON.parse(stdout) as { standing: Standing[] }).standing;
}

/** The lab that `child` runs, once it stands. */
async function labOf(child: ChildProcess): Promise<Standing> {
  const lab = await waitFor(async () => (await standing()).find(({ owner }) => owner === child.pid), {
    what: 'the lab to stand',
  });
  ids.push(lab.id);
  return lab;
}

const namespacesOf = (id: string): string[] =>
  existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith(`tpot-${id}-`)) : [];

function expectGone(id: string): void {
  expect(namespacesOf(id)).toEqual([]);
  expect(existsSync(`/run/tpot-node/labs/${id}.json`)).toBe(false);
  expect(readdirSync('/run/tpot-node').filter((name) => name.includes(id))).toEqual([]);
}

function expectAllHold(lab: string, { code, stdout, stderr }: Ended): void {
  const report = JSON.parse(stdout) as {
    lab: string;
    ok: boolean;
    checks: { name: string; ok: boolean; detail: string }[];
  };
  expect(
    report.checks.filter((check) => !check.ok),
    stderr,
  ).toEqual([]);
  expect(report.checks.length).toBeGreaterThan(5);
  expect({ lab: report.lab, ok: report.ok, code }).toEqual({ lab, ok: true, code: 0 });
  expect(Object.keys(report)).toEqual(['lab', 'ok', 'checks']);
  for (const check of report.checks) expect(Object.keys(check)).toEqual(['name', 'ok', 'detail']);
}

test('lab hello holds', async () => {
  expectAllHold('hello', await startLab('hello', '--json').ended);
});

test('two labs at once do not disturb each other, and leave nothing', async () => {
  const both = [startLab('hello', '--json'), startLab('hello', '--json')];
  const standingLabs = await Promise.all(both.map(({ child }) => labOf(child)));
  for (const { ended } of both) expectAllHold('hello', await ended);
  for (const { id } of standingLabs) expectGone(id);
});

test('a lab that is killed leaves what `lab down` removes, and only that', async () => {
  const { child, ended } = startLab('chain', '--json');
  const { id } = await labOf(child);
  await waitFor(() => processesInNamespaces(namespacesOf(id)).length > 5, {
    what: 'nodes and captures to run',
  });
  const processes = processesInNamespaces(namespacesOf(id));
  child.kill('SIGKILL');
  await ended;
  expect((await standing()).find((lab) => lab.id === id)?.state).toBe('orphaned');
  expect(namespacesOf(id)).toHaveLength(10);
  const bystander = spawn('sleep', ['1000']);
  children.push(bystander);
  expect(await tpot('lab', 'down', '--id', id)).toMatchObject({ code: 0, stdout: `removed chain ${id}\n` });
  expectGone(id);
  expect(processes.filter(({ pid, start }) => identify(pid)?.start === start)).toEqual([]);
  expect(identify(bystander.pid ?? 0)).toBeDefined();
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  'a lab that gets %s cleans up and says so in its status',
  async (signal) => {
    const { child, ended } = startLab('hello');
    const { id } = await labOf(child);
    await waitFor(() => processesInNamespaces(namespacesOf(id)).length > 2, { what: 'processes in the lab' });
    child.kill(signal);
    expect((await ended).code).toBe(signal === 'SIGINT' ? 130 : 143);
    expectGone(id);
  },
);

test('a kept lab can be entered, and is removed by `lab down`', async () => {
  const { child, ended } = startLab('hello', '--keep');
  const { id } = await labOf(child);
  const { code, stdout } = await ended;
  expect({ code, named: stdout.includes(`lab down --id ${id}`) }).toEqual({ code: 0, named: true });
  const inside = await tpot('lab', 'exec', '--id', id, 'c1', '--', 'cat', '/proc/net/route');
  expect(inside.stdout).toContain('to-p1');
  const failing = await tpot('lab', 'exec', '--id', id, 'p1', '--', 'sh', '-c', 'exit 7');
  expect(failing.code).toBe(7);
  const url = 'http://192.0.2.80/hello';
  const fetched = await tpot(
    'lab',
    'exec',
    '--id',
    id,
    'c2',
    '--',
    launcher,
    'run',
    '--',
    'curl',
    '-sS',
    url,
  );
  expect(fetched.stdout).toBe('hello, translucent world\n');
  expect(await tpot('lab', 'exec', '--id', id, 'nobody', '--', 'true')).toMatchObject({ code: 1 });
  expect((await tpot('lab', 'down', '--id', id)).code).toBe(0);
  expectGone(id);
});
