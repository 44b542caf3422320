import { describe, expect, it } from 'vitest';
import { DEFAULT_POLICY } from '../cache/policy.js';
import { ip, parsePrefix, type Prefix } from '../core/address.js';
import { createLogger, silentLogger } from '../core/log.js';
import { systemClock } from '../core/clock.js';
import { applicable, diffConfigs } from './config-diff.js';
import { ConfigError, type NodeConfig } from './config.js';
import { reload } from './reload.js';

const prefix = (text: string): Prefix => parsePrefix(text) ?? { address: ip('0.0.0.0'), length: 0 };
const relay = { sources: [], destinations: [], ports: [], action: 'relay' } as const;
const pass = { ...relay, ports: [{ from: 22, to: 22 }], action: 'pass' } as const;
const BEFORE: NodeConfig = {
  name: 'p1',
  addresses: { 4: ip('198.18.1.1') },
  addressGiven: true,
  interfaces: undefined,
  rules: [pass, relay],
  bypass: [],
  mode: 'basic',
  source: 'node',
  hops: 8,
  trust: [],
  keys: [],
  requireKey: false,
  edge: false,
  cacheBytes: 1 << 20,
  cacheDisk: undefined,
  spliceAbove: 0,
  tapAbove: 0,
  cachePolicy: DEFAULT_POLICY,
  stallTimeoutMs: 30_000,
  verifyHost: false,
  maxConnections: 100,
  maxPerClient: 0,
  maxSplices: 100,
  spliceIdleMs: 1000,
  udp: undefined,
  returnTunnel: true,
  headersTimeoutMs: 60_000,
  idleTimeoutMs: 600_000,
  drainTimeoutMs: 1000,
  transforms: { bits: 0, storeBytes: 1024, connections: 1, passOn: true, estimate: false },
  content: { kept: 1024, largest: 1024, timeout: 1000, processes: 1, memory: 268435456 },
};
const diff = (after: Partial<NodeConfig>) => diffConfigs(BEFORE, { ...BEFORE, ...after });

describe('what changes', () => {
  it('is nothing when all is as it was', () => expect(diff({})).toEqual({ changes: [], needsRestart: [] }));

  it('names rules and entries that come and go', () => {
    const entry = {
      side: 'destination',
      prefix: prefix('192.0.2.0/24'),
      ports: { from: 80, to: 81 },
    } as const;
    expect(diff({ rules: [relay], bypass: [entry] }).changes).toEqual([
      { key: 'rules', removed: ['A connection to port 22 passes untouched.'], added: [] },
      { key: 'bypass', removed: [], added: ['to 192.0.2.0/24 80-81'] },
    ]);
  });

  it('shows an order that changed as a change', () => {
    expect(diff({ rules: [relay, pass] }).changes).toEqual([{ key: 'rules', removed: [], added: [] }]);
  });

  it('tells what a running node can follow from what needs a restart', () => {
    const after = {
      hops: 3,
      edge: true,
      source: 'client',
      maxPerClient: 9,
      cacheBytes: 0,
      name: 'p2',
      drainTimeoutMs: 5,
    } as const;
    const { changes, needsRestart } = diff(after);
    expect(changes.map(({ key }) => key)).toEqual([
      'source',
      'hops',
      'edge',
      'limits.perClient',
      'drainTimeout',
    ]);
    expect(needsRestart.map(({ key }) => key)).toEqual(['name', 'cache.memory']);
    expect(applicable(BEFORE, { ...BEFORE, ...after })).toEqual({
      ...BEFORE,
      hops: 3,
      edge: true,
      source: 'client',
      maxPerClient: 9,
      drainTimeoutMs: 5,
    });
  });

  it('does not take other addresses of the interfaces for a change, unless they were written down', () => {
    const other = { addresses: { 4: ip('198.18.1.2') } };
    expect(diff(other).needsRestart).toHaveLength(1);
    const unnamed = { ...BEFORE, addressGiven: false };
    expect(diffConfigs(unnamed, { ...unnamed, ...other }).needsRestart).toEqual([]);
  });
});

describe('a reload', () => {
  const nodeOf = (fails = false) => {
    const applied: NodeConfig[] = [];
    const reconfigure = (config: NodeConfig): void => {
      if (fails) throw new Error('no memory');
      applied.push(config);
    };
    return { config: BEFORE, applied, reconfigure };
  };

  it('applies nothing of a configuration that is wrong', () => {
    const node = nodeOf();
    const problems = [{ where: 'a:1:1', message: 'wrong', hint: undefined }];
    const load = (): NodeConfig => {
      throw new ConfigError(problems);
    };
    expect(reload(node, load, silentLogger)).toEqual({ reloaded: false, problems });
    expect(node.applied).toEqual([]);
  });

  it('says when the kernel refuses', () => {
    const report = reload(nodeOf(true), () => BEFORE, silentLogger);
    expect(report).toMatchObject({ reloaded: false, problems: [{ where: 'kernel', message: 'no memory' }] });
  });

  it('logs long lists in part', () => {
    const lines: string[] = [];
    const logger = createLogger((line) => lines.push(line), systemClock);
    const bypass = Array.from({ length: 30 }, (_, low) => ({
      side: 'source' as const,
      prefix: prefix(`198.18.0.${low}`),
      ports: { from: 0, to: 65_535 },
    }));
    reload(nodeOf(), () => ({ ...BEFORE, bypass }), logger);
    expect(lines[0]).toMatch(/event=config-changed key=bypass .*from 198\.18\.0\.19\/32; and 10 more/);
  });
});
