/**
 * A node: takes connections, decides what each one is, opens the next legs.
 *
 * The life of a connection:
 *
 * ```
 *  kernel (data path)                               this process, per connection
 *  1 SYN with a request ─ policy says take ─▶ listener; otherwise it travels on untouched
 *  2 the kernel's TCP answers; the SYN-ACK carries our reply, so the source tunnels to us from now on
 *  3 tunnelled segments are decapsulated ─────────▶ accept(): local address = the original destination
 *                                                   4 the rule says relay or splice: 5 at once
 *                                                     the rule says cache, or asks for a server name: sniff the
 *                                                     first bytes (sniff.ts), then the first rule that still holds
 *                                                       cache, HTTP ─▶ serve from the cache (http/), 5 on a miss
 *                                                       else ─▶ 5
 *  5 SYN of the next leg, with a request of its own ◀── connect() to the destination with one hop less
 *    a reply pins the leg to the next node's tunnel; without one it is plain TCP
 *                                                   6 relay both ways until both ends are done (relay.ts)
 * ```
 *
 * What the kernel does belongs to the data path; nothing here knows which one it is.
 */
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { formatIp, ip, type IpAddress } from '../core/address.js';
import type { ContentReport } from '../content/service.js';
import type { Clock } from '../core/clock.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { candidateRules, flattenRules } from '../tpot/policy.js';
import { addressList } from './config-explain.js';
import type { NodeConfig } from './config.js';
import {
  ConnectionTable,
  formatEndpoint,
  type Connection,
  type ConnectionRow,
  type ConnectionTotals,
  type Endpoint,
} from './connections.js';
import type { DataPath, DataPathOptions, DataPathSettings, TakenInfo } from './data-path.js';
import { reset } from './relay.js';
import { Transforms, type TransformReport } from './transforms.js';
import { runSession, type HttpServer } from './session.js';

export type NodeState = 'starting' | 'running' | 'draining' | 'stopped';

/** What `status --json` prints. */
export interface NodeStatus {
  readonly name: string;
  /** The first of `addresses`. */
  readonly address: string;
  readonly addresses: readonly string[];
  readonly state: NodeState;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly connections: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly cache: Readonly<Record<string, unknown>>;
  readonly kernel: Readonly<Record<string, unknown>>;
  /** What next legs ask for just now, and whether this process is too busy for more. */
  readonly transforms: Transforms['status'];
  /** Destinations whose path drops SYNs with a request: for so long they get plain ones. */
  readonly blackHoles: readonly { readonly destination: string; readonly secondsLeft: number }[];
  /** Nodes to which connections begin in UDP for so long, because IP in IP did not pass. */
  readonly udpNodes: readonly { readonly node: string; readonly secondsLeft: number }[];
  readonly returnSources: readonly { readonly source: string; readonly secondsLeft: number }[];
}

/** What `stats --json` prints. */
export interface NodeStats {
  readonly connections: ConnectionTotals;
  readonly counters: Readonly<Record<string, number>>;
  readonly cache: Readonly<Record<string, unknown>>;
  readonly transforms: TransformReport;
  /** What pipelines have done to responses; undefined where the node has none. */
  readonly content: ContentReport | undefined;
}

/** The HTTP side with what the node needs beyond single connections. */
export interface HttpSide extends HttpServer {
  /** From now on, connections end after the response under way. */
  drain(): void;
  /** Numbers for `status`: entries, bytes, hits, misses. */
  status(): Record<string, unknown>;
  /** What content transforms have done; undefined where there are none. */
  content(): ContentReport | undefined;
  /** The configuration has been read again: commands and modules of pipelines may be others. */
  renewContent(): void;
  close(): void;
}

export interface NodePorts {
  /** How many of so many connections there is room for now. */
  readonly room: (connections: number) => number;
  readonly createDataPath: (options: DataPathOptions) => DataPath;
  readonly http: HttpSide;
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * A handshake answered just before the drain is no connection yet: its ACK needs up to a round trip. Nothing new may
 * have come for this long before the node counts as idle.
 */
const SETTLE_MS = 250;
/** Sessions whose sockets are closed end within a turn or two of the event loop; no end of ours may hang on them. */
const ABORT_MS = 2000;

function settingsOf(config: NodeConfig): DataPathSettings {
  const { rules, bypass, trust, keys, requireKey, edge, source, maxConnections, maxPerClient } = config;
  const policy = { policy: flattenRules(rules), bypass, trust, keys, requireKey, edge };
  return { ...policy, clientLegs: source === 'client', maxConnections, maxPerClient };
}

/** How often the room is looked at; and how long nothing is taken after descriptors ran out. */
const ROOM_MS = 1000;

/** How a connection of this process to itself is accounted for. */
const OWN: TakenInfo = { via: 'edge', hops: undefined, capabilities: 0 };

/** For a connection whose client is this process: it has nobody else to be joined with. */
function withoutSplices(dataPath: DataPath): Pick<DataPath, 'connect' | 'legInfo' | 'splice'> {
  return {
    connect: (options) => dataPath.connect(options),
    legInfo: (socket) => dataPath.legInfo(socket),
    splice: () => Promise.resolve({ spliced: false, reason: 'relayed-unsupported' }),
  };
}

export class TpotNode {
  #config: NodeConfig;
  readonly #ports: NodePorts;
  readonly #table: ConnectionTable;
  readonly #startedAt: number;
  readonly #counters: Record<string, number> = {};
  #dataPath: DataPath | undefined;
  readonly #transforms: Transforms;
  #room = 0;
  #busy = performance.eventLoopUtilization();
  #roomTimer: NodeJS.Timeout | undefined;
  #state: NodeState = 'starting';
  #starting: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  readonly #impatient: Promise<'timeout'>;
  #hurry: () => void = () => undefined;

  constructor(config: NodeConfig, ports: NodePorts) {
    this.#config = config;
    this.#ports = ports;
    this.#table = new ConnectionTable(ports.clock);
    this.#startedAt = ports.clock.monotonic();
    this.#transforms = new Transforms(config.transforms, (bits) => this.#dataPath?.setCapabilities(bits));
    this.#impatient = new Promise((resolve) => {
      this.#hurry = () => resolve('timeout');
    });
  }

  get config(): NodeConfig {
    return this.#config;
  }

  /**
   * Goes on with another configuration that differs only in what can change at run time (config-diff.ts). Connections
   * that there are stay as they were begun.
   */
  reconfigure(config: NodeConfig): void {
    this.#room = this.#ports.room(config.maxConnections);
    this.#dataPath?.reconfigure({ ...settingsOf(config), maxConnections: this.#room });
    this.#ports.http.renewContent();
    this.#config = config;
  }

  /** Forgets that the path to a destination, or to any, drops SYNs with a request; returns how many were known. */
  forgetBlackHoles(destination?: IpAddress): number {
    return this.#dataPath?.forgetBlackHoles(destination) ?? 0;
  }

  /** Begins to take connections; resolves once a SYN that arrives would be taken. */
  start(): Promise<void> {
    this.#starting = this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const { name, addresses, interfaces, udp, returnTunnel, maxSplices, spliceIdleMs } = this.config;
    const limits = { maxSplices, spliceIdleMs, taps: this.config.tapAbove > 0 };
    this.#room = this.#ports.room(this.config.maxConnections);
    this.#dataPath = this.#ports.createDataPath({
      name,
      addresses,
      interfaces,
      ...limits,
      udp,
      returnTunnel,
      capabilities: this.#transforms.bits,
      ...settingsOf(this.config),
      maxConnections: this.#room,
    });
    await this.#dataPath.start({ connection: (socket, info) => this.#accepted(socket, info) });
    this.#roomTimer = setInterval(() => this.#look(), ROOM_MS).unref();
    if (this.#state === 'starting') this.#state = 'running';
  }

  #look(): void {
    const now = performance.eventLoopUtilization();
    this.#transforms.look(performance.eventLoopUtilization(now, this.#busy).utilization);
    this.#busy = now;
    this.#setRoom(this.#ports.room(this.config.maxConnections));
  }

  #setRoom(connections: number): void {
    if (connections === this.#room) return;
    this.#room = connections;
    this.#dataPath?.setRoom(connections);
  }

  /** No file can be opened any more: nothing is taken until the next look, so that SYNs pass by instead. */
  #noDescriptors(): void {
    if (this.#room === 0) return;
    this.#ports.logger.warn('no-descriptors', {
      connections: this.#table.size,
      effect: 'nothing is taken for a second',
    });
    this.#setRoom(0);
  }

  /**
   * Takes nothing new, waits until the connections have ended or `drainTimeout` is over, resets what is left, and
   * removes everything from the kernel. Every call returns the same promise.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** As {@link stop}, without waiting for connections; a stop under way then ends too. */
  stopNow(): Promise<void> {
    this.#hurry();
    return this.stop();
  }

  status(): NodeStatus {
    const addresses = addressList(this.config);
    const dataPath = this.#dataPath;
    return {
      name: this.config.name,
      address: addresses[0] ?? '',
      addresses,
      state: this.#state,
      pid: process.pid,
      uptimeSeconds: Math.floor((this.#ports.clock.monotonic() - this.#startedAt) / 1000),
      connections: this.#table.size,
      counters: this.#allCounters(),
      cache: this.#ports.http.status(),
      kernel: dataPath === undefined ? {} : { dataPath: dataPath.kind, ...dataPath.kernelStatus() },
      transforms: this.#transforms.status,
      blackHoles: (dataPath?.blackHoles() ?? []).map(({ destination, secondsLeft }) => ({
        destination: formatIp(destination),
        secondsLeft,
      })),
      udpNodes: (dataPath?.udpNodes() ?? []).map(({ node, secondsLeft }) => ({
        node: formatIp(node),
        secondsLeft,
      })),
      returnSources: (dataPath?.returnSources() ?? []).map(({ source, secondsLeft }) => ({
        source: formatIp(source),
        secondsLeft,
      })),
    };
  }

  /** Some at a time: there may be hundreds of thousands. */
  conns(): AsyncIterable<readonly ConnectionRow[]> {
    return this.#table.allRows(this.#dataPath?.spliced() ?? []);
  }

  async stats(): Promise<NodeStats> {
    return {
      connections: await this.#totals(),
      counters: this.#allCounters(),
      cache: this.#ports.http.status(),
      transforms: this.#transforms.report(),
      content: this.#ports.http.content(),
    };
  }

  /** The table's sums, and what spliced connections have carried. One that leaves meanwhile counts once. */
  async #totals(): Promise<ConnectionTotals> {
    const table = this.#table.totals();
    const spliced = await this.#dataPath?.splicedTotals();
    return {
      ...table,
      open: table.open + (spliced?.connections ?? 0),
      bytesIn: table.bytesIn + (spliced?.bytesIn ?? 0),
      bytesOut: table.bytesOut + (spliced?.bytesOut ?? 0),
    };
  }

  #allCounters(): Record<string, number> {
    return { ...this.#dataPath?.counters(), ...this.#counters };
  }

  #count(code: string): void {
    this.#counters[code] = (this.#counters[code] ?? 0) + 1;
  }

  #accepted(socket: Socket, info: TakenInfo): void {
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    if (!remoteAddress || !remotePort || !localAddress || !localPort) {
      // The client reset the connection before it was accepted: there is nobody to serve.
      this.#count('accept-lost');
      socket.destroy();
      return;
    }
    this.#count('accepted');
    const client: Endpoint = { address: ip(remoteAddress), port: remotePort };
    const destination: Endpoint = { address: ip(localAddress), port: localPort };
    void this.#run(this.#table.open(socket, client, destination, info));
  }

  /** Serves a socket of this process's own as a client's connection to `destination`, at an edge. */
  serve(socket: Socket, destination: Endpoint): void {
    const { remoteAddress = '', remotePort = 0 } = socket;
    const client: Endpoint = { address: ip(remoteAddress), port: remotePort };
    void this.#run(this.#table.open(socket, client, destination, OWN), true);
  }

  async #run(connection: Connection, own = false): Promise<void> {
    const { client, destination, socket } = connection;
    const subject = {
      source: client.address,
      destination: destination.address,
      destinationPort: destination.port,
    };
    const candidates = candidateRules(this.config.rules, subject);
    try {
      const dataPath = own ? withoutSplices(this.#requireDataPath()) : this.#requireDataPath();
      const { hops } = this.config;
      const source = own ? 'node' : this.config.source;
      const noDescriptors = (): void => this.#noDescriptors();
      const transforms = this.#transforms;
      const ports = { dataPath, http: this.#ports.http, hops, source, noDescriptors, transforms };
      await runSession(connection, candidates, ports);
    } catch (error) {
      this.#count('session-failed');
      this.#ports.logger.error('session-failed', {
        client: formatEndpoint(client),
        destination: formatEndpoint(destination),
        error: messageOf(error),
      });
      reset(socket);
    } finally {
      this.#table.close(connection);
    }
  }

  #requireDataPath(): DataPath {
    if (this.#dataPath === undefined) throw new Error('a connection came before the data path was there');
    return this.#dataPath;
  }

  async #stop(): Promise<void> {
    const { logger, http } = this.#ports;
    this.#state = 'draining';
    await this.#starting.catch(() => undefined); // whoever called start() has the error
    logger.info('draining', { connections: this.#table.size, timeoutMs: this.config.drainTimeoutMs });
    this.#dataPath?.drain();
    http.drain();
    const timeout = delay(this.config.drainTimeoutMs, 'timeout' as const, { ref: false });
    while ((await Promise.race([this.#settled(), timeout, this.#impatient])) === 'busy');
    if (this.#table.size > 0) {
      logger.warn('connections-reset', { connections: this.#table.size });
      for (const connection of this.#table.live()) reset(connection.socket);
      await Promise.race([this.#table.idle(), delay(ABORT_MS, undefined, { ref: false })]);
    }
    http.close();
    clearInterval(this.#roomTimer);
    this.#transforms.close();
    this.#dataPath?.close();
    this.#state = 'stopped';
    logger.info('stopped');
  }

  /** Waits until there is no connection, and a little longer for one that is just being made. */
  async #settled(): Promise<'idle' | 'busy'> {
    await this.#table.idle();
    await delay(SETTLE_MS);
    return this.#table.size === 0 ? 'idle' : 'busy';
  }
}
