/**
 * The eBPF data path: SYNs are taken, tunnels ended and options written in the kernel; this class loads and
 * configures the programs, owns the listeners, and reads what the kernel noted about each socket.
 *
 * ```
 *   SYN ─ tc ingress ─ policy? ─ listener on 127.0.0.1 / ::1 (bpf_sk_assign) ─ kernel TCP ─ accept ─▶ events.connection
 *                                        sockops: reply in the SYN-ACK
 *   connect(options) ─ socket storage {hops, capabilities} ─ connect(2) ─ sockops: request in the SYN
 * ```
 */
import { release } from 'node:os';
import { createServer, Socket, type Server } from 'node:net';
import { type Family, formatIp, type IpAddress, fromMapped, toMapped } from '../core/address.js';
import { messageOf, TpotError } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import * as libc from '../host/libc.js';
import { sharePort, tuneForRelay } from '../host/tcp.js';
import { InterfaceSet } from '../bpf/interfaces.js';
import type { Attachment } from '../bpf/attach.js';
import { maps, TpotFlag, TpotOrigin, TpotReason, type TpotSocket } from '../bpf/generated/maps.js';
import type { TypedMap } from '../bpf/map.js';
import { ipv4Number, type TpotPrograms } from '../bpf/programs.js';
import { keyHalves } from '../tpot/key.js';
import { CAPABILITY } from '../tpot/option.js';
import { descriptorOf } from './socket-descriptor.js';
import { bindClient, bindFreePort } from './leg-port.js';
import { kernelFlow } from './splice-entry.js';
import { legOf } from './hand-over.js';
import { tunnelOf } from './leg-tunnel.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import { holdUdpPort } from './udp-port.js';
import { bypassPrefixes, kernelRow } from './kernel-policy.js';
import { SpliceTable } from './splice-table.js';
import { Splicer } from './splicer.js';
import { openTaps, TAP_RING, type Taps } from './taps.js';
import { DeliveryRoutes, loadAdopting, NodeCgroup, removePins, warnAboutHost } from './data-path-host.js';
import type {
  BlackHole,
  DataPath,
  DataPathEvents,
  DataPathOptions,
  DataPathSettings,
  LegInfo,
  LegOptions,
  Some,
  SplicedConnection,
  SplicedTotals,
  SpliceConditions,
  SpliceOutcome,
  TakenInfo,
  ReturnSource,
  UdpNode,
} from './data-path.js';

const BACKLOG = 4096;
const SWEEP_MS = 2000;
const SOL_IP = 0;
const IP_TRANSPARENT = 19;
const SOL_IPV6 = 41;
const IPV6_TRANSPARENT = 75;
const IPV6_V6ONLY = 26;
const LOOPBACK: Record<Family, Uint8Array> = {
  4: Uint8Array.of(127, 0, 0, 1),
  6: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
};
const NO_ADDRESS = new Uint8Array(16);

/** What `conns` says of a leg, by what the kernel noted. */
export const LEG_REASONS: Readonly<Record<number, string>> = {
  [TpotReason.NONE]: 'plain-no-request',
  [TpotReason.REPLY_ACCEPTED]: 'tunnelled',
  [TpotReason.REPLY_NONE]: 'plain-no-reply',
  [TpotReason.TABLE_FULL]: 'plain-limit',
  [TpotReason.REQUEST_OMITTED_LIMIT]: 'plain-limit',
  [TpotReason.REQUEST_OMITTED_LOCAL]: 'plain-local',
  [TpotReason.REQUEST_OMITTED_BLACK_HOLE]: 'plain-black-hole',
  [TpotReason.REQUEST_OMITTED_RETRIES]: 'plain-retries',
  [TpotReason.REQUEST_OMITTED_UNTRUSTED]: 'plain-untrusted',
  [TpotReason.REQUEST_OMITTED_KEYED]: 'plain-keyed',
  [TpotReason.REQUEST_NO_SPACE]: 'plain-no-space',
  [TpotReason.TUNNEL_BLOCKED]: 'plain-tunnel-blocked',
};

const ORIGINS: Readonly<Record<number, TakenInfo['via']>> = {
  [TpotOrigin.TUNNEL]: 'tunnel',
  [TpotOrigin.EDGE]: 'edge',
  [TpotOrigin.STRIPPED]: 'reply-stripped',
};

/** Of an instant on CLOCK_MONOTONIC, which is that of bpf_ktime_get_ns. */
function secondsUntil(instant: bigint): number {
  return Number((instant - process.hrtime.bigint()) / 1_000_000_000n);
}

/** A listening descriptor on the loopback address that may own connections to any destination. */
export function openListener(family: Family): number {
  const fd = libc.tcpSocket(family === 4 ? libc.AF_INET : libc.AF_INET6);
  try {
    if (family === 4) {
      libc.setSocketOption(fd, SOL_IP, IP_TRANSPARENT, 1);
    } else {
      libc.setSocketOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
      libc.setSocketOption(fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
    }
    tuneForRelay(fd); // inherited by what is accepted
    // So is this. With no descriptor left, libuv accepts and closes at once: a FIN would pass for an empty answer.
    libc.resetOnClose(fd);
    libc.bind(fd, LOOPBACK[family], 0);
    sharePort(fd); // and this; not before, for the port itself is to be nobody else's
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Two entries a spliced connection, one of them with a tunnel; each may be of another client. */
function tableSizes({
  maxSplices,
  taps,
}: Pick<DataPathOptions, 'maxSplices' | 'taps'>): Record<string, number> {
  const { tpotClients, tpotSplices, tpotTaken, tpotTaps, tpotTunnels } = maps;
  return {
    [tpotSplices.name]: 2 * maxSplices,
    [tpotTunnels.name]: Math.max(tpotTunnels.maxEntries, maxSplices),
    [tpotClients.name]: tpotTaken.maxEntries + maxSplices,
    ...(taps === true ? { [tpotTaps.name]: TAP_RING } : {}),
  };
}

export class EbpfDataPath implements DataPath {
  readonly kind = 'ebpf';
  readonly #options: DataPathOptions;
  readonly #logger: Logger;
  readonly #programs: TpotPrograms;
  readonly #sockets: TypedMap<number, TpotSocket>;
  readonly #cgroup: NodeCgroup;
  readonly #routes: DeliveryRoutes;
  readonly #servers: Server[] = [];
  readonly #splicer: Splicer;
  readonly #splices: SpliceTable;
  readonly #taps: Taps | undefined;
  readonly #adopted: number;
  #sweeps: NodeJS.Timeout | undefined;
  #udpPort = 0;
  #udpHeld: readonly number[] = [];
  #sockops: Attachment | undefined;
  #interfaces: InterfaceSet | undefined;
  #unknownAccepted = 0;
  #closed = false;

  /** Loads the programs; errors as {@link BpfObject.load}. Nothing is attached before {@link start}. */
  constructor(options: DataPathOptions, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
    this.#programs = loadAdopting(options.name, logger, tableSizes(options));
    this.#sockets = this.#programs.map('tpotSockets');
    this.#taps = options.taps === true ? openTaps(this.#programs, logger) : undefined;
    this.#splicer = new Splicer(this.#programs, logger, this.#taps);
    this.#splices = new SpliceTable(this.#programs, options.spliceIdleMs);
    this.#adopted = this.#splices.adopt();
    this.#cgroup = new NodeCgroup(options.name);
    this.#routes = new DeliveryRoutes(options.name, this.#families());
  }

  async start(events: DataPathEvents): Promise<void> {
    try {
      this.#holdUdpPort();
      this.#configure();
      this.#sweeps = setInterval(() => void this.#splices.sweep(), SWEEP_MS).unref();
      this.#cgroup.enter();
      this.#sockops = this.#programs.attachCgroup(this.#cgroup.path);
      this.#routes.install();
      const ports = await this.#listen(events);
      const announced = this.#families().flatMap((family) => this.#options.addresses[family] ?? []);
      this.#interfaces = new InterfaceSet(this.#programs, this.#options.interfaces, announced, this.#logger);
      this.#requireInterfaces();
      warnAboutHost(this.#interfaces.names(), this.#logger);
      this.#programs.configure({ listenerPort4: ports[4] ?? 0, listenerPort6: ports[6] ?? 0 });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  drain(): void {
    this.#programs.configure({ flags: this.#programs.config.flags | TpotFlag.DRAINING });
  }

  connect(options: LegOptions): Socket {
    const fd = libc.tcpSocket(options.address.family === 4 ? libc.AF_INET : libc.AF_INET6);
    try {
      this.#prepareLeg(fd, options);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    // `manualStart` keeps Node from reading before the socket is connected; net.Socket has it, its types do not.
    const settings: { fd: number; manualStart: boolean; allowHalfOpen: boolean } = {
      fd,
      manualStart: true,
      allowHalfOpen: true,
    };
    return new Socket(settings).connect({ host: formatIp(options.address), port: options.port });
  }

  #prepareLeg(fd: number, options: LegOptions): void {
    tuneForRelay(fd);
    this.#bindLeg(fd, options);
    if (options.hops > 0) {
      this.#sockets.set(fd, {
        nextHop: NO_ADDRESS,
        legReason: TpotReason.NONE,
        origin: TpotOrigin.NONE,
        requestCapabilities: options.capabilities | this.#returnBit,
        replyCapabilities: 0,
        requestHops: options.hops,
        syns: 0,
        requests: 0,
        udp: 0,
      });
    }
  }

  setCapabilities(bits: number): void {
    this.#programs.configure({ capabilities: CAPABILITY.trace | this.#returnBit | bits });
  }

  legInfo(socket: Socket): LegInfo {
    const fd = descriptorOf(socket);
    const noted = fd === undefined ? undefined : this.#sockets.get(fd);
    if (noted === undefined) return { nextHop: undefined, reason: 'plain-no-request' };
    const pinned = noted.nextHop.some((byte) => byte !== 0);
    const nextHop = pinned ? fromMapped(noted.nextHop) : undefined;
    const capabilities = noted.replyCapabilities & noted.requestCapabilities;
    if (pinned && noted.udp !== 0) return { nextHop, reason: 'tunnelled-udp', capabilities };
    return { nextHop, reason: LEG_REASONS[noted.legReason] ?? 'plain-no-reply', capabilities };
  }

  splice(
    client: Socket,
    server: Socket,
    leaving: () => void,
    conditions?: SpliceConditions,
  ): Promise<SpliceOutcome> {
    return this.#splicer.splice(client, server, leaving, conditions);
  }

  spliced(): Some<SplicedConnection> {
    return this.#splices.list();
  }

  splicedTotals(): Promise<SplicedTotals> {
    return this.#splices.totals();
  }

  reconfigure(settings: DataPathSettings): void {
    const {
      policy,
      bypass,
      trust,
      keys = [],
      requireKey = false,
      edge,
      clientLegs,
      maxConnections,
      maxPerClient = 0,
    } = settings;
    const { EDGE, CLIENT_LEGS, REQUIRE_KEY } = TpotFlag;
    // Legs that have their clients' addresses outlive the setting.
    const kept = this.#programs.config.flags & ~(EDGE | REQUIRE_KEY);
    const flags = kept | (edge ? EDGE : 0) | (clientLegs ? CLIENT_LEGS : 0) | (requireKey ? REQUIRE_KEY : 0);
    const rules = {
      rows: policy.map(kernelRow),
      bypass: bypassPrefixes(bypass),
      keys: keys.map(keyHalves),
      trust,
    };
    this.#programs.reconfigure(rules, { flags, maxConnections, maxPerClient });
  }

  setRoom(connections: number): void {
    this.#programs.configure({ maxConnections: connections });
  }

  counters(): Record<string, number> {
    const counters = this.#programs.counters();
    if (this.#unknownAccepted > 0) counters['drop-accept-unknown'] = this.#unknownAccepted;
    if (this.#splicer.heldSent > 0) counters['splice-held-sent'] = this.#splicer.heldSent;
    return { ...counters, ...this.#taps?.counters() };
  }

  kernelStatus(): Record<string, unknown> {
    const gauges = this.#programs.map('tpotGauges').get(0);
    return {
      release: release(),
      interfaces: this.#interfaces?.names() ?? [],
      cgroup: this.#cgroup.path,
      taken: Number(gauges?.taken ?? 0n),
      tunnels: Number(gauges?.tunnels ?? 0n),
      udpPort: this.#udpPort === 0 ? 'none' : this.#udpPort,
    };
  }

  blackHoles(): BlackHole[] {
    return this.#programs.blackHoles();
  }

  udpNodes(): UdpNode[] {
    return this.#remembered('tpotUdpNodes').map(({ address, secondsLeft }) => ({
      node: address,
      secondsLeft,
    }));
  }

  returnSources(): ReturnSource[] {
    return this.#remembered('tpotReturnSources').map(({ address, secondsLeft }) => ({
      source: address,
      secondsLeft,
    }));
  }

  #remembered(table: 'tpotUdpNodes' | 'tpotReturnSources'): { address: IpAddress; secondsLeft: number }[] {
    return [...this.#programs.map(table).entries()].flatMap(([key, { untilNs }]) => {
      const secondsLeft = secondsUntil(untilNs);
      return secondsLeft > 0 ? [{ address: fromMapped(key.address), secondsLeft }] : [];
    });
  }

  forgetBlackHoles(destination?: IpAddress): number {
    const table = this.#programs.map('tpotBlackHoles');
    const keys = destination === undefined ? [...table.keys()] : [{ address: toMapped(destination) }];
    return keys.filter((key) => table.delete(key)).length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Not awaited: a server's close waits for its connections, and those that are left end with the process.
    for (const server of this.#servers) server.close();
    clearInterval(this.#sweeps);
    // Spliced connections go on without this process: programs and tables stay where the next one finds them.
    const staying = !this.#splices.isEmpty();
    this.#splices.close();
    if (staying) this.#programs.configure({ listenerPort4: 0, listenerPort6: 0 });
    this.#interfaces?.close({ leaveAttached: staying });
    this.#sockops?.detach();
    this.#routes.remove();
    this.#cgroup.leave();
    this.#splicer.close();
    this.#programs.close();
    if (!staying) removePins(this.#options.name);
    for (const fd of this.#udpHeld) libc.close(fd);
  }

  /** The default port may be taken by another program: then none is offered. */
  #holdUdpPort(): void {
    const { udp, addresses } = this.#options;
    if (udp === undefined) return;
    try {
      this.#udpHeld = holdUdpPort(addresses, udp.port);
      this.#udpPort = udp.port;
    } catch (error) {
      if (udp.required || !(error instanceof TpotError)) throw error;
      this.#logger.warn('udp-encapsulation-off', { error: error.message, hint: error.hint });
    }
  }

  #bindLeg(fd: number, options: LegOptions): void {
    const spliced = (flow: FlowEnds): boolean => this.#splicer.isSpliced(flow);
    if (options.from !== undefined) {
      // Not only spliced ones: a socket in TIME_WAIT does not hinder bind(2), but connect(2).
      bindClient(
        fd,
        options.from,
        options,
        (flow) => spliced(flow) || this.#programs.hasSocket(kernelFlow(flow)),
      );
    } else if ((this.#programs.config.flags & TpotFlag.SPLICING) !== 0) bindFreePort(fd, options, spliced);
  }

  #families(): Family[] {
    return ([4, 6] as const).filter((family) => this.#options.addresses[family] !== undefined);
  }

  #configure(): void {
    const { addresses } = this.#options;
    const ipv4 = addresses[4];
    this.#programs.configure({
      // In the first store already: between two, packets of adopted connections would go astray.
      flags: TpotFlag.NODE | (this.#adopted > 0 ? TpotFlag.SPLICING : 0),
      address4: ipv4 === undefined ? 0 : ipv4Number(ipv4),
      address6: addresses[6]?.bytes ?? NO_ADDRESS,
      maxTunnels: tableSizes(this.#options)[maps.tpotTunnels.name] ?? maps.tpotTunnels.maxEntries,
      udpPort: this.#udpPort,
      capabilities: CAPABILITY.trace | this.#returnBit | (this.#options.capabilities ?? 0),
    });
    this.reconfigure(this.#options);
  }

  /** Listeners are made inside the cgroup, so that the kernel lets them write replies. */
  async #listen(events: DataPathEvents): Promise<Partial<Record<Family, number>>> {
    const ports: Partial<Record<Family, number>> = {};
    for (const family of this.#families()) {
      const fd = openListener(family);
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
      server.on('connection', (socket) => this.#accepted(socket, events));
      server.on('error', (error) => this.#logger.error('listener-failed', { error: messageOf(error) }));
      await new Promise<void>((resolve) => server.listen({ fd, backlog: BACKLOG }, resolve));
      this.#servers.push(server);
      ports[family] = libc.localPort(fd);
    }
    return ports;
  }

  #accepted(socket: Socket, events: DataPathEvents): void {
    const fd = descriptorOf(socket);
    const noted = fd === undefined ? undefined : this.#sockets.get(fd);
    const via = noted === undefined ? undefined : ORIGINS[noted.origin];
    if (noted === undefined || via === undefined) {
      // A local process connected to the listener itself, or the connection was reset before it was accepted.
      this.#unknownAccepted++;
      socket.destroy();
      return;
    }
    if (fd !== undefined) libc.finishOnClose(fd);
    events.connection(socket, {
      via,
      hops: via === 'edge' ? undefined : noted.requestHops,
      capabilities: noted.requestCapabilities,
      udp: noted.udp !== 0,
      ...(via === 'tunnel' ? { returned: () => this.#isReturned(socket) } : {}),
    });
  }

  get #returnBit(): number {
    return this.#options.returnTunnel === false ? 0 : CAPABILITY.returnTunnel;
  }

  #isReturned(socket: Socket): boolean {
    const leg = legOf(socket);
    return leg !== undefined && tunnelOf(this.#programs, kernelFlow(reverse(leg.flow))) !== undefined;
  }

  #requireInterfaces(): void {
    const attached = this.#interfaces?.names() ?? [];
    const missing = (this.#options.interfaces ?? []).filter((name) => !attached.includes(name));
    if (missing.length === 0) return;
    throw new TpotError('interface-missing', `no interface ${missing.join(', ')} in this network namespace`, {
      hint: '`ip link` lists them; leave `interfaces` out to use every one.',
    });
  }
}
