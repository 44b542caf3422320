/**
 * The port between what decides per connection (this folder) and what decides per packet (a data path).
 *
 * Declared once, implemented by `EbpfDataPath` (data-path-ebpf.ts); `test/data-path.contract.ts` is the suite that
 * every implementation passes.
 */
import type { Socket } from 'node:net';
import type { Family, IpAddress, Prefix } from '../core/address.js';
import type { BypassEntry } from '../tpot/bypass.js';
import type { Key } from '../tpot/key.js';
import type { PolicyRow } from '../tpot/policy.js';
import type { UdpOffer } from './config.js';

/** What can change while a data path runs. */
export interface DataPathSettings {
  readonly policy: readonly PolicyRow[];
  /** Never taken, whatever the policy says. */
  readonly bypass: readonly BypassEntry[];
  readonly trust: readonly Prefix[];
  /** Of requests and replies; the first signs. Default: none. */
  readonly keys?: readonly Key[];
  /** Takes no request without a MAC. */
  readonly requireKey?: boolean;
  readonly edge: boolean;
  /** Legs may be opened `from` their client: what is addressed to one of them stays here. */
  readonly clientLegs: boolean;
  readonly maxConnections: number;
  /** Of one client (tpot/client.ts), spliced ones included: those taken from now on count. 0, the default: no limit. */
  readonly maxPerClient?: number;
}

export interface DataPathOptions extends DataPathSettings {
  /** Bits of transforms that replies may accept; absent: none. */
  readonly capabilities?: number;
  readonly name: string;
  /** Announced in replies and the end of the tunnels towards this node. At least one of the two. */
  readonly addresses: Partial<Record<Family, IpAddress>>;
  /** Interface names; undefined means every non-loopback interface, those that appear later included. */
  readonly interfaces: readonly string[] | undefined;
  /** Spliced connections; at the limit connections stay relayed. */
  readonly maxSplices: number;
  /** After how long without a packet a spliced connection is forgotten. */
  readonly spliceIdleMs: number;
  /** Whether segments to sources, and from next hops, may be in a tunnel where nothing else gets through; default: yes. */
  readonly returnTunnel?: boolean;
  /** Where tunnels in UDP end; undefined offers none. */
  readonly udp?: UdpOffer | undefined;
  /** Whether copies of what is spliced may be asked for ({@link SpliceConditions.copy}); default: no. */
  readonly taps?: boolean;
}

/** How an accepted connection came to this node (protocol rule 8). */
export interface TakenInfo {
  readonly via: 'tunnel' | 'edge' | 'reply-stripped';
  /** How many more nodes may take the connection, as the request said; undefined when there was no request. */
  readonly hops: number | undefined;
  /** Of those the request offered, what this node's reply accepted. */
  readonly capabilities: number;
  /** Its tunnel is in UDP. */
  readonly udp?: boolean;
  /** Whether what goes to the source is in a tunnel now, too; absent: never. */
  readonly returned?: () => boolean;
}

/** What is known of a connection this node opened. */
export interface LegInfo {
  /** The node whose reply pinned this connection; undefined while unknown or when it is plain TCP. */
  readonly nextHop: IpAddress | undefined;
  /** Stable reason code, e.g. `tunnelled`, `tunnelled-udp`, `plain-no-reply`, `plain-no-request`, `plain-black-hole`. */
  readonly reason: string;
  /** What the reply accepted of the request's capabilities; absent: nothing. */
  readonly capabilities?: number;
}

export interface LegOptions {
  readonly address: IpAddress;
  readonly port: number;
  /** Hops to put in the request; 0 sends no request. */
  readonly hops: number;
  readonly capabilities: number;
  /** The client whose address, and port where it is free, the leg has (protocol rule 10); default: this machine's own. */
  readonly from?: { readonly address: IpAddress; readonly port: number } | undefined;
}

export interface SplicedTotals {
  /** Joined now. */
  readonly connections: number;
  /** Of these, and of those that have ended while this process ran. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Elements of a list that may be long, some at a time. */
export type Some<T> = AsyncIterable<readonly T[]> | Iterable<readonly T[]>;

/** A spliced connection, as the table tells. Bytes: what was relayed before included. */
export interface SplicedConnection {
  readonly client: { readonly address: IpAddress; readonly port: number };
  readonly destination: { readonly address: IpAddress; readonly port: number };
  readonly tunnelled: boolean;
  /** The client's tunnel is in UDP. */
  readonly udp: boolean;
  /** What goes to the client is in a tunnel, too. */
  readonly returned: boolean;
  readonly nextHop: IpAddress | undefined;
  readonly nextHopUdp: boolean;
  /** A direction has ended. */
  readonly closing: boolean;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly packets: number;
  readonly ageSeconds: number;
}

export type SpliceOutcome =
  | { readonly spliced: true }
  /** Both sockets go on as they were. The reason is stable, e.g. `relayed-busy` (splice/join.ts). */
  | { readonly spliced: false; readonly reason: string };

/** Who gets a copy of what a server goes on to send when its connection has been handed over. */
export interface ResponseCopy {
  /** The sockets are about to be closed: what comes from here on comes as a copy. Not called when it stays. */
  begin(): void;
  /** The next bytes in order, which the client has acknowledged. They stay as they are. */
  content(bytes: Buffer): 'more' | 'complete' | 'unwanted';
  /** There are no more, and that was not all. Not called before `begin`. */
  lost(): void;
}

/** What must hold beyond the two sockets when a connection is handed over; asked at every step of it. */
export interface SpliceConditions {
  /** It is not to be handed over any more. */
  over(): boolean;
  /** No byte of it is held by this process. */
  idle(): boolean;
  /** Wants a copy; where none can be made the connection stays. */
  readonly copy?: ResponseCopy | undefined;
}

export interface DataPathEvents {
  /** A taken connection has been accepted. `socket.localAddress/localPort` is the original destination. */
  connection(socket: Socket, info: TakenInfo): void;
}

export interface BlackHole {
  readonly destination: IpAddress;
  readonly secondsLeft: number;
}

/** A source that gets its segments in a tunnel, because plain ones stayed without an answer. */
export interface ReturnSource {
  readonly source: IpAddress;
  readonly secondsLeft: number;
}

/** A node that is reached in UDP, because IP in IP did not pass. */
export interface UdpNode {
  readonly node: IpAddress;
  readonly secondsLeft: number;
}

export interface DataPath {
  readonly kind: 'ebpf' | 'tun';
  /** Begins to take connections; resolves once a SYN that arrives would be taken. */
  start(events: DataPathEvents): Promise<void>;
  /** Stops taking SYNs; existing connections go on. */
  drain(): void;
  /** Replaces the bits that replies may accept; what has been accepted stays so. */
  setCapabilities(bits: number): void;
  /** Opens the next leg. The socket is connecting; it emits `connect`, or `error` like any net.Socket. */
  connect(options: LegOptions): Socket;
  /** What became of a leg opened by {@link connect}; call after its `connect` event. */
  legInfo(socket: Socket): LegInfo;
  /**
   * Takes a connection out of user space while it is being relayed: from then on the kernel joins its two legs, and
   * both sockets are closed without a word. `leaving` is called just before that.
   */
  splice(
    client: Socket,
    server: Socket,
    leaving: () => void,
    conditions?: SpliceConditions,
  ): Promise<SpliceOutcome>;
  /**
   * The connections that were joined when this was called, those that an earlier process joined included: some at a
   * time, with pauses.
   */
  spliced(): Some<SplicedConnection>;
  /** Sums over the same. */
  splicedTotals(): Promise<SplicedTotals>;
  /** Replaces the settings; whether a SYN is taken changes in one step. Connections are not touched. */
  reconfigure(settings: DataPathSettings): void;
  /** How many connections may be taken from now on; at the limit SYNs pass (`pass-limit`). */
  setRoom(connections: number): void;
  /** Monotonic counters by reason code: every drop and every decision. */
  counters(): Record<string, number>;
  /** Facts for `status`: program and map ids, attached interfaces, kernel release, table fill. */
  kernelStatus(): Record<string, unknown>;
  /** Destinations whose path drops SYNs with a request. */
  blackHoles(): BlackHole[];
  /** Forgets one of them, or all; returns how many there were. */
  forgetBlackHoles(destination?: IpAddress): number;
  /** Nodes to which connections begin in UDP. */
  udpNodes(): UdpNode[];
  /** Sources whose connections begin in a return tunnel. */
  returnSources(): ReturnSource[];
  /** Detaches and removes everything this data path put into the kernel. Idempotent. */
  close(): void;
}
