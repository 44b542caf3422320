/** The eBPF data path's side of splicing: reads sockets, writes the table, lists and ages what is in it. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fromMapped, ip, sameIp, toMapped, type IpAddress } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import * as tcp from '../host/tcp.js';
import { passEveryProcessor } from '../host/processors.js';
import {
  TpotFlag,
  TpotSpliceFlag,
  TpotState,
  TpotFlowCodec,
  type TpotFlow,
  type TpotSplice,
} from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { testRun } from '../bpf/test-run.js';
import { TimestampReader } from '../bpf/timestamps.js';
import {
  handOverHolding,
  handOverIdle,
  type HandOverPort,
  type HandOverResult,
} from '../splice/hand-over.js';
import { joinLegs, type Joined, type LegState, type RelayedReason } from '../splice/join.js';
import { reverse, type FlowEnds, type Mapping } from '../splice/mapping.js';
import { seq } from '../wire/seq.js';
import { UDP_TUNNEL_OVERHEAD } from '../wire/udp-tunnel.js';
import type { SpliceConditions, SplicedConnection, SpliceOutcome } from './data-path.js';
import { descriptorOf } from './socket-descriptor.js';
import { tunnelOf, untilHeard } from './leg-tunnel.js';
import { holdEntry, kernelFlow, spliceEntry, type EntryFacts } from './splice-entry.js';

/** Bytes a leg may have on the way while it is to be handed over. */
const WINDOW = 64 * 1024;
const NO_CLAMP = 0x3fffffff;
/** How often an instant without anything queued is looked for, and from when on it is made. */
const POLL_MS = 2;
const WAIT_FOR_IDLE_MS = 60;
/** How long data may be held, and how often that is tried. A sender's first retransmission comes after 200 ms. */
const HOLD_MS = 150;
const HOLDS = 4;
const BETWEEN_HOLDS_MS = 700;
/** TSval is read a moment before it is used, and without its lowest bit. */
const TIMESTAMP_MARGIN = 2;

const clock = { monotonic: () => performance.now(), wait: (ms: number) => delay(ms) };

function flowFrom(socket: Socket): FlowEnds {
  const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = socket;
  return {
    source: ip(remoteAddress),
    sourcePort: remotePort,
    destination: ip(localAddress),
    destinationPort: localPort,
  };
}

interface Leg {
  readonly socket: Socket;
  readonly fd: number;
  readonly flow: FlowEnds;
}

function legOf(socket: Socket): Leg | undefined {
  const fd = descriptorOf(socket);
  return fd === undefined || socket.destroyed || !socket.remoteAddress
    ? undefined
    : { socket, fd, flow: flowFrom(socket) };
}

const isOver = ({ socket }: Leg): boolean =>
  socket.destroyed || socket.readableEnded || socket.writableEnded || descriptorOf(socket) === undefined;

const isQuiet = ({ socket, fd }: Leg): boolean =>
  socket.readableLength === 0 && socket.writableLength === 0 && tcp.queuesEmpty(fd);

export interface SplicerPorts {
  readonly programs: TpotPrograms;
  readonly timestamps: TimestampReader;
}

/** The client's tunnel. */
interface Outer {
  readonly source: IpAddress;
  readonly udp: boolean;
}

/** One connection on its way out of user space. */
class HandOver implements HandOverPort {
  readonly #ports: SplicerPorts;
  readonly #client: Leg;
  readonly #server: Leg;
  readonly #outer: Outer | undefined;
  readonly #leaving: () => void;
  readonly #conditions: SpliceConditions | undefined;

  constructor(
    ports: SplicerPorts,
    client: Leg,
    server: Leg,
    outer: Outer | undefined,
    leaving: () => void,
    conditions: SpliceConditions | undefined,
  ) {
    this.#ports = ports;
    this.#client = client;
    this.#server = server;
    this.#outer = outer;
    this.#leaving = leaving;
    this.#conditions = conditions;
  }

  over(): boolean {
    return isOver(this.#client) || isOver(this.#server) || this.#conditions?.over() === true;
  }

  idle(): boolean {
    return isQuiet(this.#client) && isQuiet(this.#server) && this.#conditions?.idle() !== false;
  }

  hold(): boolean {
    const { programs } = this.#ports;
    const { flags } = programs.config;
    if ((flags & TpotFlag.SPLICING) === 0) programs.configure({ flags: flags | TpotFlag.SPLICING });
    const now = process.hrtime.bigint();
    const table = programs.map('tpotSplices');
    try {
      table.set(kernelFlow(this.#client.flow), holdEntry(reverse(this.#server.flow), now));
      table.set(kernelFlow(this.#server.flow), holdEntry(reverse(this.#client.flow), now));
      return true;
    } catch {
      this.release(); // E2BIG
      return false;
    }
  }

  release(): void {
    const table = this.#ports.programs.map('tpotSplices');
    for (const { flow } of [this.#client, this.#server]) table.delete(kernelFlow(flow));
  }

  settle(): void {
    passEveryProcessor();
  }

  read(): Joined {
    const legs = [this.#client, this.#server];
    for (const { fd } of legs) tcp.beginRepair(fd);
    const [a, b] = legs.map((leg) => this.#stateOf(leg));
    const joined: Joined =
      a === undefined || b === undefined ? { ok: false, reason: 'relayed-closing' } : joinLegs(a, b);
    if (!joined.ok) for (const { fd } of legs) tcp.endRepair(fd);
    return joined;
  }

  join({ fromA, fromB }: Joined & { readonly ok: true }): void {
    const now = process.hrtime.bigint();
    const { socket } = this.#client;
    const enter = (flow: FlowEnds, mapping: Mapping, facts: Omit<EntryFacts, 'now' | 'startedAt'>): void =>
      this.#ports.programs
        .map('tpotSplices')
        .set(kernelFlow(flow), spliceEntry(mapping, { ...facts, now, startedAt: now }));
    enter(this.#client.flow, fromA, {
      outerSource: this.#outer?.source,
      udp: this.#outer?.udp === true,
      fromClient: true,
      bytes: BigInt(socket.bytesRead),
    });
    enter(this.#server.flow, fromB, {
      outerSource: undefined,
      udp: false,
      fromClient: false,
      bytes: BigInt(socket.bytesWritten),
    });
  }

  leave(): void {
    const legs = [this.#client, this.#server];
    const lost = legs.some(({ fd }) => !tcp.tcpInfo(fd).established);
    this.#leaving();
    if (lost) {
      forget(this.#ports.programs, kernelFlow(this.#client.flow));
      for (const { fd } of legs) tcp.endRepair(fd);
    }
    for (const { socket } of legs) {
      if (lost) socket.resetAndDestroy();
      else socket.destroy();
    }
  }

  #stateOf({ fd, flow }: Leg): LegState | undefined {
    const info = tcp.tcpInfo(fd);
    const { sendNext, receiveNext } = tcp.sequences(fd);
    if (!info.established) return undefined;
    const received = info.timestamps ? this.#ports.timestamps.lastReceived(flow) : undefined;
    if (info.timestamps && received === undefined) return undefined;
    return {
      flow,
      sendNext: seq(sendNext),
      receiveNext: seq(receiveNext),
      timestamps:
        received === undefined ? undefined : { sent: seq(tcp.timestampNow(fd) + TIMESTAMP_MARGIN), received },
      sack: info.sack,
      ecn: info.ecn,
      theirScale: info.theirScale,
      ourScale: info.ourScale,
      sendMss: info.sendMss,
      receiveMss:
        info.receiveMss -
        (this.#outer !== undefined && flow === this.#client.flow ? OVERHEAD[flow.source.family] : 0),
    };
  }
}

/** What the SYN-ACK with a reply took off the advertised MSS (tpot/mss.ts). */
const OVERHEAD = UDP_TUNNEL_OVERHEAD;

function forget(programs: TpotPrograms, flow: TpotFlow): void {
  const frame = new Uint8Array(64);
  TpotFlowCodec.write(new DataView(frame.buffer), flow);
  testRun(programs.programFd('tpot_forget'), frame);
}

/** Milliseconds an entry stays after its last packet. */
const KEEP = {
  /** Both FINs are acknowledged; what is left are retransmissions. */
  ended: 30_000,
  reset: 5_000,
  /** Nothing was heard: beyond keep-alives of two hours (RFC 5382 REQ-5 asks for 2 h 4 min at least). */
  idle: 24 * 3600_000,
} as const;
const SWEEP_CHUNK = 1000;
const NS_PER_MS = 1_000_000n;

function keepFor(flags: number, otherFlags: number): number {
  const { RESET, PEER_DONE } = TpotSpliceFlag;
  if (((flags | otherFlags) & RESET) !== 0) return KEEP.reset;
  return (flags & otherFlags & PEER_DONE) !== 0 ? KEEP.ended : KEEP.idle;
}

const reverseKernelFlow = (flow: TpotFlow): TpotFlow => ({
  source: flow.destination,
  destination: flow.source,
  sourcePort: flow.destinationPort,
  destinationPort: flow.sourcePort,
});

export class Splicer {
  readonly #ports: SplicerPorts;
  readonly #logger: Logger;
  #ended = { connections: 0, bytesIn: 0, bytesOut: 0 };

  constructor(programs: TpotPrograms, logger: Logger) {
    this.#ports = { programs, timestamps: new TimestampReader(logger) };
    this.#logger = logger;
  }

  /** Bytes of spliced connections that have ended while this process ran. */
  get ended(): Readonly<{ connections: number; bytesIn: number; bytesOut: number }> {
    return this.#ended;
  }

  async splice(
    client: Socket,
    server: Socket,
    leaving: () => void,
    conditions?: SpliceConditions,
  ): Promise<SpliceOutcome> {
    const [a, b] = [legOf(client), legOf(server)];
    if (a === undefined || b === undefined) return { spliced: false, reason: 'relayed-closing' };
    await untilHeard(
      b.fd,
      () => !isOver(b) && tunnelOf(this.#ports.programs, kernelFlow(reverse(b.flow))) !== undefined,
    );
    if (isOver(a) || isOver(b)) return { spliced: false, reason: 'relayed-closing' };
    const refused = this.#refusal(a, b);
    if (refused !== undefined) return { spliced: false, reason: refused };
    for (const { fd } of [a, b]) tcp.clampWindow(fd, WINDOW);
    const port = new HandOver(this.#ports, a, b, this.#outerOf(a), leaving, conditions);
    const result = await this.#handOver(port).catch((error: unknown): RelayedReason => {
      port.release();
      this.#logger.debug('hand-over-failed', { error: messageOf(error) });
      return 'relayed-closing'; // a socket that was closed between two steps
    });
    if (result === 'spliced') return { spliced: true };
    for (const leg of [a, b]) if (!isOver(leg)) tcp.clampWindow(leg.fd, NO_CLAMP);
    return { spliced: false, reason: result };
  }

  *list(): Generator<SplicedConnection> {
    const { programs } = this.#ports;
    const now = process.hrtime.bigint();
    for (const [flow, entry, other] of this.#connections()) {
      const tunnel = tunnelOf(programs, entry.out);
      yield {
        client: { address: fromMapped(flow.source), port: flow.sourcePort },
        destination: { address: fromMapped(flow.destination), port: flow.destinationPort },
        tunnelled: (entry.flags & TpotSpliceFlag.TUNNELLED) !== 0,
        udp: (entry.flags & TpotSpliceFlag.UDP) !== 0,
        nextHop: tunnel?.remote,
        nextHopUdp: tunnel?.udp === true,
        closing: ((entry.flags | other.flags) & (TpotSpliceFlag.PEER_FIN | TpotSpliceFlag.RESET)) !== 0,
        bytesIn: Number(entry.bytes),
        bytesOut: Number(other.bytes),
        packets: Number(entry.packets + other.packets),
        ageSeconds: Number((now - entry.startedNs) / (1000n * NS_PER_MS)),
      };
    }
  }

  /** Removes what is over. Yields to other work every thousand entries. */
  async sweep(): Promise<void> {
    const now = process.hrtime.bigint();
    const over: TpotFlow[] = [];
    let seen = 0;
    for (const [flow, entry, other] of this.#connections()) {
      const last = entry.seenNs > other.seenNs ? entry.seenNs : other.seenNs;
      if (now - last > BigInt(keepFor(entry.flags, other.flags)) * NS_PER_MS) {
        over.push(flow);
        this.#ended.connections++;
        this.#ended.bytesIn += Number(entry.bytes);
        this.#ended.bytesOut += Number(other.bytes);
      }
      if (++seen % SWEEP_CHUNK === 0) await delay(0);
    }
    for (const flow of over) forget(this.#ports.programs, flow);
  }

  /** Connections in the table, at this moment. */
  count(): number {
    return Array.from(this.#connections()).length;
  }

  /** After an earlier process: its hand-overs that were under way are void. Returns how many connections there are. */
  adopt(): number {
    const table = this.#ports.programs.map('tpotSplices');
    let connections = 0;
    for (const [flow, { flags }] of [...table.entries()]) {
      if ((flags & TpotSpliceFlag.HOLD) !== 0) table.delete(flow);
      else if ((flags & TpotSpliceFlag.FROM_CLIENT) !== 0) connections++;
    }
    return connections;
  }

  /** Whether a leg from this port would meet a spliced connection. */
  isSpliced(flow: FlowEnds): boolean {
    return this.#ports.programs.map('tpotSplices').get(kernelFlow(flow)) !== undefined;
  }

  close(): void {
    this.#ports.timestamps.close();
  }

  *#connections(): Generator<[TpotFlow, TpotSplice, TpotSplice]> {
    const table = this.#ports.programs.map('tpotSplices');
    for (const [flow, entry] of table.entries()) {
      if ((entry.flags & TpotSpliceFlag.FROM_CLIENT) === 0) continue;
      const other = table.get(reverseKernelFlow(entry.out));
      if (other !== undefined) yield [flow, entry, other];
    }
  }

  async #handOver(port: HandOverPort): Promise<HandOverResult> {
    for (let holds = 0; ; holds++) {
      const until = clock.monotonic() + (holds === 0 ? WAIT_FOR_IDLE_MS : BETWEEN_HOLDS_MS);
      for (let now = clock.monotonic(); now < until; now = clock.monotonic()) {
        const result = handOverIdle(port);
        if (result !== 'busy') return result;
        await clock.wait(POLL_MS);
      }
      if (holds === HOLDS) return 'relayed-busy';
      const result = await handOverHolding(port, HOLD_MS, clock);
      if (result !== 'busy') return result;
    }
  }

  /** What can be known without touching the sockets. */
  #refusal(client: Leg, server: Leg): RelayedReason | undefined {
    const own = this.#ports.programs.map('tpotOwn');
    const local = [client, server].some(
      ({ flow }) =>
        sameIp(flow.source, flow.destination) || own.get({ address: toMapped(flow.source) }) !== undefined,
    );
    if (local) return 'relayed-local';
    const outer = this.#outerOf(client);
    const tunnel = tunnelOf(this.#ports.programs, kernelFlow(reverse(server.flow)));
    if (outer !== undefined && tunnel !== undefined && outer.udp !== tunnel.udp) return 'relayed-tunnels';
    const timestamps = [client, server].map(({ fd }) => tcp.tcpInfo(fd).timestamps);
    if (timestamps.includes(true) && !this.#ports.timestamps.available) return 'relayed-unsupported';
    return forwards(client.flow.source.family) ? undefined : 'relayed-forwarding';
  }

  #outerOf({ flow }: Leg): Outer | undefined {
    const { programs } = this.#ports;
    const key = kernelFlow(flow);
    const taken = programs.map('tpotTaken').get(key) ?? programs.map('tpotTransient').get(key);
    if (taken?.state !== TpotState.TUNNELLED) return undefined;
    return { source: fromMapped(taken.outerSource), udp: taken.udp !== 0 };
  }
}

function forwards(family: 4 | 6): boolean {
  const path = family === 4 ? 'ipv4/ip_forward' : 'ipv6/conf/all/forwarding';
  try {
    return readFileSync(`/proc/sys/net/${path}`, 'utf8').trim() !== '0';
  } catch {
    return false;
  }
}
