/**
 * What the tests over real namespaces stand on: client – P1 – P2 – origin, with nodes started by `bin/tpot-node`.
 *
 * ```
 *   c1 ─┐
 *       p1 ── p2 ── origin (192.0.2.80: HTTP 80, banner 22, bulk 9000)
 *   c2 ─┘
 * ```
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { findMount, pinDirectory } from '../host/mounts.js';
import { builtFile, packageRoot, runtimeDirectory } from '../host/paths.js';
import { tpotNodeCommand, type Host, type Program, type RunOptions, type RunResult } from '../netns/host.js';
import { parseOriginLog, requestsOf, type OriginEvent, type RequestEvent } from '../netns/origin-events.js';
import type { LinkSpec, NodeSpec, RouteSpec, TopologySpec } from '../netns/spec.js';
import { createTopology, type Topology } from '../netns/topology.js';
import { askNode } from '../node/admin-client.js';
import type { ConnectionRow } from '../node/connections.js';
import type { NodeStats, NodeStatus } from '../node/node.js';

export const ORIGIN = '192.0.2.80';
export const ORIGIN_V6 = '2001:db8:4::1';
export const HOPS = 8;
/** HTTP is cached, everything else relayed. */
export const CACHE_AND_RELAY = [{ match: { dport: [80, 8080] }, action: 'cache' }, { action: 'relay' }];
const LAB_PREFIX = '198.18.0.0/15';
const LAB_PREFIX_V6 = '2001:db8::/32';

type NodeName = 'p1' | 'p2';

export interface ChainOptions {
  /** Configuration of the nodes that run; default: both, {@link CACHE_AND_RELAY}. */
  readonly nodes?: Partial<Record<NodeName, NodeSpec['config']>>;
  /** Percent of packets lost on every link, in each direction. */
  readonly loss?: number;
  readonly v6?: boolean;
  /** Segmentation offloads; off, captures hold wire packets. */
  readonly offload?: boolean;
}

const standing: Topology[] = [];

/** Stands a topology up; {@link closeAll} takes it down. */
export async function stand(spec: TopologySpec): Promise<Topology> {
  const topology = await createTopology(spec);
  standing.push(topology);
  return topology;
}

/** For `afterEach` or `afterAll`: ends everything that {@link stand} and {@link standChain} began. */
export async function closeAll(): Promise<void> {
  await Promise.all(standing.splice(0).map((topology) => topology.close()));
}

function routes(v6: boolean): RouteSpec[] {
  const line = ['p1', 'p2', 'origin'];
  const both = (host: string, via: string, to: 'default' | 'back'): RouteSpec[] => [
    { host, via, to: to === 'back' ? LAB_PREFIX : 'default' },
    ...(v6 ? [{ host, via, to: to === 'back' ? LAB_PREFIX_V6 : '::/0' }] : []),
  ];
  return [
    ...both('c1', 'p1', 'default'),
    ...both('c2', 'p1', 'default'),
    ...line.slice(0, -1).flatMap((host, index) => both(host, line[index + 1] ?? '', 'default')),
    ...both('p2', 'p1', 'back'),
    ...both('origin', 'p2', 'default'),
  ];
}

function specOf({ loss, v6 = false, offload = true, nodes }: ChainOptions): TopologySpec {
  const common = { v6, offload, ...(loss === undefined ? {} : { loss }) };
  const link = (a: string, b: string, more: Partial<LinkSpec> = {}): LinkSpec => ({
    between: [a, b],
    ...common,
    ...more,
  });
  const configured = nodes ?? { p1: {}, p2: {} };
  return {
    hosts: [
      { name: 'c1', role: 'client' },
      { name: 'c2', role: 'client' },
      { name: 'p1', role: 'node' },
      { name: 'p2', role: 'node' },
      { name: 'origin', role: 'origin' },
    ],
    links: [
      link('c1', 'p1'),
      link('c2', 'p1'),
      link('p1', 'p2'),
      link('p2', 'origin', { addresses: ['192.0.2.1/24', `${ORIGIN}/24`] }),
    ],
    routes: routes(v6),
    nodes: Object.entries(configured).map(([host, config]) => ({
      host,
      config: { rules: CACHE_AND_RELAY, ...config },
    })),
  };
}

export class Chain {
  readonly net: Topology;
  readonly origin: Program;
  #looks = 0;

  constructor(net: Topology, origin: Program) {
    this.net = net;
    this.origin = origin;
  }

  host(name: string): Host {
    return this.net.host(name);
  }

  /** Runs a command under the shim, to its end. */
  run(
    client: string,
    command: readonly string[],
    options: ShimOptions & RunOptions = {},
  ): Promise<RunResult> {
    const [program, ...args] = shim(command, options);
    return this.host(client).run(program, args, options);
  }

  /** {@link run}; the command's stdout, and an error when it fails. */
  must(client: string, command: readonly string[], options: ShimOptions & RunOptions = {}): Promise<string> {
    const [program, ...args] = shim(command, options);
    return this.host(client).must(program, args, options);
  }

  /** Starts a command under the shim that goes on running. */
  spawn(client: string, command: readonly string[], options: ShimOptions & { label?: string } = {}): Program {
    const [program, ...args] = shim(command, options);
    return this.host(client).spawn(
      program,
      args,
      options.label === undefined ? {} : { label: options.label },
    );
  }

  status(node: string): Promise<NodeStatus> {
    return askNode(this.net.nodeName(node), '/status') as Promise<NodeStatus>;
  }

  stats(node: string): Promise<NodeStats> {
    return askNode(this.net.nodeName(node), '/stats') as Promise<NodeStats>;
  }

  conns(node: string): Promise<ConnectionRow[]> {
    return askNode(this.net.nodeName(node), '/conns') as Promise<ConnectionRow[]>;
  }

  async counter(node: string, code: string): Promise<number> {
    return (await this.status(node)).counters[code] ?? 0;
  }

  /**
   * HTTP requests that reached the origin, whose answers have been read to their end. The origin reports in its own
   * time, but in order: one more request, straight from P2, shows that the earlier ones are in its log.
   */
  async requests(path?: string): Promise<RequestEvent[]> {
    const last = `/private/last-${++this.#looks}`;
    await this.host('p2').must('curl', ['-sSf', '-o', '/dev/null', `http://${ORIGIN}${last}`]);
    const events = (): OriginEvent[] => parseOriginLog(this.origin.stdout());
    await this.origin.while(() => requestsOf(events(), last).length > 0, { what: `${last} in its log` });
    return requestsOf(events(), path).filter((event) => !event.path.startsWith('/private/last-'));
  }
}

export interface ShimOptions {
  readonly hops?: number;
  readonly trust?: readonly string[];
  readonly keyFile?: string;
}

function shim(
  command: readonly string[],
  { hops = HOPS, trust = [], keyFile }: ShimOptions,
): [string, ...string[]] {
  const flags = ['--hops', String(hops), ...trust.flatMap((prefix) => ['--trust', prefix])];
  if (keyFile !== undefined) flags.push('--key-file', keyFile);
  return [...tpotNodeCommand, 'run', ...flags, '--', ...command];
}

/** Starts the origin of the labs. */
export async function startOrigin(topology: Topology): Promise<Program> {
  const origin = topology
    .host('origin')
    .spawn(process.execPath, [builtFile('netns', 'origin.js')], { label: 'origin' });
  await origin.output(/"ready"/);
  return origin;
}

export async function standChain(options: ChainOptions = {}): Promise<Chain> {
  const net = await stand(specOf(options));
  const [origin] = await Promise.all([startOrigin(net), net.startNodes()]);
  return new Chain(net, origin);
}

/** A script of test/fixtures. */
export function fixture(name: string): string {
  return join(packageRoot, 'test', 'fixtures', name);
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).map((entry) => join(directory, entry));
  } catch {
    return [];
  }
}

function namedDirectories(root: string, name: string): string[] {
  return entries(root).flatMap((path) => {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [];
    return path.endsWith(`/${name}`) ? [path] : namedDirectories(path, name);
  });
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');

/**
 * Everything a node leaves in the kernel and in the file system while it runs: pins, its cgroup, its socket and state
 * file, and in its namespace the routing rule, the delivery table, listeners and interface programs.
 */
export async function traces(net: Topology, host: string, name = net.nodeName(host)): Promise<string[]> {
  const inside = net.host(host);
  const said = async (program: string, ...args: string[]): Promise<string[]> =>
    lines((await inside.run(program, args)).stdout).map((line) => `${program}: ${line.trim()}`);
  const programs = Number(await inside.must(process.execPath, [fixture('attached.mjs')]));
  return [
    ...entries(pinDirectory('nodes', name)),
    ...namedDirectories(findMount('cgroup2') ?? '', `tpot-node.${name}`),
    ...entries(runtimeDirectory).filter((path) => /\.(sock|json)$/.test(path) && path.includes(`/${name}.`)),
    ...(await said('ip', '-4', 'rule', 'show', 'pref', '5450')),
    ...(await said('ip', '-6', 'rule', 'show', 'pref', '5450')),
    ...(await said('ip', '-4', 'route', 'show', 'table', '5450')),
    ...(await said('ip', '-6', 'route', 'show', 'table', '5450')),
    ...(await said('ss', '-Hltn')),
    ...(programs === 0 ? [] : [`${programs} programs on interfaces`]),
  ];
}
