/**
 * One contender's network. Every contender has one of its own, all of them stand at the same time, and all are alike:
 *
 * ```
 *   c1 (plain clients) ── 198.18.1.0/24 ──┐
 *                                         p1 (the peer) ── 192.0.2.0/24 ── origin (the sink)
 *   c2 (`tpot-node run`) ─ 198.18.2.0/24 ─┘
 * ```
 */
import { availableParallelism } from 'node:os';
import { command } from '../host/exec.js';
import { processesInNamespaces } from '../netns/processes.js';
import type { TopologySpec } from '../netns/spec.js';
import { createTopology, type Topology } from '../netns/topology.js';
import { Agent } from './load/agent.js';
import type { Target } from './load/protocol.js';
import type { Peer, PeerSite } from './peers/peer.js';

/** How the client's packets reach the middle. */
export type Leg = 'plain' | 'tunnelled';

export interface SiteOptions {
  /** Keep the peer to the first processor and the load to the others. */
  readonly oneCore?: boolean;
  /** Keys added to the peer's configuration when it is a tpot-node. */
  readonly nodeConfig?: Readonly<Record<string, unknown>>;
}

export const PEER_CORE = 0;
export const LOAD_CORE = 1;
/**
 * Every kernel has it and every namespace may use it. BBR, the default of some machines, bounds what is under way by the least
 * delay seen, which within one machine is a few microseconds and another with every contender.
 */
export const CONGESTION_CONTROL = 'reno';
const HOST = { 'net.ipv4.tcp_congestion_control': CONGESTION_CONTROL };
/** Everything that opens thousands of connections has the ports for it. */
const BUSY_HOST = { ...HOST, 'net.ipv4.ip_local_port_range': '1024 65535', 'net.ipv4.tcp_tw_reuse': 1 };

export function specOf(peer: Pick<Peer, 'node'>, options: SiteOptions): TopologySpec {
  const node =
    peer.node === undefined ? [] : [{ host: 'p1', config: { ...peer.node, ...options.nodeConfig } }];
  return {
    hosts: [
      { name: 'c1', role: 'client', sysctls: BUSY_HOST },
      { name: 'c2', role: 'client', sysctls: BUSY_HOST },
      { name: 'p1', role: 'node', sysctls: BUSY_HOST },
      { name: 'origin', role: 'origin', sysctls: HOST },
    ],
    links: [
      { between: ['c1', 'p1'] },
      { between: ['c2', 'p1'] },
      { between: ['p1', 'origin'], addresses: ['192.0.2.1/24', '192.0.2.80/24'] },
    ],
    routes: [
      { host: 'c1', to: 'default', via: 'p1' },
      { host: 'c2', to: 'default', via: 'p1' },
      { host: 'origin', to: 'default', via: 'p1' },
    ],
    nodes: node,
  };
}

export class Site {
  readonly peer: Peer;
  readonly topology: Topology;
  readonly sink: Agent;
  readonly #peerSite: PeerSite;
  readonly #loadCore: number | undefined;
  readonly #clients = new Map<string, Agent>();

  private constructor(
    peer: Peer,
    topology: Topology,
    sink: Agent,
    peerSite: PeerSite,
    loadCore: number | undefined,
  ) {
    this.peer = peer;
    this.topology = topology;
    this.sink = sink;
    this.#peerSite = peerSite;
    this.#loadCore = loadCore;
  }

  static async open(peer: Peer, options: SiteOptions = {}): Promise<Site> {
    const topology = await createTopology(specOf(peer, options), { title: 'bench' });
    try {
      const oneCore = options.oneCore === true && availableParallelism() > 1;
      const peerSite: PeerSite = {
        host: topology.host('p1'),
        directory: topology.directory,
        origin: topology.host('origin').address,
        threads: oneCore ? 1 : availableParallelism(),
      };
      await Promise.all([topology.startNodes(), peer.start?.(peerSite)]);
      const loadCore = oneCore ? LOAD_CORE : undefined;
      const sink = await Agent.start(topology.host('origin'), { program: 'sink', core: loadCore });
      const site = new Site(peer, topology, sink, peerSite, loadCore);
      if (oneCore) await site.#pinPeer();
      return site;
    } catch (error) {
      await topology.close();
      throw error;
    }
  }

  target(port: number): Target {
    return this.peer.target(this.#peerSite, port);
  }

  /** A load program at the client's side; several may push side by side, told apart by `name`. */
  async client(leg: Leg, name = 'main'): Promise<Agent> {
    const key = `${leg}/${name}`;
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const host = this.topology.host(leg === 'plain' ? 'c1' : 'c2');
    const tunnelled = leg === 'tunnelled';
    const agent = await Agent.start(host, { program: 'client', tunnelled, core: this.#loadCore });
    this.#clients.set(key, agent);
    return agent;
  }

  /** The processes of the peer; none for plain forwarding. */
  peerPids(): number[] {
    return processesInNamespaces([this.topology.host('p1').namespace]).map(({ pid }) => pid);
  }

  async close(): Promise<void> {
    for (const agent of [this.sink, ...this.#clients.values()]) agent.stop();
    await this.topology.close();
  }

  async #pinPeer(): Promise<void> {
    for (const pid of this.peerPids()) await command('taskset', ['-acp', String(PEER_CORE), String(pid)]);
  }
}
