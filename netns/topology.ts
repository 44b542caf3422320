/**
 * Stands a declared topology up in network namespaces, and takes it down again.
 *
 * ```ts
 * const net = await createTopology({
 *   hosts: [{ name: 'c1', role: 'client' }, { name: 'p1', role: 'node' }, { name: 'origin', role: 'origin' }],
 *   links: [{ between: ['c1', 'p1'] }, { between: ['p1', 'origin'] }],
 *   routes: [{ host: 'c1', to: 'default', via: 'p1' }, { host: 'origin', to: 'default', via: 'p1' }],
 *   nodes: [{ host: 'p1', config: { rules: [{ action: 'relay' }] } }],
 * });
 * try {
 *   await net.startNodes();
 *   await net.host('c1').must('curl', ['-sS', `http://${net.host('origin').address}/`]);
 * } finally {
 *   await net.close();
 * }
 * ```
 *
 * Every topology has an id of its own in the names of its namespaces, nodes and files, so that any number of them
 * stand side by side. `close` belongs in a `finally`; the `exit` event of the process closes what is still open.
 */
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TpotError } from '../core/errors.js';
import { command } from '../host/exec.js';
import { ownCgroup } from '../host/mounts.js';
import { Host, tpotNodeCommand, type Program } from './host.js';
import {
  configureLinks,
  createLinks,
  lossRules,
  routeCommands,
  spreadRules,
  sysctls,
  unspreadCommands,
} from './commands.js';
import { identify, requireRoot, type ProcessIdentity } from './processes.js';
import { planLinks, type NodeSpec, type PlannedLink, type RouteSpec, type TopologySpec } from './spec.js';
import { claimState, saveState, tearDown, tearDownSync, type LabState } from './state.js';

export interface TopologyOptions {
  /** For people, in `lab down` and in file names. */
  readonly title?: string;
  /** Leave logs and captures behind after `close`; default false. */
  readonly keepFiles?: boolean;
}

const ID_LENGTH = 5;
const ID_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
const READY_TIMEOUT_MS = 300_000; // an emulated processor takes minutes to verify the programs of three nodes at once
const DRAIN = '1s'; // a lab that ends has no connection worth waiting for

const open = new Set<Topology>();
process.on('exit', () => {
  for (const topology of open) topology.closeSync();
});

function newId(): string {
  return Array.from({ length: ID_LENGTH }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]).join('');
}

function claim(spec: TopologySpec, title: string): LabState {
  const owner = identify(process.pid) ?? { pid: process.pid, start: '' };
  for (;;) {
    const id = newId();
    const namespaces = Object.fromEntries(spec.hosts.map(({ name }) => [name, `tpot-${id}-${name}`]));
    const directory = mkdtempSync(join(tmpdir(), `tpot-${title}-${id}-`));
    const base = { version: 1, id, title, created: Date.now(), owner, directory, namespaces } as const;
    const state: LabState = { ...base, nodes: [], processes: [], kept: false };
    if (claimState(state)) return state;
    rmSync(directory, { recursive: true });
  }
}

export class Topology {
  readonly spec: TopologySpec;
  readonly links: readonly PlannedLink[];
  readonly #state: LabState;
  readonly #keepFiles: boolean;
  readonly #hosts = new Map<string, Host>();
  readonly #children: ChildProcess[] = [];
  readonly #nodes = new Map<string, Program>();
  /** The per-packet route of a host. */
  readonly #spread = new Map<string, RouteSpec>();

  constructor(spec: TopologySpec, links: readonly PlannedLink[], state: LabState, keepFiles: boolean) {
    this.spec = spec;
    this.links = links;
    this.#state = state;
    this.#keepFiles = keepFiles;
    for (const { name, role } of spec.hosts) {
      const ends = links.flatMap((link) => link.ends);
      const address = ends.find((end) => end.host === name)?.address ?? '127.0.0.1';
      const namespace = state.namespaces[name] ?? '';
      const register = (found: ProcessIdentity, child: ChildProcess): void => this.#register(found, child);
      this.#hosts.set(
        name,
        new Host({ name, role, namespace, address }, { directory: state.directory, register }),
      );
    }
    open.add(this);
  }

  get id(): string {
    return this.#state.id;
  }

  /** Logs, configurations and captures of this topology. */
  get directory(): string {
    return this.#state.directory;
  }

  get hosts(): readonly Host[] {
    return [...this.#hosts.values()];
  }

  host(name: string): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new TpotError('host-unknown', `there is no host ${name}`);
    return host;
  }

  /** The name under which the node of a host runs: pins and admin sockets are per machine, so it carries the id. */
  nodeName(host: string): string {
    return `${host}-${this.id}`;
  }

  /** The running node of a host. */
  node(host: string): Program {
    const program = this.#nodes.get(host);
    if (program === undefined) throw new TpotError('node-unknown', `no node runs in ${host}`);
    return program;
  }

  /** Starts the declared nodes, all at once, and resolves when each says it is ready. */
  async startNodes(): Promise<void> {
    await Promise.all((this.spec.nodes ?? []).map((node) => this.startNode(node)));
  }

  async startNode(node: NodeSpec): Promise<Program> {
    const name = this.nodeName(node.host);
    const file = join(this.directory, `${node.host}.yaml`);
    const { address } = this.host(node.host);
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ name, address, drainTimeout: DRAIN, ...node.config }, undefined, 2));
    this.#recordNode(name);
    const [node20, launcher] = tpotNodeCommand;
    const args = [launcher, 'up', '--config', file, '--name', name];
    const program = this.host(node.host).spawn(node20, args, { label: 'node' });
    this.#nodes.set(node.host, program);
    await program.output(new RegExp(`^tpot-node ${name} ready`, 'm'), { timeoutMs: READY_TIMEOUT_MS });
    return program;
  }

  /** Adds a route or replaces the one to the same prefix. One route of a host may be spread by packet. */
  async setRoute(route: RouteSpec): Promise<void> {
    const host = this.host(route.host);
    const spread = this.#spread.get(host.name);
    const undo = spread === undefined ? undefined : unspreadCommands(spread);
    this.#spread.delete(host.name);
    if (undo !== undefined) await host.must('nft', ['-f', '-'], { input: undo.nft });
    const lines = [...(undo?.ip ?? []), ...routeCommands(route, this.links)];
    await command('ip', ['-n', host.namespace, '-batch', '-'], lines.join('\n'));
    const rules = spreadRules(route);
    if (rules === undefined) return;
    await host.must('nft', ['-f', '-'], { input: rules });
    this.#spread.set(host.name, route);
  }

  /** Builds everything the specification declares except the nodes. */
  async build(): Promise<void> {
    for (const host of this.hosts) await command('ip', ['netns', 'add', host.namespace]);
    const v6 = this.spec.links.some((link) => link.v6 === true);
    await Promise.all(this.hosts.map((host) => this.#setSysctls(host, v6)));
    const namespaceOf = (name: string): string => this.host(name).namespace;
    await command('ip', ['-batch', '-'], createLinks(this.links, namespaceOf).join('\n'));
    await Promise.all(this.hosts.map((host) => this.#configure(host)));
    for (const route of this.spec.routes ?? []) await this.setRoute(route);
  }

  /** Leaves everything running when this process ends; `tpot-node lab down` removes it. */
  keep(): void {
    this.#state.kept = true;
    saveState(this.#state);
    for (const child of this.#children) child.unref();
    open.delete(this);
  }

  /** Ends every process of the topology and removes its namespaces. */
  async close(): Promise<void> {
    if (!open.delete(this)) return;
    await tearDown(this.#state);
    this.#removeFiles();
  }

  /** {@link close} for when nothing asynchronous runs any more. */
  closeSync(): void {
    if (!open.delete(this)) return;
    tearDownSync(this.#state);
    this.#removeFiles();
  }

  #removeFiles(): void {
    if (!this.#keepFiles) rmSync(this.directory, { recursive: true, force: true });
  }

  #register(process: ProcessIdentity, child: ChildProcess): void {
    this.#children.push(child);
    this.#state.processes.push(process);
    saveState(this.#state);
  }

  #recordNode(name: string): void {
    if (this.#state.nodes.some((known) => known.name === name)) return; // started again
    this.#state.nodes.push({ name, cgroup: join(ownCgroup(), `tpot-node.${name}`) });
    saveState(this.#state);
  }

  async #setSysctls(host: Host, v6: boolean): Promise<void> {
    const own = this.spec.hosts.find(({ name }) => name === host.name)?.sysctls ?? {};
    const all = Object.entries({ ...sysctls(host.role, v6), ...own });
    await host.must('sysctl', ['-qw', ...all.map(([key, value]) => `${key}=${value}`)]);
  }

  async #configure(host: Host): Promise<void> {
    const addresses = this.spec.hosts.find(({ name }) => name === host.name)?.addresses ?? [];
    const lines = configureLinks(host.name, this.links, addresses);
    await command('ip', ['-n', host.namespace, '-batch', '-'], lines.join('\n'));
    for (const { spec, ends } of this.links) {
      const end = ends.find((candidate) => candidate.host === host.name);
      if (end === undefined || spec.offload !== false) continue;
      // Some of these cannot be changed on some kernels; ethtool says so and changes the others.
      await host.run('ethtool', ['-K', end.interface, 'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off']);
    }
    const loss = lossRules(host.name, this.links);
    if (loss !== undefined) await host.must('nft', ['-f', '-'], { input: loss });
  }
}

/**
 * Stands up hosts, links and routes; nodes are started by {@link Topology.startNodes}.
 *
 * @throws TpotError `topology-invalid`, `command-failed`; nothing is left behind.
 */
export async function createTopology(spec: TopologySpec, options: TopologyOptions = {}): Promise<Topology> {
  requireRoot();
  const links = planLinks(spec);
  mkdirSync(tmpdir(), { recursive: true });
  const state = claim(spec, options.title ?? 'test');
  const topology = new Topology(spec, links, state, options.keepFiles ?? false);
  try {
    await topology.build();
  } catch (error) {
    await topology.close();
    throw error;
  }
  return topology;
}
