/** Unmodified programs under `tpot-node run`: HTTP clients of every kind, and protocols whose server speaks first. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startCapture } from '../netns/capture.js';
import { checkTunnelledLeg } from '../netns/checks.js';
import { content, contentHash } from '../netns/content.js';
import { captureOf } from '../netns/labs/common.js';
import { BANNER } from '../netns/origin-tcp.js';
import { waitFor } from '../netns/wait.js';
import { CACHE_AND_RELAY, type Chain, closeAll, fixture, HOPS, ORIGIN, standChain } from './chain.js';

const PYTHON = '/usr/bin/python3';
const SIZE = 300_007;

let chain: Chain;

/** Each program writes the body of its URL, its last argument, to its stdout. */
const CLIENTS: Readonly<Record<string, readonly string[]>> = {
  curl: ['curl', '-sSf'],
  wget: ['wget', '-q', '-O', '-'],
  'busybox wget, static': ['busybox', 'wget', '-q', '-O', '-'],
  'Python, urllib': [
    PYTHON,
    '-c',
    'import sys,urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())',
  ],
  'Node, fetch': [
    process.execPath,
    '-e',
    'fetch(process.argv[1]).then(async (r) => process.stdout.write(Buffer.from(await r.arrayBuffer())))',
  ],
  'Node, http': [
    process.execPath,
    '-e',
    'require("http").get(process.argv[1], (r) => r.pipe(process.stdout))',
  ],
};

/** A shell that runs the program twice, one after the other, and prints the hash of each output. */
function twiceHashed(command: readonly string[], url: string): string[] {
  return ['sh', '-c', '"$@" | sha256sum; "$@" | sha256sum', 'sh', ...command, url];
}

describe('through caches', () => {
  beforeAll(async () => {
    chain = await standChain({ offload: false });
  });
  afterAll(closeAll);

  test.each(Object.entries(CLIENTS))('%s', async (name, command) => {
    const path = `/bytes/${SIZE + Object.keys(CLIENTS).indexOf(name)}`;
    const url = `http://${ORIGIN}${path}`;
    const expected = contentHash(path, Number(path.split('/')[2]));
    const before = await chain.status('p1');
    const sums = await chain.must('c1', twiceHashed(command, url));
    expect(sums.match(/[0-9a-f]{64}/g)).toEqual([expected, expected]);
    const after = await chain.status('p1');
    expect((after.counters['taken'] ?? 0) - (before.counters['taken'] ?? 0)).toBe(2);
    expect(after.counters['decap-ok'] ?? 0).toBeGreaterThan(before.counters['decap-ok'] ?? 0);
    expect(await chain.requests(path)).toHaveLength(1);
  });

  test('the same client without the shim is not taken', async () => {
    const before = await chain.status('p1');
    const path = `/bytes/${SIZE}`;
    const sum = await chain.host('c1').must('sh', ['-c', `curl -sSf http://${ORIGIN}${path} | sha256sum`]);
    expect(sum.split(' ')[0]).toBe(contentHash(path, SIZE));
    expect((await chain.status('p1')).counters['taken']).toBe(before.counters['taken']);
    expect((await chain.requests(path)).length).toBe(2);
  });

  test('hey (Go, its own resolver and runtime): 2,000 requests on 20 connections', async () => {
    const before = await chain.status('p1');
    const path = '/bytes/1013';
    const said = await chain.must('c1', ['hey', '-n', '2000', '-c', '20', `http://${ORIGIN}${path}`]);
    expect(said).toMatch(/\[200\]\s+2000 responses/);
    expect(said).not.toMatch(/Error distribution/);
    expect(Number(/Total data:\s+(\d+) bytes/.exec(said)?.[1])).toBe(2000 * 1013);
    const after = await chain.status('p1');
    // A connection that became free while another was being opened leaves hey with one more.
    expect((after.counters['taken'] ?? 0) - (before.counters['taken'] ?? 0)).toBeGreaterThanOrEqual(20);
    expect(await chain.requests(path)).toHaveLength(1);
  });

  test('uploads: curl and Python', async () => {
    const body = Buffer.concat([...content('upload', SIZE)]);
    const answer = `${contentHash('upload', SIZE)} ${SIZE}\n`;
    const url = `http://${ORIGIN}/upload`;
    expect(await chain.must('c1', ['curl', '-sSf', '--data-binary', '@-', url], { input: body })).toBe(
      answer,
    );
    const script =
      'import sys,urllib.request as r; ' +
      'print(r.urlopen(sys.argv[1], data=sys.stdin.buffer.read()).read().decode(), end="")';
    expect(await chain.must('c1', [PYTHON, '-c', script, url], { input: body })).toBe(answer);
  });

  test('the packets of a curl: option, tunnel and plain last leg are where they should be', async () => {
    const capture = await startCapture(chain.net, { links: ['c1-p1'] });
    await chain.must('c1', ['curl', '-sSf', '-o', '/dev/null', `http://${ORIGIN}/bytes/77`]);
    const link = captureOf(await capture.stop(), 'c1-p1');
    const leg = { source: chain.host('c1').address, destination: ORIGIN, hops: [HOPS] };
    for (const check of checkTunnelledLeg(link, { ...leg, node: chain.host('p1').address })) {
      expect(check).toMatchObject({ ok: true });
    }
  });

  test("exit status and errors are the command's", async () => {
    expect((await chain.run('c1', ['curl', '-sSf', `http://${ORIGIN}/nowhere`])).code).toBe(22);
    // A port on which nobody listens: the connection that P1 accepted is reset, before or after curl has noticed it.
    expect([7, 56]).toContain((await chain.run('c1', ['curl', '-sS', `http://${ORIGIN}:81/`])).code);
  });
});

describe.each(['cache', 'relay'])('the server speaks first, action %s', (action) => {
  beforeAll(async () => {
    const rules = [{ match: { dport: 22 }, action }, ...CACHE_AND_RELAY];
    chain = await standChain({ nodes: { p1: { rules }, p2: { rules } } });
  });
  afterAll(closeAll);

  test('a client that sends nothing at all gets the banner', async () => {
    const client = chain.spawn('c1', [process.execPath, fixture('listener.mjs'), ORIGIN, '22']);
    await client.output(new RegExp(`^${JSON.stringify(BANNER).replaceAll('\\', '\\\\')}$`, 'm'));
    // What is not HTTP leaves user space at the first quiet moment.
    const expected = action === 'cache' ? 'splice' : 'relay';
    for (const node of ['p1', 'p2']) {
      const row = await waitFor(
        async () => (await chain.conns(node)).find((one) => one.action === expected),
        { what: `${node} to ${expected}` },
      );
      expect(row).toMatchObject({ bytesIn: 0, bytesOut: BANNER.length });
    }
    client.signal('SIGUSR2');
    await client.exited;
    expect(
      client
        .stdout()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as string),
    ).toEqual(['connected', BANNER, 'end']);
    const { byReason } = (await chain.stats('p1')).connections;
    expect(byReason['server-first'] ?? 0).toBe(action === 'cache' ? 1 : 0);
  });

  test('a client that speaks first on the same port is heard, too', async () => {
    const said = await chain.must('c1', ['busybox', 'nc', ORIGIN, '22'], { input: 'SSH-2.0-me\r\n' });
    expect(said).toBe(`${BANNER}SSH-2.0-me\r\n`);
  });
});

describe('a real SSH server', () => {
  afterEach(closeAll);

  test.each(['cache', 'relay'])('login and command, action %s', async (action) => {
    const rules = [{ action }];
    chain = await standChain({ nodes: { p1: { rules }, p2: { rules } } });
    const { key, known, port } = await startDropbear(chain);
    const options = ['-F', 'none', '-i', key, '-o', `UserKnownHostsFile=${known}`, '-o', 'BatchMode=yes'];
    const ssh = ['ssh', ...options, '-p', String(port), `root@${ORIGIN}`, 'sha256sum'];
    const body = Buffer.concat([...content('ssh', SIZE)]);
    const sum = await chain.must('c1', ssh, { input: body });
    expect(sum.split(' ')[0]).toBe(contentHash('ssh', SIZE));
    const { byReason } = (await chain.stats('p2')).connections;
    expect(byReason['taken']).toBe(1);
  });
});

/**
 * dropbear in the origin, with keys made for this run. It reads root's authorized keys, so it gets a home of its own in a
 * mount namespace of its own.
 */
async function startDropbear({ net }: Chain): Promise<{ key: string; known: string; port: number }> {
  const port = 2222;
  const origin = net.host('origin');
  const [hostKey, key, known] = ['host-key', 'user-key', 'known'].map((name) =>
    join(net.directory, name),
  ) as [string, string, string];
  await origin.must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const made = await origin.must('dropbearkey', ['-t', 'ed25519', '-f', hostKey]);
  const publicKey = /^(ssh-ed25519 \S+)/m.exec(made)?.[1] ?? '';
  writeFileSync(known, `[${ORIGIN}]:${port} ${publicKey}\n`);
  const script = `mount -t tmpfs -o mode=700 tmpfs /root && mkdir -m 700 /root/.ssh &&
    cp "$1.pub" /root/.ssh/authorized_keys && exec dropbear -F -E -s -r "$2" -P "$2.pid" -p "$3"`;
  const args = ['-m', 'sh', '-c', script, 'sh', key, hostKey, `${ORIGIN}:${port}`];
  const program = origin.spawn('unshare', args, { label: 'dropbear' });
  await program.listening(port);
  return { key, known, port };
}
