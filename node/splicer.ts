/** The eBPF data path's side of splicing: reads sockets, writes the table, lists and ages what is in it. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fromMapped, sameIp, toMapped } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import * as tcp from '../host/tcp.js';
import { TpotSpliceFlag, TpotState, type TpotFlow, type TpotSplice } from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { TimestampReader } from '../bpf/timestamps.js';
import {
  handOverHolding,
  handOverIdle,
  type HandOverPort,
  type HandOverResult,
} from '../splice/hand-over.js';
import type { RelayedReason } from '../splice/join.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import type { SpliceConditions, SplicedConnection, SpliceOutcome } from './data-path.js';
import { HeldSegments } from './held-segments.js';
import { tunnelOf, untilHeard } from './leg-tunnel.js';
import { forget, HandOver, isOver, legOf, type Leg, type Outer, type SplicerPorts } from './hand-over.js';
import { kernelFlow } from './splice-entry.js';
import type { Taps } from './taps.js';

/** What ends sooner is not worth a hand-over; and the first request follows the handshake at once. */
const YOUNG_MS = 20;
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
const clock = { monotonic: () => performance.now(), wait: (ms: number) => delay(ms) };

/** Milliseconds an entry stays after its last packet. */
const KEEP = {
  /** Both FINs are acknowledged; what is left are retransmissions. */
  ended: 30_000,
  reset: 5_000,
} as const;
/**
 * Rest after each batch, as a multiple of the time that it took: a sweep takes a tenth of a processor at most, a list that
 * somebody waits for a half.
 */
const REST = { sweep: 9, list: 1 } as const;
const NS_PER_MS = 1_000_000n;

function keepFor(flags: number, otherFlags: number, idleMs: number): number {
  const { RESET, PEER_DONE } = TpotSpliceFlag;
  if (((flags | otherFlags) & RESET) !== 0) return KEEP.reset;
  return (flags & otherFlags & PEER_DONE) !== 0 ? KEEP.ended : idleMs;
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
  readonly #idleMs: number;
  #sweeping = false;
  /** Lists that are being read: nothing is taken from the table meanwhile, so that sums over it do not fall. */
  #lists = 0;
  #ended = { connections: 0, bytesIn: 0, bytesOut: 0 };

  /** `idleMs`: after how long without a packet a connection is forgotten. `taps` make copies; it closes them. */
  constructor(programs: TpotPrograms, logger: Logger, idleMs: number, taps?: Taps) {
    this.#idleMs = idleMs;
    this.#ports = {
      programs,
      timestamps: new TimestampReader(logger),
      held: new HeldSegments(programs, logger),
      taps,
    };
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
    await clock.wait(YOUNG_MS);
    const [a, b] = [legOf(client), legOf(server)];
    if (a === undefined || b === undefined) return { spliced: false, reason: 'relayed-closing' };
    await untilHeard(
      b.fd,
      () => !isOver(b) && tunnelOf(this.#ports.programs, kernelFlow(reverse(b.flow))) !== undefined,
    );
    if (isOver(a) || isOver(b)) return { spliced: false, reason: 'relayed-closing' };
    const refused = this.#refusal(a, b) ?? (conditions?.copy && this.#noCopy());
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

  async *list(): AsyncGenerator<readonly SplicedConnection[]> {
    this.#lists++;
    try {
      for (const batch of this.#ports.programs.map('tpotSplices').batches()) {
        const began = clock.monotonic();
        yield this.#connectionsOf(batch);
        if (batch.length > 0) await clock.wait((clock.monotonic() - began) * REST.list);
      }
    } finally {
      this.#lists--;
    }
  }

  /** Removes what is over, batch by batch, with pauses in which other work is done. */
  async sweep(): Promise<void> {
    if (this.#sweeping || this.#lists > 0) return;
    this.#sweeping = true;
    try {
      for (const batch of this.#ports.programs.map('tpotSplices').batches()) {
        if (this.#lists > 0) return;
        const began = clock.monotonic();
        const now = process.hrtime.bigint();
        for (const [flow, entry] of batch) if (this.#isDue(entry, now)) this.#forgetIfOver(flow, entry, now);
        await clock.wait((clock.monotonic() - began) * REST.sweep);
      }
    } finally {
      this.#sweeping = false;
    }
  }

  /** Whether no connection is in the table, at this moment. */
  isEmpty(): boolean {
    for (const batch of this.#ports.programs.map('tpotSplices').batches()) {
      if (batch.some(([, { flags }]) => (flags & TpotSpliceFlag.FROM_CLIENT) !== 0)) return false;
    }
    return true;
  }

  /** After an earlier process: its hand-overs that were under way are void. Returns how many connections there are. */
  adopt(): number {
    const table = this.#ports.programs.map('tpotSplices');
    let connections = 0;
    for (const batch of table.batches()) {
      for (const [flow, { flags }] of batch) {
        if ((flags & TpotSpliceFlag.HOLD) !== 0) table.delete(flow);
        else if ((flags & TpotSpliceFlag.FROM_CLIENT) !== 0) connections++;
      }
    }
    return connections;
  }

  /** Whether a leg from this port would meet a spliced connection. */
  isSpliced(flow: FlowEnds): boolean {
    return this.#ports.programs.map('tpotSplices').get(kernelFlow(flow)) !== undefined;
  }

  /** Segments that met a hand-over and were sent on after it. */
  get heldSent(): number {
    return this.#ports.held.sent;
  }

  close(): void {
    this.#ports.timestamps.close();
    this.#ports.held.close();
    this.#ports.taps?.close();
  }

  #connectionsOf(batch: readonly (readonly [TpotFlow, TpotSplice])[]): SplicedConnection[] {
    const table = this.#ports.programs.map('tpotSplices');
    const now = process.hrtime.bigint();
    return batch.flatMap(([flow, entry]) => {
      if ((entry.flags & TpotSpliceFlag.FROM_CLIENT) === 0) return [];
      const other = table.get(reverseKernelFlow(entry.out));
      return other === undefined ? [] : [this.#connection(flow, entry, other, now)];
    });
  }

  #connection(flow: TpotFlow, entry: TpotSplice, other: TpotSplice, now: bigint): SplicedConnection {
    const { TUNNELLED, UDP, PEER_FIN, RESET } = TpotSpliceFlag;
    const tunnel = tunnelOf(this.#ports.programs, entry.out);
    return {
      client: { address: fromMapped(flow.source), port: flow.sourcePort },
      destination: { address: fromMapped(flow.destination), port: flow.destinationPort },
      tunnelled: (entry.flags & TUNNELLED) !== 0,
      udp: (entry.flags & UDP) !== 0,
      nextHop: tunnel?.remote,
      nextHopUdp: tunnel?.udp === true,
      closing: ((entry.flags | other.flags) & (PEER_FIN | RESET)) !== 0,
      bytesIn: Number(entry.bytes),
      bytesOut: Number(other.bytes),
      packets: Number(entry.packets + other.packets),
      ageSeconds: Number((now - entry.startedNs) / (1000n * NS_PER_MS)),
    };
  }

  /** Whether one direction alone gives reason to look at both: true of few, so that a sweep costs little. */
  #isDue({ flags, seenNs }: TpotSplice, now: bigint): boolean {
    const { HOLD, RESET, PEER_DONE } = TpotSpliceFlag;
    if ((flags & HOLD) !== 0) return false;
    const keep = (flags & (RESET | PEER_DONE)) === 0 ? this.#idleMs : KEEP.reset;
    return now - seenNs > BigInt(keep) * NS_PER_MS;
  }

  #forgetIfOver(flow: TpotFlow, entry: TpotSplice, now: bigint): void {
    const { programs } = this.#ports;
    const other = programs.map('tpotSplices').get(reverseKernelFlow(entry.out));
    if (other === undefined) return; // forgotten with the other direction
    const last = entry.seenNs > other.seenNs ? entry.seenNs : other.seenNs;
    if (now - last <= BigInt(keepFor(entry.flags, other.flags, this.#idleMs)) * NS_PER_MS) return;
    const [fromClient, fromServer] =
      (entry.flags & TpotSpliceFlag.FROM_CLIENT) === 0 ? [other, entry] : [entry, other];
    this.#ended.connections++;
    this.#ended.bytesIn += Number(fromClient.bytes);
    this.#ended.bytesOut += Number(fromServer.bytes);
    forget(programs, flow);
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

  #noCopy(): RelayedReason | undefined {
    const { taps } = this.#ports;
    if (taps === undefined) return 'relayed-unsupported';
    return taps.hasRoom ? undefined : 'relayed-taps';
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
