/** One contender's network for the cache bench: as in ../site.ts, with an HTTP origin and wrk as the client. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { command } from '../../host/exec.js';
import { tpotNodeCommand } from '../../netns/host.js';
import { processesInNamespaces } from '../../netns/processes.js';
import { createTopology, type Topology } from '../../netns/topology.js';
import { parseWrk, wrkArguments, WRK_SCRIPT, type WrkOutcome, type WrkRun } from '../load/wrk.js';
import { busyBetween, sampleCore } from '../measure/core.js';
import { LOAD_CORE, PEER_CORE, specOf, type Leg } from '../site.js';
import { HttpOrigin } from './origin.js';
import type { CachePeer } from './peer.js';

const SHARED_MEMORY = '/dev/shm';
const GRACE_MS = 30_000;

export interface LoadResult {
  readonly outcome: WrkOutcome;
  /** Share of its time that the peer's processor was busy, 0 to 1. */
  readonly busy: number;
  /** Requests that the origin got meanwhile. */
  readonly asked: number;
}

export class CacheSite {
  readonly topology: Topology;
  readonly #peer: CachePeer;
  readonly #origin: HttpOrigin;
  readonly #store: string;
  readonly #pinned: boolean;

  private constructor(
    peer: CachePeer,
    topology: Topology,
    origin: HttpOrigin,
    store: string,
    pinned: boolean,
  ) {
    this.#peer = peer;
    this.topology = topology;
    this.#origin = origin;
    this.#store = store;
    this.#pinned = pinned;
  }

  static async open(peer: CachePeer): Promise<CacheSite> {
    const spec = specOf({ ...(peer.node && { node: peer.node }) }, {});
    const topology = await createTopology(spec, { title: 'bench' });
    const store = mkdtempSync(join(SHARED_MEMORY, 'tpot-bench-'));
    try {
      const pinned = availableParallelism() > 1;
      const { directory } = topology;
      const origin = topology.host('origin');
      const server = await HttpOrigin.start(origin, directory, pinned ? LOAD_CORE : undefined);
      await topology.startNodes();
      await peer.start?.({ host: topology.host('p1'), directory, store, origin: origin.address });
      const site = new CacheSite(peer, topology, server, store, pinned);
      writeFileSync(site.#script, WRK_SCRIPT);
      return site;
    } catch (error) {
      await topology.close();
      rmSync(store, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs wrk at the client's side. */
  async load(leg: Leg, run: Omit<WrkRun, 'address' | 'script'>): Promise<LoadResult> {
    await this.#pinPeer(); // some start processes later
    const host = this.topology.host(leg === 'plain' ? 'c1' : 'c2');
    const { address } = this.topology.host(this.#peer.addressed ? 'p1' : 'origin');
    const shim = leg === 'tunnelled' ? [...tpotNodeCommand, 'run', '--'] : [];
    const pin = this.#pinned ? ['taskset', '-c', String(LOAD_CORE)] : [];
    const words = [...shim, ...pin, 'wrk', ...wrkArguments({ ...run, address, script: this.#script })];
    const [program = '', ...args] = words;
    const askedBefore = await this.#origin.asked();
    const before = sampleCore(PEER_CORE);
    const output = await host.must(program, args, { timeoutMs: run.seconds * 1000 + GRACE_MS });
    const busy = busyBetween(before, sampleCore(PEER_CORE));
    const asked = (await this.#origin.asked()) - askedBefore - 1;
    return { outcome: parseWrk(output), busy, asked };
  }

  /** Bytes of memory that the peer's processes and what it has stored as files take. */
  async memory(): Promise<number> {
    const files = await command('du', ['-s', '--block-size=1', this.#store]);
    return this.#pids().reduce((sum, pid) => sum + proportionalBytes(pid), Number.parseInt(files, 10));
  }

  async close(): Promise<void> {
    await this.topology.close();
    rmSync(this.#store, { recursive: true, force: true });
  }

  get #script(): string {
    return join(this.topology.directory, 'load.lua');
  }

  #pids(): number[] {
    return processesInNamespaces([this.topology.host('p1').namespace]).map(({ pid }) => pid);
  }

  async #pinPeer(): Promise<void> {
    if (!this.#pinned) return;
    for (const pid of this.#pids()) await command('taskset', ['-acp', String(PEER_CORE), String(pid)]);
  }
}

/** Pss of a process, proc_pid_smaps(5). */
function proportionalBytes(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    return Number(/^Pss: +(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
  } catch {
    return 0; // ended since it was listed
  }
}
