/** What a new configuration changes, and what of it a running node can follow. */
import { formatPrefix } from '../core/address.js';
import type { BypassEntry } from '../tpot/bypass.js';
import { configValues, describeRule } from './config-explain.js';
import type { NodeConfig } from './config.js';
import { formatPortRange } from './units.js';

/** One key, or one list: what it says no longer, and what it says now. Both empty: the same in another order. */
export interface ConfigChange {
  readonly key: string;
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

export interface ConfigDiff {
  /** In force as soon as they are applied. */
  readonly changes: readonly ConfigChange[];
  /** In force after a restart. */
  readonly needsRestart: readonly ConfigChange[];
}

/** Keys of {@link configValues} that a running node can follow; every other one needs a restart. */
const AT_RUN_TIME = new Set([
  'source',
  'hops',
  'trust',
  'keys',
  'edge',
  'limits.connections',
  'limits.perClient',
  'drainTimeout',
]);
/** Compared entry by entry. */
const LISTS = new Set(['bypass']);

function without(list: readonly string[], other: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const text of other) left.set(text, (left.get(text) ?? 0) + 1);
  return list.filter((text) => {
    const count = left.get(text) ?? 0;
    left.set(text, count - 1);
    return count <= 0;
  });
}

function listChange(key: string, before: readonly string[], after: readonly string[]): ConfigChange[] {
  const same = before.length === after.length && before.every((text, index) => text === after[index]);
  return same ? [] : [{ key, removed: without(before, after), added: without(after, before) }];
}

function describeBypass({ side, prefix, ports }: BypassEntry): string {
  const every = ports.from === 0 && ports.to === 0xffff;
  return `${side === 'source' ? 'from' : 'to'} ${formatPrefix(prefix)}${every ? '' : ` ${formatPortRange(ports)}`}`;
}

export function diffConfigs(before: NodeConfig, after: NodeConfig): ConfigDiff {
  // Addresses that nobody wrote down are those of the start, whatever the interfaces have by now.
  const unnamed = !before.addressGiven && !after.addressGiven;
  const old = new Map(configValues(before));
  const values = configValues(unnamed ? { ...after, addresses: before.addresses } : after).flatMap(
    ([key, text]) => {
      const was = old.get(key) ?? '';
      return was === text || LISTS.has(key) ? [] : [{ key, removed: [was], added: [text] }];
    },
  );
  const lists = [
    ...listChange('rules', before.rules.map(describeRule), after.rules.map(describeRule)),
    ...listChange('bypass', before.bypass.map(describeBypass), after.bypass.map(describeBypass)),
  ];
  return {
    changes: [...lists, ...values.filter(({ key }) => AT_RUN_TIME.has(key))],
    needsRestart: values.filter(({ key }) => !AT_RUN_TIME.has(key)),
  };
}

/** What a running node does with a new configuration: the keys that need a restart stay as they were. */
export function applicable(before: NodeConfig, after: NodeConfig): NodeConfig {
  const { rules, bypass, source, hops, trust, keys, requireKey, edge, drainTimeoutMs } = after;
  const { maxConnections, maxPerClient } = after;
  const told = { rules, bypass, source, hops, trust, keys, requireKey, edge, drainTimeoutMs };
  return { ...before, ...told, maxConnections, maxPerClient };
}
