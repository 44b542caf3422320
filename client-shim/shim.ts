/**
 * TPOT for one cgroup: every process in it sends requests in its SYNs and tunnels what follows a reply. Everything
 * is held by this process's descriptors, so nothing stays behind when it dies, however it dies.
 */
import type { Prefix } from '../core/address.js';
import type { Logger } from '../core/log.js';
import { InterfaceSet } from '../bpf/interfaces.js';
import type { Attachment } from '../bpf/attach.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { TpotPrograms } from '../bpf/programs.js';
import { makeCgroup, removeCgroup } from '../host/mounts.js';

/** Entries per table: a client has thousands of connections, not hundreds of thousands. */
const MAX_CONNECTIONS = 16_384;

export interface ShimOptions {
  /** The cgroup to make; the command joins it. */
  readonly cgroup: string;
  readonly hops: number;
  readonly trust: readonly Prefix[];
}

export class Shim {
  readonly #options: ShimOptions;
  readonly #programs: TpotPrograms;
  readonly #interfaces: InterfaceSet;
  readonly #sockops: Attachment;

  /** Loads and attaches; on an error nothing is left behind. */
  constructor(options: ShimOptions, logger: Logger) {
    this.#options = options;
    makeCgroup(options.cgroup);
    try {
      this.#programs = TpotPrograms.load({
        maxEntries: { tpot_taken: 1, tpot_transient: 1, tpot_splices: 1, tpot_tunnels: MAX_CONNECTIONS },
      });
      this.#programs.configure({ flags: TpotFlag.SOURCE, hops: options.hops, maxTunnels: MAX_CONNECTIONS });
      this.#programs.setTrust(options.trust);
      this.#interfaces = new InterfaceSet(this.#programs, undefined, [], logger);
      this.#sockops = this.#programs.attachCgroup(options.cgroup);
    } catch (error) {
      removeCgroup(options.cgroup);
      throw error;
    }
  }

  /** Connections that still have segments to send through their tunnels. */
  openTunnels(): number {
    return Number(this.#programs.map('tpotGauges').get(0)?.tunnels ?? 0n);
  }

  close(): void {
    this.#sockops.detach();
    this.#interfaces.close();
    this.#programs.close();
    removeCgroup(this.#options.cgroup);
  }
}
