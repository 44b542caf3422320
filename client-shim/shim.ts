/**
 * TPOT for one cgroup: every process in it sends requests in its SYNs and tunnels what follows a reply. Everything
 * is held by this process's descriptors, so nothing stays behind when it dies, however it dies.
 */
import { fromMapped, type IpAddress, type Prefix } from '../core/address.js';
import type { Logger } from '../core/log.js';
import { InterfaceSet } from '../bpf/interfaces.js';
import { TpotFlag, TpotOrigin, TpotReason, type TpotFlow, type TpotSocket } from '../bpf/generated/maps.js';
import type { TypedMap } from '../bpf/map.js';
import { TpotPrograms } from '../bpf/programs.js';
import { CAPABILITY } from '../tpot/option.js';
import { keyHalves, type Key } from '../tpot/key.js';
import { makeCgroup, removeCgroup } from '../host/mounts.js';

/** Entries per table: a client has thousands of connections, not hundreds of thousands. */
const MAX_CONNECTIONS = 16_384;

export interface ShimOptions {
  /** The cgroup to make; the command joins it. */
  readonly cgroup: string;
  readonly hops: number;
  readonly trust: readonly Prefix[];
  /** Default: none, and requests have no MAC. */
  readonly keys?: readonly Key[];
}

export class Shim {
  readonly #programs: TpotPrograms;
  readonly #sockets: TypedMap<number, TpotSocket>;
  /** Undoes what the constructor has done, the last first. */
  readonly #undo: (() => void)[] = [];

  /** Loads and attaches; on an error nothing is left behind. */
  constructor(options: ShimOptions, logger: Logger) {
    makeCgroup(options.cgroup);
    this.#undo.push(() => removeCgroup(options.cgroup));
    try {
      this.#programs = TpotPrograms.load({
        maxEntries: { tpot_taken: 1, tpot_transient: 1, tpot_splices: 1, tpot_tunnels: MAX_CONNECTIONS },
      });
      this.#undo.push(() => this.#programs.close());
      this.#programs.declareUnused();
      this.#programs.configure({
        flags: TpotFlag.SOURCE,
        hops: options.hops,
        capabilities: CAPABILITY.returnTunnel,
        maxTunnels: MAX_CONNECTIONS,
      });
      this.#sockets = this.#programs.map('tpotSockets');
      this.#programs.setTrust(options.trust);
      this.#programs.setKeys((options.keys ?? []).map(keyHalves));
      const interfaces = new InterfaceSet(this.#programs, undefined, [], logger);
      this.#undo.push(() => interfaces.close());
      const sockops = this.#programs.attachCgroup(options.cgroup);
      this.#undo.push(() => sockops.detach());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives one socket, not connected yet, a request of its own instead of the shim's. */
  ask(fd: number, { hops, capabilities }: { readonly hops: number; readonly capabilities: number }): void {
    this.#sockets.set(fd, {
      nextHop: new Uint8Array(16),
      legReason: TpotReason.NONE,
      origin: TpotOrigin.NONE,
      requestCapabilities: capabilities,
      replyCapabilities: 0,
      requestHops: hops,
      syns: 0,
      requests: 0,
      udp: 0,
    });
  }

  /** What the kernel has noted of a socket of the cgroup. */
  noted(fd: number): TpotSocket | undefined {
    return this.#sockets.get(fd);
  }

  /** How often each thing happened, by reason code. */
  counters(): Record<string, number> {
    return this.#programs.counters();
  }

  /** Connections that are pinned to a node now. */
  tunnels(): { readonly flow: TpotFlow; readonly nextHop: IpAddress }[] {
    return Array.from(this.#programs.map('tpotTunnels').entries(), ([flow, { remote }]) => ({
      flow,
      nextHop: fromMapped(remote),
    }));
  }

  /** Destinations whose path drops SYNs with a request. */
  blackHoles(): { readonly destination: IpAddress; readonly secondsLeft: number }[] {
    return this.#programs.blackHoles();
  }

  /** Connections that still have segments to send through their tunnels. */
  openTunnels(): number {
    return Number(this.#programs.map('tpotGauges').get(0)?.tunnels ?? 0n);
  }

  close(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }
}
