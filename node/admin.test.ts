import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AdminServer, isListening, readStateFile, socketPath, type AdminTarget } from './admin.js';
import { askNode, chooseNode, runningNodes, stopNode } from './admin-client.js';

let directory = '';
const opened: AdminServer[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tpot-admin-'));
});
afterEach(() => {
  for (const server of opened.splice(0)) server.close();
  rmSync(directory, { recursive: true });
});

async function open(name: string, target: Partial<AdminTarget> = {}): Promise<AdminServer> {
  const all: AdminTarget = {
    status: () => ({ name, state: 'running' }),
    conns: () => [],
    stats: () => Promise.resolve({}),
    drain: () => undefined,
    reload: () => ({ reloaded: true, changes: [], needsRestart: [] }),
    forgetBlackHoles: () => 0,
    drainTimeoutMs: 1000,
    cache: () => false,
    ...target,
  };
  const server = await AdminServer.open(name, all, directory);
  opened.push(server);
  return server;
}

/** A socket on which a process has listened that was killed. */
async function leaveStaleSocket(name: string): Promise<void> {
  const path = socketPath(name, directory);
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await new Promise<void>((resolve) => void execFile(process.execPath, ['-e', script], () => resolve()));
  expect(existsSync(path)).toBe(true);
}

describe('the administration socket', () => {
  it('answers what the node says, and is for its owner only', async () => {
    await open('p1', { conns: () => [[{ client: '192.0.2.1:1' }], [], [{ client: '192.0.2.1:2' }]] });
    expect(await askNode('p1', '/status', directory)).toEqual({ name: 'p1', state: 'running' });
    expect(await askNode('p1', '/conns', directory)).toEqual([
      { client: '192.0.2.1:1' },
      { client: '192.0.2.1:2' },
    ]);
    expect(statSync(socketPath('p1', directory)).mode & 0o777).toBe(0o600);
  });

  it('counts as gone when it closes before it has taken a connection: a command goes on with the others', async () => {
    const server = await open('p1');
    const listening = isListening(socketPath('p1', directory)); // connected, and not accepted yet
    server.close();
    expect(await listening).toBe(false);
  });

  it('says what has failed, and goes on', async () => {
    const fails = (): never => {
      throw new Error('E2BIG');
    };
    await open('p1', {
      conns: fails,
      forgetBlackHoles: fails,
      stats: () => Promise.reject(new Error('ENOMEM')),
    });
    const asked = (path: '/conns' | '/stats' | '/black-holes'): Promise<unknown> =>
      askNode('p1', path, directory);
    await expect(asked('/conns')).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('says: E2BIG') as string,
    });
    await expect(asked('/black-holes')).rejects.toMatchObject({
      message: expect.stringContaining('says: E2BIG') as string,
    });
    await expect(asked('/stats')).rejects.toMatchObject({
      message: expect.stringContaining('says: ENOMEM') as string,
    });
    expect(await askNode('p1', '/status', directory)).toMatchObject({ state: 'running' });
  });

  it.each(['%', '%zz', '%ff', '192.0.2.1%00', 'x', '/'])(
    'forgets nothing for a destination that is no address: %s',
    async (text) => {
      const forgotten: unknown[] = [];
      await open('p1', { forgetBlackHoles: (destination) => forgotten.push(destination) });
      const options = {
        socketPath: socketPath('p1', directory),
        method: 'DELETE',
        path: `/black-holes/${text}`,
      };
      const status = await new Promise<number | undefined>((resolve, reject) => {
        request(options, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end();
      });
      expect([status, forgotten]).toEqual([400, []]);
      expect(await askNode('p1', '/status', directory)).toMatchObject({ state: 'running' });
    },
  );

  it('says who runs under the name', async () => {
    await open('p1');
    const state = readStateFile('p1', directory);
    expect(state).toMatchObject({ pid: process.pid, name: 'p1' });
    expect(state?.netns).toBeGreaterThan(0);
    expect(Date.parse(state?.started ?? '')).toBeLessThanOrEqual(Date.now());
  });

  it('leaves nothing behind when it closes', async () => {
    (await open('p1')).close();
    opened.pop();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('refuses a name that is taken, and says by whom', async () => {
    await open('p1');
    await expect(open('p1')).rejects.toMatchObject({
      code: 'name-in-use',
      message: expect.stringContaining(`process ${process.pid}`) as string,
      hint: expect.stringContaining('down --name p1') as string,
    });
    expect(await askNode('p1', '/status', directory)).toMatchObject({ name: 'p1' });
  });

  it('replaces what a killed node left', async () => {
    await leaveStaleSocket('p1');
    expect(await runningNodes(directory)).toEqual([]);
    await open('p1');
    expect(await askNode('p1', '/status', directory)).toMatchObject({ name: 'p1' });
  });
});

describe('choosing a node', () => {
  it('takes the only one', async () => {
    await leaveStaleSocket('dead');
    await open('p1');
    expect(await chooseNode(undefined, directory)).toBe('p1');
  });

  it('asks for a name when there are several', async () => {
    await open('p2');
    await open('p1');
    await expect(chooseNode(undefined, directory)).rejects.toMatchObject({
      code: 'which-node',
      hint: expect.stringContaining('p1, p2') as string,
    });
    expect(await chooseNode('p2', directory)).toBe('p2');
    await expect(chooseNode('p3', directory)).rejects.toMatchObject({ code: 'no-such-node' });
  });

  it('says when there is none', async () => {
    await expect(chooseNode(undefined, directory)).rejects.toMatchObject({ code: 'no-such-node' });
    await expect(chooseNode(undefined, join(directory, 'absent'))).rejects.toMatchObject({
      code: 'no-such-node',
    });
    writeFileSync(join(directory, 'x.json'), '');
    await expect(askNode('x', '/status', directory)).rejects.toMatchObject({ code: 'no-such-node' });
  });
});

describe('stopping a node', () => {
  it('waits for its process', async () => {
    // The node must be another process than the one that waits: it serves one file, drains, and ends.
    const path = socketPath('p1', directory);
    const script = `
      const server = require('http').createServer((request, response) => {
        response.end(JSON.stringify({ pid: process.pid, drainTimeoutMs: 1000 }));
        setTimeout(() => { server.close(); process.exit(0); }, 100);
      }).listen(${JSON.stringify(path)}, () => console.log('up'));`;
    const child = execFile(process.execPath, ['-e', script]);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    await stopNode('p1', directory);
    // Ended: gone, or waiting to be reaped by this process.
    const stat = existsSync(`/proc/${child.pid!}/stat`)
      ? readFileSync(`/proc/${child.pid!}/stat`, 'utf8')
      : ') Z';
    expect(stat).toContain(') Z');
  });
});
