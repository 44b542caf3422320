/** One connection on its way out of user space: the steps of splice/hand-over.ts on real sockets and tables. */
import type { Socket } from 'node:net';
import { ip, type IpAddress } from '../core/address.js';
import * as tcp from '../host/tcp.js';
import { passEveryProcessor } from '../host/processors.js';
import { TpotFlag, TpotFlowCodec, type TpotFlow } from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { testRun } from '../bpf/test-run.js';
import type { TimestampReader } from '../bpf/timestamps.js';
import type { HandOverPort } from '../splice/hand-over.js';
import { joinLegs, type Joined, type LegState } from '../splice/join.js';
import { reverse, type FlowEnds, type Mapping } from '../splice/mapping.js';
import { seq } from '../wire/seq.js';
import type { SpliceConditions } from './data-path.js';
import type { HeldSegments } from './held-segments.js';
import { descriptorOf } from './socket-descriptor.js';
import { holdEntry, kernelFlow, spliceEntry, type EntryFacts } from './splice-entry.js';
import type { Tap, Taps } from './taps.js';

/** TSval is read a moment before it is used, and without its lowest bit. */
const TIMESTAMP_MARGIN = 2;

function flowFrom(socket: Socket): FlowEnds {
  const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = socket;
  return {
    source: ip(remoteAddress),
    sourcePort: remotePort,
    destination: ip(localAddress),
    destinationPort: localPort,
  };
}

export interface Leg {
  readonly socket: Socket;
  readonly fd: number;
  readonly flow: FlowEnds;
}

export function legOf(socket: Socket): Leg | undefined {
  const fd = descriptorOf(socket);
  return fd === undefined || socket.destroyed || !socket.remoteAddress
    ? undefined
    : { socket, fd, flow: flowFrom(socket) };
}

export const isOver = ({ socket }: Leg): boolean =>
  socket.destroyed || socket.readableEnded || socket.writableEnded || descriptorOf(socket) === undefined;

const isQuiet = ({ socket, fd }: Leg): boolean =>
  socket.readableLength === 0 && socket.writableLength === 0 && tcp.queuesEmpty(fd);

export interface SplicerPorts {
  readonly programs: TpotPrograms;
  readonly timestamps: TimestampReader;
  readonly held: HeldSegments;
  /** Undefined: no copies are made. */
  readonly taps: Taps | undefined;
}

/** The client's tunnel. */
export interface Outer {
  readonly source: IpAddress;
  readonly udp: boolean;
  /** It takes return tunnels. */
  readonly returns: boolean;
}

/** One connection on its way out of user space. */
export class HandOver implements HandOverPort {
  readonly #ports: SplicerPorts;
  readonly #client: Leg;
  readonly #server: Leg;
  readonly #outer: Outer | undefined;
  readonly #leaving: () => void;
  readonly #conditions: SpliceConditions | undefined;
  #joined: (Joined & { readonly ok: true }) | undefined;
  #tap: Tap | undefined;
  #repairing = false;
  #left = false;

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
    for (const { flow } of [this.#client, this.#server]) this.#ports.held.begin(flow);
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
    const legs = [this.#client, this.#server];
    for (const { flow } of legs) table.delete(kernelFlow(flow));
    for (const { flow } of legs) this.#ports.held.deliver(flow);
  }

  /**
   * After a step that has thrown: unless it had left them, the connection goes on in its sockets, which no step may leave in
   * repair: what is written to such a one is never sent, and its peer never hears of its end. Whether it had left them.
   */
  undo(): boolean {
    if (this.#left) return true;
    for (const leg of [this.#client, this.#server])
      if (this.#repairing && !isOver(leg)) tcp.endRepair(leg.fd);
    this.#tap?.cancel();
    this.release();
    return false;
  }

  settle(): void {
    passEveryProcessor();
  }

  read(): Joined {
    const legs = [this.#client, this.#server];
    this.#repairing = true;
    for (const { fd } of legs) tcp.beginRepair(fd);
    const [a, b] = legs.map((leg) => this.#stateOf(leg));
    const joined: Joined =
      a === undefined || b === undefined ? { ok: false, reason: 'relayed-closing' } : joinLegs(a, b);
    if (!joined.ok) for (const { fd } of legs) tcp.endRepair(fd);
    return joined;
  }

  join(joined: Joined & { readonly ok: true }): void {
    const { fromA, fromB } = joined;
    this.#joined = joined;
    const now = process.hrtime.bigint();
    const { socket } = this.#client;
    const copy = this.#conditions?.copy;
    this.#tap = copy && this.#ports.taps?.open(copy, this.#client.flow, this.#server.flow, joined, now);
    const startedAt = this.#tap?.startedNs ?? now;
    const enter = (flow: FlowEnds, mapping: Mapping, facts: Omit<EntryFacts, 'now' | 'startedAt'>): void =>
      this.#ports.programs
        .map('tpotSplices')
        .set(kernelFlow(flow), spliceEntry(mapping, { ...facts, now, startedAt }));
    enter(this.#client.flow, fromA, {
      outerSource: this.#outer?.source,
      udp: this.#outer?.udp === true,
      fromClient: true,
      returns: this.#outer?.returns === true,
      bytes: BigInt(socket.bytesRead),
    });
    enter(this.#server.flow, fromB, {
      outerSource: undefined,
      udp: false,
      fromClient: false,
      returns: this.#outer?.returns === true,
      bytes: BigInt(socket.bytesWritten),
      tapped: this.#tap !== undefined,
    });
  }

  leave(): void {
    const legs = [this.#client, this.#server];
    const lost = legs.some(({ fd }) => !tcp.tcpInfo(fd).established);
    if (!lost) this.#tap?.begin();
    this.#left = true;
    try {
      this.#leaving();
      if (lost) this.#endInSockets();
    } finally {
      for (const { socket } of legs) {
        if (lost) socket.resetAndDestroy();
        else socket.destroy();
      }
    }
    const { held } = this.#ports;
    if (lost || this.#joined === undefined) {
      for (const { flow } of legs) held.discard(flow);
      return;
    }
    held.forward(this.#client.flow, this.#joined.fromA);
    held.forward(this.#server.flow, this.#joined.fromB, (packet) => this.#tap?.see(packet));
  }

  /** Before both sockets are reset: the reset of a leg that has a tunnel is sent through it, as that of a closed one. */
  #endInSockets(): void {
    const { programs } = this.#ports;
    this.#tap?.cancel();
    const legs = [this.#client, this.#server];
    const tunnels = legs.map(({ flow }) => {
      const out = kernelFlow(reverse(flow));
      return { out, tunnel: programs.map('tpotTunnels').get(out) };
    });
    forget(programs, kernelFlow(this.#client.flow));
    for (const { out, tunnel } of tunnels) {
      if (tunnel !== undefined) programs.map('tpotTunnelsClosed').set(out, tunnel);
    }
    for (const { fd } of legs) tcp.endRepair(fd);
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
    };
  }
}

/** Forgets a spliced connection, both directions and their tunnels, in one step with what the programs count. */
export function forget(programs: TpotPrograms, flow: TpotFlow): void {
  const frame = new Uint8Array(64);
  TpotFlowCodec.write(new DataView(frame.buffer), flow);
  testRun(programs.programFd('tpot_forget'), frame);
}
