/** The eBPF data path's side of splicing: takes connections out of user space into the table (splice-table.ts). */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fromMapped, sameIp, toMapped } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import * as tcp from '../host/tcp.js';
import { TpotState } from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { CAPABILITY } from '../tpot/option.js';
import { TimestampReader } from '../bpf/timestamps.js';
import {
  handOverHolding,
  handOverIdle,
  type HandOverPort,
  type HandOverResult,
} from '../splice/hand-over.js';
import type { RelayedReason } from '../splice/join.js';
import { reverse, type FlowEnds } from '../splice/mapping.js';
import type { SpliceConditions, SpliceOutcome } from './data-path.js';
import { HeldSegments } from './held-segments.js';
import { tunnelOf, untilHeard } from './leg-tunnel.js';
import { HandOver, isOver, legOf, type Leg, type Outer, type SplicerPorts } from './hand-over.js';
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

export class Splicer {
  readonly #ports: SplicerPorts;
  readonly #logger: Logger;
  #closed = false;

  /** `taps` make copies; it closes them. */
  constructor(programs: TpotPrograms, logger: Logger, taps?: Taps) {
    this.#ports = {
      programs,
      timestamps: new TimestampReader(logger),
      held: new HeldSegments(programs, logger),
      taps,
    };
    this.#logger = logger;
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
    const result = await this.#handOver(port).catch((error: unknown): HandOverResult => {
      if (this.#closed) return 'relayed-closing'; // its tables are gone; who finds them again voids what is left there
      this.#logger.debug('hand-over-failed', { error: messageOf(error) });
      return port.undo() ? 'spliced' : 'relayed-closing'; // a socket that was closed between two steps
    });
    if (result === 'spliced') return { spliced: true };
    for (const leg of [a, b]) if (!isOver(leg)) tcp.clampWindow(leg.fd, NO_CLAMP);
    return { spliced: false, reason: result };
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
    this.#closed = true;
    this.#ports.timestamps.close();
    this.#ports.held.close();
    this.#ports.taps?.close();
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
    const returns = (taken.capabilities & CAPABILITY.returnTunnel) !== 0;
    return { source: fromMapped(taken.outerSource), udp: taken.udp !== 0, returns };
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
