import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { formatIp, formatPrefix } from '../core/address.js';
import { ConfigError, loadConfig, type ConfigOverrides, type NodeConfig } from './config.js';
import { describeRule, explainConfig } from './config-explain.js';
import type { ConfigProblem } from './config-file.js';

let folder = '';
let file = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tpot-config-'));
  file = join(folder, 'node.yaml');
});
afterAll(() => rmSync(folder, { recursive: true }));

function load(yaml: string, overrides: ConfigOverrides = {}): NodeConfig {
  writeFileSync(file, yaml);
  return loadConfig(file, overrides);
}

/** The problems of a file, with the file's name cut off. */
function problems(yaml: string, overrides: ConfigOverrides = {}): ConfigProblem[] {
  try {
    load(yaml, overrides);
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.problems.map((problem) => ({ ...problem, where: problem.where.replace(`${file}:`, '') }));
    }
    throw error;
  }
  return [];
}

const EXAMPLE = `
name: p1
address: 198.18.1.1            # announced in replies
interfaces: [eth0, eth1]
rules:
  - { match: { dport: [80, 8080] }, action: cache }
  - { match: { src: 198.18.0.0/16, dst: ["2001:db8::/32", 192.0.2.0/24], dport: 8000-8999 }, action: pass }
  - { action: relay }
mode: basic
hops: 3
trust: [198.18.0.0/15, "::/0"]
edge: true
cache: { memory: 64KiB }
limits: { connections: 1000, headersTimeout: 10s }
drainTimeout: 5m
`;

describe('a valid file', () => {
  it('is resolved completely', () => {
    const config = load(EXAMPLE);
    expect(config.name).toBe('p1');
    expect(formatIp(config.addresses[4]!)).toBe('198.18.1.1');
    expect(config.addresses[6]).toBeUndefined();
    expect(config.interfaces).toEqual(['eth0', 'eth1']);
    expect(config.rules.map(({ action }) => action)).toEqual(['cache', 'pass', 'relay']);
    expect(config.rules[1]?.ports).toEqual([{ from: 8000, to: 8999 }]);
    expect(config.rules[1]?.destinations.map(formatPrefix)).toEqual(['2001:db8::/32', '192.0.2.0/24']);
    expect(config.trust.map(formatPrefix)).toEqual(['198.18.0.0/15', '::/0']);
    expect(config).toMatchObject({
      mode: 'basic',
      hops: 3,
      edge: true,
      cacheBytes: 65536,
      maxConnections: 1000,
      headersTimeoutMs: 10_000,
      idleTimeoutMs: 600_000,
      drainTimeoutMs: 300_000,
    });
  });

  it.each([
    ['', { port: 6080, required: false }],
    ['udpEncapsulation: true', { port: 6080, required: false }],
    ['udpEncapsulation: {}', { port: 6080, required: false }],
    ['udpEncapsulation: { port: 6080 }', { port: 6080, required: true }],
    ['udpEncapsulation: { port: 4789 }', { port: 4789, required: true }],
    ['udpEncapsulation: false', undefined],
  ])('reads `%s`', (text, udp) => {
    expect(load(`address: 198.18.1.1\n${text}`).udp).toEqual(udp);
  });

  it('reads which transforms a rule may use, and who lets others do them', () => {
    const rules =
      'rules: [{ action: relay, transforms: [zstd] }, { action: splice }, { action: cache, transforms: [] }]';
    const read = (text: string): unknown[] =>
      load(`address: 198.18.1.1\n${rules}\n${text}`).rules.map(({ capabilities, yields }) => [
        capabilities,
        yields,
      ]);
    expect(read('')).toEqual([
      [1, true],
      [undefined, true],
      [0, undefined],
    ]);
    expect(read('transforms: { passOn: false }')).toEqual([
      [1, undefined],
      [undefined, undefined],
      [0, undefined],
    ]);
  });

  it('takes defaults for what it leaves out', () => {
    const config = load('address: 198.18.1.1');
    expect(config).toMatchObject({
      interfaces: undefined,
      hops: 8,
      edge: false,
      cacheBytes: 256 * 2 ** 20,
      spliceAbove: 16 * 2 ** 20,
      tapAbove: 0,
      cachePolicy: {
        targets: ['cdn-cache-control'],
        disconnectedSeconds: 86_400,
        secondRequest: false,
        keepHits: true,
        noVarySearch: true,
      },
      verifyHost: false,
      maxConnections: 100_000,
      maxSplices: 131_072,
      spliceIdleMs: 24 * 3_600_000,
      headersTimeoutMs: 60_000,
      idleTimeoutMs: 600_000,
      drainTimeoutMs: 30_000,
    });
    expect(config.rules).toEqual([
      {
        sources: [],
        destinations: [],
        ports: [80, 8080].map((port) => ({ from: port, to: port })),
        action: 'cache',
      },
      { sources: [], destinations: [], ports: [], action: 'relay', yields: true },
    ]);
    expect(config.name).toMatch(/^[A-Za-z0-9][A-Za-z0-9_-]*$/);
  });

  it('has the cache do what it says', () => {
    const cache =
      '{ targeted: [X-CC, CDN-Cache-Control], staleIfDown: 5m, admit: second-request, keepHits: false, noVarySearch: true }';
    expect(load(`address: 198.18.1.1\ncache: ${cache}`).cachePolicy).toEqual({
      targets: ['x-cc', 'cdn-cache-control'],
      disconnectedSeconds: 300,
      secondRequest: true,
      keepHits: false,
      noVarySearch: true,
    });
  });

  it('says how long a client may hold others up', () => {
    expect(load('address: 198.18.1.1').stallTimeoutMs).toBe(30_000);
    expect(load('address: 198.18.1.1\ncache: { stallTimeout: 2m }').stallTimeoutMs).toBe(120_000);
  });

  it('may say nothing or be absent when the address comes from the command line', () => {
    expect(load('{}', { address: '2001:db8::1' }).addresses[4]).toBeUndefined();
    expect(formatIp(loadConfig(undefined, { address: '2001:db8::1' }).addresses[6]!)).toBe('2001:db8::1');
  });

  it('may have one address per family', () => {
    const config = load('address: ["2001:db8::1", 198.18.1.1]');
    expect(formatIp(config.addresses[4]!)).toBe('198.18.1.1');
    expect(formatIp(config.addresses[6]!)).toBe('2001:db8::1');
  });

  it('is overridden by options', () => {
    const config = load(EXAMPLE, { name: 'p2', address: '198.18.9.9', interfaces: ['veth0'] });
    expect(config.name).toBe('p2');
    expect(formatIp(config.addresses[4]!)).toBe('198.18.9.9');
    expect(config.interfaces).toEqual(['veth0']);
    expect(config.hops).toBe(3);
  });
});

describe('a server name', () => {
  it('is read in its canonical form', () => {
    const yaml = 'rules: [{ match: { sni: [WWW.Example.net., "*.Example.org"] }, action: splice }]';
    const [rule] = load(yaml, { address: '198.18.1.1' }).rules;
    expect(rule?.serverNames).toEqual(new Set(['www.example.net', '*.example.org']));
  });
});

describe('an unknown key', () => {
  it.each([
    ['cahe: { memory: 1GiB }', '1:1', 'unknown key `cahe`, did you mean `cache`?'],
    ['name: p1\ndraintimeout: 3s', '2:1', 'unknown key `draintimeout`, did you mean `drainTimeout`?'],
    ['cache:\n  memroy: 1GiB', '2:3', 'unknown key `memroy` in `cache`, did you mean `memory`?'],
    [
      'rules:\n  - { match: { port: 80 }, action: cache }',
      '2:16',
      'unknown key `port` in `rules[0].match`, did you mean `dport`?',
    ],
    ['frobnicate: 1', '1:1', 'unknown key `frobnicate`'],
  ])('%j is an error with its place and a suggestion', (yaml, where, message) => {
    expect(problems(yaml)).toMatchObject([{ where, message }]);
  });
});

describe('a bad value', () => {
  it.each([
    ['address: 127.0.0.1', '1:10', 'unicast'],
    ['address: 224.0.0.1', '1:10', 'unicast'],
    ['address: [198.18.1.1, 198.18.1.2]', '1:10', 'at most one IPv4 and one IPv6'],
    ['hops: 256', '1:7', '0 to 255'],
    ['hops: many', '1:7', '0 to 255'],
    ['edge: yes', '1:7', 'true or false'],
    ['drainTimeout: 30', '1:15', 'unit'],
    ['drainTimeout: 30d', '1:15', 'unit'],
    ['cache: { memory: lots }', '1:18', '256MiB'],
    ['cache: { memory: -1 }', '1:18', '256MiB'],
    ['cache: { disk: { path: cache, size: 1GiB } }', '1:24', 'an absolute path'],
    ['cache: { disk: { path: /var/cache/x } }', '1:16', '{ path: /var/cache/tpot-node, size: 10GiB }'],
    ['limits: { connections: 0 }', '1:24', '1 to 131072'],
    ['trust: [198.18.0.0/33]', '1:9', '198.18.0.0/15'],
    ['interfaces: [lo]', '1:14', 'non-loopback'],
    ['name: a.b', '1:7', 'letters, digits'],
    ['rules: [{ match: { dport: 70000 }, action: relay }]', '1:27', 'a range'],
    ['rules: [{ match: { dport: "90-80" }, action: relay }]', '1:27', 'a range'],
    ['rules: [{ match: { dport: [80, x] }, action: relay }]', '1:32', 'a range'],
    ['rules: [{ action: join }]', '1:19', 'cache, splice, relay or pass'],
    ['rules: [{ action: relay, transforms: [lz4] }]', '1:39', 'zstd, deflate or dedup'],
    ['rules: [{ match: { dport: 80 } }]', '1:9', 'action'],
    ['rules: [{ match: { src: 192.0.2.0/24, dst: "::/0" }, action: relay }]', '1:9', 'one family'],
    ['rules: [{ match: { sni: 192.0.2.1 }, action: relay }]', '1:25', 'a host name'],
    ['rules: [{ match: { sni: [a.example, "*"] }, action: relay }]', '1:37', '*.example.net'],
    ['rules: [{ match: { sni: bücher.example }, action: relay }]', '1:25', 'xn--'],
    ['rules: [{ match: { sni: a.example }, action: pass }]', '1:46', 'action: splice'],
    ['- a list', '1:1', ''],
  ])('%j is an error with its place and a hint', (yaml, where, hint) => {
    const found = problems(yaml);
    expect(found.map((problem) => problem.where)).toEqual([where]);
    expect(found[0]?.hint ?? '').toContain(hint);
  });

  it.each(['pipelined', 'hold'])('mode: %s says that this version only has basic', (mode) => {
    expect(problems(`mode: ${mode}`)).toMatchObject([
      { where: '1:7', message: `\`mode: ${mode}\` is not available: this version only has basic` },
    ]);
  });

  it('is refused on the command line too, under the name of its option', () => {
    expect(
      problems('address: 198.18.1.1', { address: 'here', name: 'a/b', interfaces: ['lo'] }),
    ).toMatchObject([{ where: '--name' }, { where: '--address' }, { where: '--interface' }]);
  });

  it('does not hide the others', () => {
    expect(problems('hops: -1\nedge: 1\nnmae: x')).toHaveLength(3);
  });

  it('too many combinations are refused', () => {
    const ports = Array.from({ length: 257 }, (_, index) => 1000 + index).join(', ');
    expect(problems(`rules: [{ match: { dport: [${ports}] }, action: relay }]`)[0]?.message).toContain('257');
  });
});

describe('a broken file', () => {
  it('reports YAML errors with their place', () => {
    expect(problems('name: p1\nrules: [ { action: relay }\nhops: 3')[0]?.where).toMatch(/^\d+:\d+$/);
    expect(problems('hops: 1\nhops: 2')).toMatchObject([{ where: '2:1' }]);
  });

  it('reports a value that begins like an alias, and aliases without end', () => {
    const [found] = problems('rules:\n  - { match: { sni: *.example.net, dport: 443 }, action: splice }');
    expect(found?.message).toContain('alias');
    expect(found?.hint).toContain('quotes');
    const levels = Array.from('bcdefghi').map(
      (name, at) => `${name}: &${name} [${`*${'abcdefgh'[at]},`.repeat(9)}]`,
    );
    expect(problems(['a: &a [x]', ...levels].join('\n')).length).toBeGreaterThan(0);
  });

  it('that is missing is a problem of its own', () => {
    expect(() => loadConfig(join(folder, 'absent.yaml'))).toThrow(/absent\.yaml: cannot be read/);
  });
});

describe('explanation', () => {
  it('has a sentence per rule', () => {
    const { rules } = load(EXAMPLE);
    expect(rules.map(describeRule)).toEqual([
      'A connection to ports 80 or 8080 is taken: HTTP is answered from the cache, anything else is spliced.',
      'A connection from 198.18.0.0/16 to 2001:db8::/32 or 192.0.2.0/24 on ports 8000-8999 passes untouched.',
      'Every other connection is taken and relayed.',
    ]);
  });

  it('says what a rule stores otherwise', () => {
    const { rules } = load(`address: 198.18.1.1
rules:
  - { match: { dport: 80 }, action: cache, admit: second-request, keepHits: false }
  - { action: cache, admit: always }`);
    expect(rules.map(({ admission }) => admission)).toEqual([
      { secondRequest: true, keepHits: false },
      { secondRequest: false },
    ]);
    expect(rules.map(describeRule)).toEqual([
      'A connection to port 80 is taken: HTTP is answered from the cache, anything else is spliced; only what is asked for twice is stored; what the next node has is not stored.',
      'Every other connection is taken: HTTP is answered from the cache, anything else is spliced; all that may be is stored.',
    ]);
  });

  it('refuses a rule that says what is stored and stores nothing', () => {
    const [found] = problems('address: 198.18.1.1\nrules: [{ action: relay, keepHits: false }]');
    expect(found?.message).toContain('rules[0]');
    expect(found?.hint).toContain('action: cache');
  });

  it('shows resolved values and rules that can never be reached', () => {
    const text = explainConfig(
      load('address: 198.18.1.1\nrules: [{ action: pass }, { action: relay }]'),
      'x.yaml',
    );
    expect(text).toContain('x.yaml: valid');
    expect(text).toMatch(/cache\.memory +256MiB/);
    expect(text).toContain('never reached: rule 1 matches everything');
    expect(text).toContain('198.18.1.1 is not an address of this machine');
  });

  it('says what a server name means', () => {
    const yaml = `address: 198.18.1.1
rules:
  - { match: { dport: 443, sni: ["*.example.net", a.example] }, action: splice }
  - { match: { sni: b.example }, action: relay }
  - { action: relay }`;
    const config = load(yaml);
    expect(describeRule(config.rules[0]!)).toBe(
      'A connection to port 443 with the TLS server name *.example.net or a.example is taken, and joined in the kernel.',
    );
    const text = explainConfig(config, 'x');
    expect(text).not.toContain('never reached');
    expect(text).toContain('warning: rule 2 takes connections to every port');
    expect(text).not.toContain('warning: rule 1');
    expect(text).toContain('is spliced');
  });

  it('says what happens when no rule matches', () => {
    const yaml = 'address: 198.18.1.1\nrules: [{ match: { dport: 80 }, action: cache }]';
    expect(explainConfig(load(yaml), 'x')).toContain('otherwise: The connection passes untouched.');
  });
});

it('an empty file is no configuration: it may be half written, or a pipe that was read before', () => {
  expect(problems(' \n')).toMatchObject([{ message: expect.stringContaining('is empty') as string }]);
  expect(problems('{}')).toEqual([]);
  expect(problems('# nothing but this\n')).toEqual([]);
});

it('what the parser thinks of keys that are lists is said as any other problem, and by nobody else', () => {
  const warned = vi.spyOn(process, 'emitWarning');
  try {
    expect(problems('? [a]\n: 1\n')).toHaveLength(1);
    expect(warned).not.toHaveBeenCalled();
  } finally {
    warned.mockRestore();
  }
});
