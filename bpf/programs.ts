/**
 * The TPOT programs in the kernel, as the node's data path and the client shim use them: load, configure, attach.
 */
import { type Family, type IpAddress, type Prefix, fromMapped, toMapped } from '../core/address.js';
import { TpotError } from '../core/errors.js';
import { builtFile } from '../host/paths.js';
import type { NetworkInterface } from '../host/interfaces.js';
import { attachCgroup, attachInterface, type Attachment } from './attach.js';
import {
  maps,
  TpotBypassList,
  TpotFlowCodec,
  TpotReason,
  TpotUnused,
  type TpotFlow,
  type TpotConfig,
  type TpotKey,
  type TpotPolicyRow,
  type TpotPrefix,
} from './generated/maps.js';
import type { MapSpec, TypedMap } from './map.js';
import { BpfObject, type LoadOptions } from './object.js';
import { testRun } from './test-run.js';

/** Changes with TPOT_LAYOUT_VERSION in tpot_consts.h; pinned maps of another version are not adopted. */
export const LAYOUT_VERSION = 7;
export const POLICY_ROWS = 256;
export const MAX_KEYS = 4;

/** A number that is not zero only in packets on their way to the node's sockets; one byte, to leave room for others. */
export const DELIVERY_MARK = 0x54000000;
export const DELIVERY_MASK = 0xff000000;

/** A flow and its family, in a frame as long as the kernel wants one. */
const FLOW_FRAME = 64;
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
    udpPort: 0,
    unused: 0,
    keys: 0,
    maxPerClient: 0,
  };
}

/** An IPv4 address as the configuration holds it: a number that is written in network order. */
export function ipv4Number(address: IpAddress): number {
  return new DataView(address.bytes.buffer, address.bytes.byteOffset).getUint32(0);
}

/** A prefix of a bypass list as the table holds it. */
export interface BypassPrefix {
  readonly family: Family;
  /** About sources, not destinations. */
  readonly source: boolean;
  /** Mapped; bits beyond the length are zero. */
  readonly address: Uint8Array;
  /** In bits of the mapped address. */
  readonly length: number;
  /** First and last port in turn, each in two bytes, little-endian; 1 and 0 where there are no more. */
  readonly ports: Uint8Array;
}

/** What a node is told by its configuration, and told anew while it runs. */
export interface ProgramRules {
  readonly rows: readonly TpotPolicyRow[];
  readonly bypass: readonly BypassPrefix[];
  readonly keys: readonly TpotKey[];
  readonly trust: readonly Prefix[];
}

function trustPrefix({ address, length }: Prefix): TpotPrefix {
  const bits = FAMILY_BITS + length + (address.family === 4 ? MAPPED_BITS : 0);
  return { length: bits, family: address.family, address: toMapped(address) };
}

/** What the kernel takes for the same entry has the same name: bits beyond the length do not count. */
function trustKey({ length, family, address }: TpotPrefix): string {
  const bits = length - FAMILY_BITS;
  const counted = Array.from(
    address,
    (byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * at))),
  );
  return `${length} ${family} ${Buffer.from(counted).toString('hex')}`;
}

/** Programs for interfaces without an Ethernet header. Few machines have one, and the kernel takes long to verify them. */
const WITHOUT_ETHERNET = '_l3';

const objectFile = (): string => builtFile('bpf', 'tpot.bpf.o');

export class TpotPrograms {
  readonly #object: BpfObject;
  /** Loaded when the first such interface appears. */
  #withoutEthernet: BpfObject | undefined;
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
    const object = BpfObject.load(objectFile(), {
      ...options,
      programs: (name) => !name.endsWith(WITHOUT_ETHERNET),
      unpinned: [maps.tpotSockets.name, maps.tpotHeld.name, maps.tpotTaps.name],
    });
    return new TpotPrograms(object, options.pinDirectory);
  }

  /** For tables that are new: packets skip the look-up in them until the programs have put something in. */
  declareUnused(): void {
    const unused = TpotUnused.TAKEN | TpotUnused.TUNNELS;
    this.#object.map(maps.tpotGauges).set(0, { taken: 0n, tunnels: 0n, unused, padding: 0 });
  }

  get config(): Readonly<TpotConfig> {
    return this.#current;
  }

  configure(changes: Partial<TpotConfig>): void {
    this.#current = { ...this.#current, ...changes };
    this.#config.set(0, this.#current);
  }

  /**
   * Writes the rows and the bypass list into the bank that is not in use, then switches to it in one store, `changes` of
   * the configuration included. An error leaves what is in force as it was.
   */
  setPolicy(
    rows: readonly TpotPolicyRow[],
    bypass: readonly BypassPrefix[] = [],
    changes: Partial<TpotConfig> = {},
  ): void {
    this.configure({ ...changes, policy: this.#preparePolicy(rows, bypass) });
  }

  /** The word that puts them in force. */
  #preparePolicy(rows: readonly TpotPolicyRow[], bypass: readonly BypassPrefix[]): number {
    if (rows.length > POLICY_ROWS) throw new RangeError(`at most ${POLICY_ROWS} policy rows`);
    const table = this.#object.map(maps.tpotPolicy);
    const bank = (this.#current.policy & BANK_BIT) === 0 ? 1 : 0;
    for (const [index, row] of rows.entries()) table.set(2 * index + bank, row);
    this.#setBypass(bypass, bank === 1 ? TpotBypassList.BANK : 0);
    return ((bank === 1 ? BANK_BIT : 0) | rows.length) >>> 0;
  }

  #setBypass(prefixes: readonly BypassPrefix[], bank: number): void {
    const table = this.#object.map(maps.tpotBypass);
    for (const key of [...table.keys()]) {
      if ((key.list & TpotBypassList.BANK) === bank) table.delete(key);
    }
    for (const { family, source, address, length, ports } of prefixes) {
      const list = family | (source ? TpotBypassList.SOURCE : 0) | bank;
      table.set({ length: FAMILY_BITS + length, list, address }, { ports });
    }
  }

  /**
   * The keys of requests and replies (docs/protocol.md, "Keys"): the first signs, all verify. They go into the bank that
   * is not in use, which counts from one store on, `changes` of the configuration included.
   */
  setKeys(keys: readonly TpotKey[], changes: Partial<TpotConfig> = {}): void {
    this.configure({ ...changes, keys: this.#prepareKeys(keys) });
  }

  #prepareKeys(keys: readonly TpotKey[]): number {
    if (keys.length > MAX_KEYS) throw new RangeError(`at most ${MAX_KEYS} keys`);
    const table = this.#object.map(maps.tpotKeys);
    const bank = (this.#current.keys & BANK_BIT) === 0 ? 1 : 0;
    for (const [index, key] of keys.entries()) table.set(bank * MAX_KEYS + index, key);
    return keys.length === 0 ? 0 : ((bank === 1 ? BANK_BIT : 0) | keys.length) >>> 0;
  }

  /** Which next hops may pin a connection (protocol rule 2). What stays is trusted all the time. */
  setTrust(prefixes: readonly Prefix[]): void {
    this.#widenTrust(prefixes).narrow();
  }

  /** Adds what is not trusted yet; `narrow` takes away what no longer is, `undo` what has been added. */
  #widenTrust(prefixes: readonly Prefix[]): {
    readonly narrow: () => void;
    readonly undo: () => void;
  } {
    const trust = this.#object.map(maps.tpotTrust);
    const before = new Map(Array.from(trust.keys(), (key) => [trustKey(key), key]));
    const after = new Map(prefixes.map(trustPrefix).map((key) => [trustKey(key), key]));
    const without = (some: typeof after, other: typeof after): TpotPrefix[] =>
      [...some].flatMap(([name, key]) => (other.has(name) ? [] : [key]));
    const [added, gone] = [without(after, before), without(before, after)];
    const undo = (): void => added.forEach((key) => trust.delete(key));
    try {
      for (const key of added) trust.set(key, 1);
    } catch (error) {
      undo();
      throw error;
    }
    return { undo, narrow: () => gone.forEach((key) => trust.delete(key)) };
  }

  /** All of it from one store on. An error leaves everything that is in force as it was. */
  reconfigure({ rows, bypass, keys, trust }: ProgramRules, changes: Partial<TpotConfig>): void {
    const { narrow, undo } = this.#widenTrust(trust);
    try {
      const policy = this.#preparePolicy(rows, bypass);
      this.configure({ ...changes, policy, keys: this.#prepareKeys(keys) });
    } catch (error) {
      undo();
      throw error;
    }
    narrow();
  }

  /**
   * This machine's own addresses: never a tunnel's far end, never a source that is taken.
   *
   * @throws TpotError `too-many-addresses`; what is in force stays.
   */
  setOwnAddresses(addresses: readonly IpAddress[]): void {
    const own = this.#object.map(maps.tpotOwn);
    const wanted = new Map(
      addresses.map((address) => [Buffer.from(toMapped(address)).toString('hex'), address]),
    );
    const most = maps.tpotOwn.maxEntries;
    if (wanted.size > most) {
      throw new TpotError(
        'too-many-addresses',
        `this machine has ${wanted.size} addresses, more than ${most}`,
        {
          hint: 'A node must know all addresses of its network namespace: give it a namespace with fewer.',
        },
      );
    }
    for (const key of [...own.keys()]) {
      if (!wanted.delete(Buffer.from(key.address).toString('hex'))) own.delete(key);
    }
    for (const address of wanted.values()) own.set({ address: toMapped(address) }, 1);
  }

  attachCgroup(cgroup: string): Attachment {
    return attachCgroup(this.#object.programFd('tpot_sockops'), cgroup, this.#pin('link_sockops'));
  }

  /** Both directions of one interface, or none; empty when it has gone meanwhile. */
  attachInterface(target: NetworkInterface): Attachment[] {
    const suffix = target.ethernet ? '' : WITHOUT_ETHERNET;
    const attached: Attachment[] = [];
    try {
      for (const direction of ['ingress', 'egress'] as const) {
        const program = this.programFd(`tpot_${direction}${suffix}`);
        const pin = this.#pin(`link_${direction}_${target.index}`);
        const attachment = attachInterface(program, target.index, direction, pin);
        if (attachment !== undefined) attached.push(attachment);
      }
      return attached;
    } catch (error) {
      for (const attachment of attached) attachment.detach();
      throw error;
    }
  }

  /** Whether a socket of this network namespace, TIME_WAIT included, has the segments of this flow as its own. */
  hasSocket(flow: TpotFlow): boolean {
    const frame = new Uint8Array(FLOW_FRAME);
    const view = new DataView(frame.buffer);
    TpotFlowCodec.write(view, flow);
    const mapped = flow.source.subarray(0, 12).every((byte, index) => byte === (index < 10 ? 0 : 0xff));
    view.setUint32(TpotFlowCodec.size, mapped ? 4 : 6, true);
    return testRun(this.#object.programFd('tpot_socket_state'), frame).verdict !== 0;
  }

  /** Throws as {@link BpfObject.load} for the first of those for interfaces without an Ethernet header. */
  programFd(name: string): number {
    if (!name.endsWith(WITHOUT_ETHERNET)) return this.#object.programFd(name);
    this.#withoutEthernet ??= BpfObject.load(objectFile(), {
      programs: (other) => other.endsWith(WITHOUT_ETHERNET),
      sharing: this.#object,
    });
    return this.#withoutEthernet.programFd(name);
  }

  map<Name extends keyof typeof maps>(name: Name): MapOf<Name> {
    // The compiler cannot follow the conditional type of a generic name; the linter thinks that it can.
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-assertion
    return this.#object.map(maps[name] as MapSpec<unknown, unknown>) as MapOf<Name>;
  }

  /** Destinations whose path drops SYNs with a request, and for how long they get plain ones. */
  blackHoles(): { readonly destination: IpAddress; readonly secondsLeft: number }[] {
    const now = process.hrtime.bigint(); // CLOCK_MONOTONIC, as bpf_ktime_get_ns
    return [...this.#object.map(maps.tpotBlackHoles).entries()].flatMap(([key, hole]) => {
      const secondsLeft = Number((hole.untilNs - now) / 1_000_000_000n);
      return secondsLeft > 0 ? [{ destination: fromMapped(key.address), secondsLeft }] : [];
    });
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
    this.#withoutEthernet?.close();
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
