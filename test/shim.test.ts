/** The life of `tpot-node run`: the command is itself in every respect, and nothing stays behind, however it ends. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownCgroup } from '../host/mounts.js';
import { startCapture } from '../netns/capture.js';
import { tpotNodeCommand, type Program } from '../netns/host.js';
import { waitFor } from '../netns/wait.js';
import { closeAll, fixture, ORIGIN, standChain, type Chain } from './chain.js';
import { synsTo } from './packets.js';

const URL = `http://${ORIGIN}/bytes/1000`;
const LOOP = 'while :; do sleep 0.05; done';

let chain: Chain;

beforeAll(async () => {
  chain = await standChain({ nodes: { p1: { rules: [{ action: 'relay' }] } } });
});
afterAll(closeAll);

let files = 0;
/** A file that does not exist yet, for a command to wait for. */
function freshFile(): string {
  return join(chain.net.directory, `shim-${files++}`);
}

const cgroupsOf = (pid: number): string[] =>
  readdirSync(ownCgroup()).filter((entry) => entry.startsWith(`tpot-run.${pid}.`));

/** The supervisor of the command that runs as `pid`; the pid stays while tpot-node becomes the command. */
function supervisorOf(pid: number): number | undefined {
  const found = readdirSync('/proc').find((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const line = readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      return line.includes('supervisor.js') && line.includes(`tpot-run.${pid}.`);
    } catch {
      return false; // ended meanwhile
    }
  });
  return found === undefined ? undefined : Number(found);
}

async function attached(): Promise<number> {
  return Number(await chain.host('c1').must(process.execPath, [fixture('attached.mjs')]));
}

/** Waits until no program is on an interface: an earlier run's supervisor may end a moment after its command. */
const detached = (): Promise<unknown> =>
  waitFor(async () => (await attached()) === 0, { what: 'the programs to go' });

/** Waits until nothing of a run is left but what is expected to be. */
async function gone(pid: number): Promise<void> {
  await waitFor(() => supervisorOf(pid) === undefined, { what: 'the supervisor to end' });
  expect(cgroupsOf(pid)).toEqual([]);
}

/** Runs a shell script under the shim, which is in place when this resolves. */
async function running(script: string): Promise<Program> {
  const program = chain.spawn('c1', ['sh', '-c', `echo up; ${script}`], { label: 'shim' });
  await program.output(/^up$/m);
  return program;
}

const taken = (): Promise<number> => chain.counter('p1', 'taken');

describe('the command', () => {
  it.each([0, 3, 255])('exits with its own status %i', async (status) => {
    expect(await chain.run('c1', ['sh', '-c', `exit ${status}`])).toMatchObject({
      code: status,
      stdout: '',
      stderr: '',
    });
  });

  it('is killed by its own signal', async () => {
    expect(await chain.run('c1', ['sh', '-c', 'kill -TERM $$'])).toMatchObject({
      code: undefined,
      signal: 'SIGTERM',
    });
  });

  it('gets the signals that are sent to it', async () => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const) {
      const program = await running(`trap "exit 7" ${signal.slice(3)}; echo trapped; ${LOOP}`);
      await program.output(/trapped/);
      program.signal(signal);
      expect(await program.exited).toEqual({ code: 7, signal: undefined });
      await gone(program.pid);
    }
  });

  it('has its arguments, input, environment, directory and limits', async () => {
    const script = 'printf "%s|" "$@"; cat; printf "|%s|%s" "$TPOT_TEST" "$(ulimit -Sn)"';
    const args = ['-c', script, 'sh', '--hops', 'a b', '', '$x'];
    const options = { input: 'input', env: { TPOT_TEST: 'value' } };
    const bare = await chain.host('c1').must('sh', args, options);
    expect(await chain.must('c1', ['sh', ...args], options)).toBe(bare);
    expect(bare).toContain('--hops|a b||$x|input|value|');
  });

  it('writes to a slow pipe without losing anything: its stdout blocks', async () => {
    const script = `${tpotNodeCommand.join(' ')} run -- head -c 3000000 /dev/zero | { read -r -t 0.2 _; wc -c; }`;
    const left = Number(await chain.host('c1').must('bash', ['-c', script]));
    // bash's read took some of it, byte by byte, before wc began.
    expect(left).toBeGreaterThan(2_000_000);
    const whole = `${tpotNodeCommand.join(' ')} run -- head -c 3000000 /dev/zero | sha256sum`;
    const direct = 'head -c 3000000 /dev/zero | sha256sum';
    expect(await chain.host('c1').must('sh', ['-c', whole])).toBe(
      await chain.host('c1').must('sh', ['-c', direct]),
    );
  });

  it('is found as a shell finds it: 127 when it is not there, 126 when it cannot be executed', async () => {
    const missing = await chain.run('c1', ['no-such-program']);
    expect(missing).toMatchObject({ code: 127, stdout: '' });
    expect(missing.stderr).toContain('no-such-program: command not found');
    const file = freshFile();
    writeFileSync(file, 'not a program', { mode: 0o644 });
    const refused = await chain.run('c1', [file]);
    expect(refused).toMatchObject({ code: 126, stdout: '' });
    expect(refused.stderr).toContain(`${file}: cannot be executed`);
  });
});

describe('several at once', () => {
  it('send each its own hops', async () => {
    const go = freshFile();
    const capture = await startCapture(chain.net, { links: ['c1-p1'] });
    const all = [0, 1, 3, 200].map((hops) => {
      const script = `while [ ! -e ${go} ]; do sleep 0.02; done; curl -sSf -o /dev/null ${URL}`;
      return chain.spawn('c1', ['sh', '-c', script], { hops, label: `hops${hops}` });
    });
    await waitFor(() => all.every(({ pid }) => cgroupsOf(pid).length === 1), { what: 'all shims' });
    writeFileSync(go, '');
    for (const { exited } of all) expect(await exited).toEqual({ code: 0, signal: undefined });
    const links = await capture.stop();
    const hops = synsTo(links.get('c1-p1'), ORIGIN).map(({ request }) => request?.hops ?? 0);
    expect(hops.sort((a, b) => a - b)).toEqual([0, 1, 3, 200]);
    for (const { pid } of all) await gone(pid);
    await detached();
  });
});

describe('nothing stays behind', () => {
  it('when the command has ended', async () => {
    const before = await taken();
    const file = freshFile();
    const program = await running(
      `while [ ! -e ${file} ]; do sleep 0.02; done; curl -sSf -o /dev/null ${URL}`,
    );
    expect(cgroupsOf(program.pid)).toHaveLength(1);
    expect(supervisorOf(program.pid)).toBeDefined();
    expect(await attached()).toBeGreaterThan(0);
    writeFileSync(file, '');
    expect(await program.exited).toEqual({ code: 0, signal: undefined });
    await gone(program.pid);
    await detached();
    expect(await taken()).toBe(before + 1);
  });

  it('when the command could not be started', async () => {
    const program = chain.spawn('c1', ['no-such-program']);
    expect(await program.exited).toEqual({ code: 127, signal: undefined });
    await gone(program.pid);
    await detached();
  });

  it('when the command was killed', async () => {
    const program = await running(LOOP);
    program.signal('SIGKILL');
    expect(await program.exited).toEqual({ code: undefined, signal: 'SIGKILL' });
    await gone(program.pid);
    await detached();
  });

  it('until the last descendant has ended, daemons included', async () => {
    const go = freshFile();
    const done = freshFile();
    const daemon = `while [ ! -e ${go} ]; do sleep 0.02; done; curl -sSf -o ${done} ${URL}`;
    const program = await running(`setsid sh -c '${daemon}' >/dev/null 2>&1 </dev/null & exit 5`);
    expect(await program.exited).toEqual({ code: 5, signal: undefined });
    const before = await taken();
    expect(supervisorOf(program.pid)).toBeDefined();
    expect(await attached()).toBeGreaterThan(0);
    writeFileSync(go, '');
    await waitFor(() => existsSync(done), { what: 'the daemon to fetch' });
    await gone(program.pid);
    expect(await taken()).toBe(before + 1);
    await detached();
  });

  it('when the supervisor was killed, but for an empty cgroup that the next run sweeps', async () => {
    const go = freshFile();
    const program = await running(`while [ ! -e ${go} ]; do sleep 0.02; done; curl -sSf -o /dev/null ${URL}`);
    process.kill(supervisorOf(program.pid)!, 'SIGKILL');
    await detached(); // the links go with their process
    const before = await taken();
    writeFileSync(go, '');
    // The command goes on, and its connections are plain TCP.
    expect(await program.exited).toEqual({ code: 0, signal: undefined });
    expect(await taken()).toBe(before);
    expect(cgroupsOf(program.pid)).toHaveLength(1);
    expect((await chain.run('c1', ['true'])).code).toBe(0);
    expect(cgroupsOf(program.pid)).toEqual([]);
  });
});
