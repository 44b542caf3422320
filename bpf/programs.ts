/**
 * The TPOT programs in the kernel, as the node's data path and the client shim use them: load, configure, attach.
 */
import { type IpAddress, type Prefix, toMapped } from '../core/address.js';
import { builtFile } from '../host/paths.js';
import type { NetworkInterface } from '../host/interfaces.js';
import { attachCgroup, attachInterface, type Attachment } from './attach.js';
import { maps, TpotReason, type TpotConfig, type TpotPolicyRow } from './generated/maps.js';
import type { MapSpec, TypedMap } from './map.js';
import { BpfObject, type LoadOptions } from './object.js';

/** Changes with TPOT_LAYOUT_VERSION in tpot_consts.h; pinned maps of another version are not adopted. */
export const LAYOUT_VERSION = 2;
export const POLICY_ROWS = 256;

/** A number that is not zero only in packets on their way to the node's sockets; one byte, to leave room for others. */
export const DELIVERY_MARK = 0x54000000;
export const DELIVERY_MASK = 0xff000000;

const BANK_BIT = 0x80000000;
/** What stands before the address in a trust prefix, and before the IPv4 address in a mapped one. */
const FAMILY_BITS = 32;
const MAPPED_BITS = 96;

const REASON_TEXT: readonly string[] = Object.entries(TpotReason)
  .sort(([, a], [, b]) => a - b)
  .map(([name]) => name.toLowerCase().replaceAll('_', '-'));

/** The stable text of a reason number, e.g. `pass-hops`. */
export function reasonText(reason: number): string {
  return REASON_TEXT[reason] ?? `reason-${reason}`;
}

/** A configuration with the defaults of the protocol; callers override what they know. */
export function defaultConfig(): TpotConfig {
  return {
    layoutVersion: LAYOUT_VERSION,
    flags: 0,
    address4: 0,
    mark: DELIVERY_MARK,
    address6: new Uint8Array(16),
    listenerPort4: 0,
    listenerPort6: 0,
    exid: 0x5450,
    exid6: 0x5456,
    capabilities: 0,
    optionKind: 253,
    hops: 8,
    synsWithRequest: 2,
    maxConnections: 0,
    maxTunnels: maps.tpotTunnels.maxEntries,
    policy: 0,
    blackHoleFirstSeconds: 600,
    blackHoleMaxSeconds: 86_400,
  };
}

/** An IPv4 address as the configuration holds it: a number that is written in network order. */
export function ipv4Number(address: IpAddress): number {
  return new DataView(address.bytes.buffer, address.bytes.byteOffset).getUint32(0);
}

export class TpotPrograms {
  readonly #object: BpfObject;
  readonly #config: TypedMap<number, TpotConfig>;
  readonly #pins: string | undefined;
  #current: TpotConfig = defaultConfig();

  private constructor(object: BpfObject, pins: string | undefined) {
    this.#object = object;
    this.#pins = pins;
    this.#config = object.map(maps.tpotConfig);
  }

  /** Loads the compiled object; with `pinDirectory`, maps and links outlive this process. */
  static load(options: LoadOptions = {}): TpotPrograms {
    const object = BpfObject.load(builtFile('bpf', 'tpot.bpf.o'), {
      ...options,
      unpinned: [maps.tpotSockets.name],
    });
    return new TpotPrograms(object, options.pinDirectory);
  }

  get config(): Readonly<TpotConfig> {
    return this.#current;
  }

  configure(changes: Partial<TpotConfig>): void {
    this.#current = { ...this.#current, ...changes };
    this.#config.set(0, this.#current);
  }

  /** Writes the rows into the bank that is not in use, then switches to it in one store. */
  setPolicy(rows: readonly TpotPolicyRow[]): void {
    if (rows.length > POLICY_ROWS) throw new RangeError(`at most ${POLICY_ROWS} policy rows`);
    const table = this.#object.map(maps.tpotPolicy);
    const bank = (this.#current.policy & BANK_BIT) === 0 ? 1 : 0;
    for (const [index, row] of rows.entries()) table.set(2 * index + bank, row);
    this.configure({ policy: ((bank === 1 ? BANK_BIT : 0) | rows.length) >>> 0 });
  }

  /** Which next hops may pin a connection (protocol rule 2). */
  setTrust(prefixes: readonly Prefix[]): void {
    const trust = this.#object.map(maps.tpotTrust);
    for (const key of [...trust.keys()]) trust.delete(key);
    for (const { address, length } of prefixes) {
      const bits = FAMILY_BITS + length + (address.family === 4 ? MAPPED_BITS : 0);
      trust.set({ length: bits, family: address.family, address: toMapped(address) }, 1);
    }
  }

  /** This machine's own addresses: never a tunnel's far end, never a source that is taken. */
  setOwnAddresses(addresses: readonly IpAddress[]): void {
    const own = this.#object.map(maps.tpotOwn);
    const wanted = new Map(
      addresses.map((address) => [Buffer.from(toMapped(address)).toString('hex'), address]),
    );
    for (const key of [...own.keys()]) {
      if (!wanted.delete(Buffer.from(key.address).toString('hex'))) own.delete(key);
    }
    for (const address of wanted.values()) own.set({ address: toMapped(address) }, 1);
  }

  attachCgroup(cgroup: string): Attachment {
    return attachCgroup(this.#object.programFd('tpot_sockops'), cgroup, this.#pin('link_sockops'));
  }

  /** Both directions of one interface; empty when it has gone meanwhile. */
  attachInterface(target: NetworkInterface): Attachment[] {
    const suffix = target.ethernet ? '' : '_l3';
    return (['ingress', 'egress'] as const).flatMap((direction) => {
      const program = this.#object.programFd(`tpot_${direction}${suffix}`);
      const attachment = attachInterface(
        program,
        target.index,
        direction,
        this.#pin(`link_${direction}_${target.index}`),
      );
      return attachment === undefined ? [] : [attachment];
    });
  }

  programFd(name: string): number {
    return this.#object.programFd(name);
  }

  map<Name extends keyof typeof maps>(name: Name): MapOf<Name> {
    // The compiler cannot follow the conditional type of a generic name; the linter thinks that it can.
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-assertion
    return this.#object.map(maps[name] as MapSpec<unknown, unknown>) as MapOf<Name>;
  }

  /** Sums over all processors; reasons that never happened are left out. */
  counters(): Record<string, number> {
    const counters = this.#object.map(maps.tpotCounters);
    const result: Record<string, number> = {};
    for (let reason = 1; reason < TpotReason.COUNT; reason++) {
      const sum = counters.getPerCpu(reason).reduce((total, value) => total + value, 0n);
      if (sum > 0n) result[reasonText(reason)] = Number(sum);
    }
    return result;
  }

  close(): void {
    this.#object.close();
  }

  #pin(name: string): string | undefined {
    return this.#pins === undefined ? undefined : `${this.#pins}/${name}`;
  }
}

type MapOf<Name extends keyof typeof maps> = (typeof maps)[Name] extends {
  readonly key: { read(view: DataView): infer K };
  readonly value: { read(view: DataView): infer V };
}
  ? TypedMap<K, V>
  : never;
