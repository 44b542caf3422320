/**
 * The network of the labs in which something stands in the way:
 *
 * ```
 * c1 ─── m ─── p1 ─── origin      m: a router that drops, changes or refuses what the lab says
 * ```
 */
import { tpotNodeCommand } from '../host.js';
import type { RouteSpec, TopologySpec } from '../spec.js';
import type { Topology } from '../topology.js';
import { RELAY_RULES } from './common.js';

export const HOPS = 8;
export const ORIGIN_V6 = '2001:db8:3::1';
const LAB_PREFIX = '198.18.0.0/15';
const LAB_PREFIX_V6 = '2001:db8:1::/64';

const both = (host: string, via: string): RouteSpec[] => [
  { host, to: 'default', via },
  { host, to: '::/0', via },
];

export interface PathOptions {
  /** MTU of the link between m and p1. */
  readonly mtu?: number;
  /** Rules of the node; default: relay. */
  readonly rules?: readonly unknown[];
  /** Offloads of the links, default false. nft's `reject` answers tunnel packets only where checksums are offloaded. */
  readonly offload?: boolean;
}

/** c1 – m – p1 – origin, both families. */
export function pathSpec({ mtu, rules = RELAY_RULES, offload = false }: PathOptions = {}): TopologySpec {
  const common = { offload, v6: true };
  return {
    hosts: [
      { name: 'c1', role: 'client' },
      { name: 'm', role: 'router' },
      { name: 'p1', role: 'node' },
      { name: 'origin', role: 'origin' },
    ],
    links: [
      { between: ['c1', 'm'], ...common },
      { between: ['m', 'p1'], ...common, ...(mtu === undefined ? {} : { mtu }) },
      { between: ['p1', 'origin'], ...common, addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
    ],
    routes: [
      ...both('c1', 'm'),
      ...both('m', 'p1'),
      { host: 'p1', to: LAB_PREFIX, via: 'm' },
      { host: 'p1', to: LAB_PREFIX_V6, via: 'm' },
      ...both('origin', 'p1'),
    ],
    nodes: [{ host: 'p1', config: { address: ['198.18.2.1', '2001:db8:2::1'], rules } }],
  };
}

export type Family = 4 | 6;

export const originOf = (family: Family): string => (family === 4 ? '192.0.2.80' : ORIGIN_V6);

export function urlTo(family: Family, path: string): string {
  return family === 4 ? `http://${originOf(4)}${path}` : `http://[${originOf(6)}]${path}`;
}

interface Status {
  readonly counters: Readonly<Record<string, number>>;
  readonly connections: number;
  readonly pid: number;
  readonly transforms: { readonly saturated: boolean };
}

export async function statusOf(topology: Topology, host: string): Promise<Status> {
  const [node, launcher] = tpotNodeCommand;
  const args = [launcher, 'status', '--name', topology.nodeName(host), '--json'];
  return JSON.parse(await topology.host(host).must(node, args)) as Status;
}

/** How much the counters of a node grow while `action` runs; those that do not grow are left out. */
export async function grown<T>(
  topology: Topology,
  host: string,
  action: () => Promise<T>,
): Promise<{ readonly value: T; readonly counters: Readonly<Record<string, number>> }> {
  const before = (await statusOf(topology, host)).counters;
  const value = await action();
  const after = (await statusOf(topology, host)).counters;
  const counters = Object.entries(after).flatMap(([code, count]): [string, number][] =>
    count > (before[code] ?? 0) ? [[code, count - (before[code] ?? 0)]] : [],
  );
  return { value, counters: Object.fromEntries(counters) };
}
