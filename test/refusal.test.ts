/** What `up` and `run` refuse: with which exit status, in which words, and leaving nothing behind. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tpotNodeCommand, type RunResult } from '../netns/host.js';
import type { Topology } from '../netns/topology.js';
import { closeAll, stand, traces } from './chain.js';

/** Permission to read this checkout and nothing else, wherever it lies. */
const NOBODY = [
  'setpriv',
  '--reuid',
  '65534',
  '--inh-caps',
  '+dac_read_search',
  '--ambient-caps',
  '+dac_read_search',
];
const without = (...capabilities: string[]): string[] => [
  'setpriv',
  '--bounding-set',
  capabilities.map((name) => `-${name}`).join(','),
];

let net: Topology;

beforeAll(async () => {
  net = await stand({
    hosts: [
      { name: 'c1', role: 'client' },
      { name: 'p1', role: 'node' },
    ],
    links: [{ between: ['c1', 'p1'] }],
  });
});
afterAll(closeAll);

const tpotNode = (before: readonly string[], ...args: string[]): Promise<RunResult> => {
  const [program = '', ...rest] = [...before, ...tpotNodeCommand, ...args];
  return net.host('p1').run(program, rest);
};

const up = (...args: string[]): Promise<RunResult> =>
  tpotNode([], 'up', '--name', net.nodeName('p1'), ...args);

function configured(yaml: string): string {
  const file = join(net.directory, 'refused.yaml');
  writeFileSync(file, yaml);
  return file;
}

describe('configuration: exit 78', () => {
  test.each([
    [
      'an unknown key',
      'cahe: { memory: 1MiB }',
      /refused\.yaml:1:1: unknown key `cahe`, did you mean `cache`\?/,
    ],
    ['a wrong value', 'hops: many', /refused\.yaml:1:7: .*hops/],
    ['broken YAML', 'rules: [', /refused\.yaml:1:/],
    ['an unknown action', 'rules:\n  - { action: relai }', /relai|action/],
    ["somebody else's address", 'address: 203.0.113.9', /203\.0\.113\.9 is not an address of this machine/],
    ['a multicast address', 'address: 224.0.0.1', /224\.0\.0\.1/],
    ['an interface that is not there', '{ address: 198.18.1.1, interfaces: [eth9] }', /no interface eth9/],
  ])('%s', async (_, yaml, message) => {
    const { code, stdout, stderr } = await up('--config', configured(yaml));
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: /m);
    expect(stderr).not.toMatch(/^\s+at /m); // no stack
    expect({ code, stdout }).toEqual({ code: 78, stdout: '' });
    expect(await traces(net, 'p1')).toEqual([]);
  });

  test('every problem at once', async () => {
    const { stderr } = await up('--config', configured('hops: 999\nedge: perhaps\ncahe: {}\n'));
    expect(stderr.match(/^error: /gm)).toHaveLength(3);
  });

  test('a file that is not there', async () => {
    const { code, stderr } = await up('--config', '/nowhere/p1.yaml');
    expect(stderr).toMatch(/\/nowhere\/p1\.yaml/);
    expect(code).toBe(78);
  });
});

describe('permission: exit 77', () => {
  test.each([
    ['up', ['up', '--address', '198.18.1.1']],
    ['run', ['run', '--', 'true']],
  ])('%s without root', async (command, args) => {
    const { code, stderr, stdout } = await tpotNode(NOBODY, ...args);
    expect(stderr).toMatch(/^error: .*needs root/m);
    expect(stderr).toMatch(/^hint: .*sudo/m);
    expect({ command, code, stdout }).toEqual({ command, code: 77, stdout: '' });
  });

  test.each([
    ['up', ['up', '--address', '198.18.1.1'], ['bpf', 'perfmon', 'sys_admin']],
    ['run', ['run', '--', 'true'], ['bpf', 'perfmon', 'sys_admin']],
    ['up', ['up', '--address', '198.18.1.1'], ['net_admin']],
    ['run', ['run', '--', 'true'], ['net_admin', 'sys_admin']],
  ])('%s as a root that may not everything (case %#)', async (command, args, capabilities) => {
    const named = command === 'up' ? [...args, '--name', net.nodeName('p1')] : args;
    const { code, stderr, stdout } = await tpotNode(without(...capabilities), ...named);
    expect(stderr).toMatch(/^error: .*(does not let this process|not permitted)/im);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect({ command, code, stdout }).toEqual({ command, code: 77, stdout: '' });
    expect(await traces(net, 'p1')).toEqual([]);
  });

  test('`up --check` needs none', async () => {
    const { code, stdout } = await tpotNode(NOBODY, 'up', '--check', '--address', '198.18.1.1');
    expect(stdout).toMatch(/valid/);
    expect(code).toBe(0);
  });
});

describe('administration', () => {
  test.each(['status', 'conns', 'stats', 'down'])(
    '%s of a node that does not run: exit 69',
    async (command) => {
      const { code, stderr } = await tpotNode([], command, '--name', 'nobody-here');
      expect(stderr).toMatch(/^error: no node named nobody-here is running$/m);
      expect(code).toBe(69);
    },
  );
});
