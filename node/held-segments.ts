/** Where segments go that the kernel held back during a hand-over (`tpot_held` in bpf/tpot_keep.h; splice/held.ts). */
import { toMapped } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { RawSocket } from '../host/raw-socket.js';
import { maps, TpotFlowCodec } from '../bpf/generated/maps.js';
import { DELIVERY_MARK, type TpotPrograms } from '../bpf/programs.js';
import { testRun } from '../bpf/test-run.js';
import { heldFin, heldFlow, mapHeld, wholeAgain } from '../splice/held.js';
import type { FlowEnds, Mapping } from '../splice/mapping.js';
import { kernelFlow } from './splice-entry.js';

/** Packets that are kept of one direction, and in all; what is beyond is sent again by its sender. */
interface HeldLimits {
  readonly each: number;
  readonly all: number;
}
const LIMITS: HeldLimits = { each: 64, all: 1024 };

const keyOf = ({ source, sourcePort, destination, destinationPort }: FlowEnds): string =>
  Buffer.concat([toMapped(source), toMapped(destination)]).toString('latin1') +
  `${sourcePort},${destinationPort}`;

type Sockets = Readonly<Record<4 | 6, RawSocket>>;

function openSockets(logger: Logger): { routed: Sockets; local: Sockets } | undefined {
  try {
    return {
      routed: { 4: new RawSocket(4), 6: new RawSocket(6) },
      // The mark leads into the table in which every destination is local.
      local: { 4: new RawSocket(4, DELIVERY_MARK), 6: new RawSocket(6, DELIVERY_MARK) },
    };
  } catch (error) {
    logger.warn('raw-sockets-unavailable', {
      error: messageOf(error),
      effect: 'data that meets a hand-over is sent again by its sender, 200 ms later',
      hint: 'allow CAP_NET_RAW',
    });
    return undefined;
  }
}

/** Tells the programs of a FIN that leaves without them: a connection of which they have not seen both is never over. */
export function noteFin(programs: TpotPrograms, flow: FlowEnds, end: number): void {
  const frame = new Uint8Array(64);
  const view = new DataView(frame.buffer);
  TpotFlowCodec.write(view, kernelFlow(flow));
  view.setUint32(TpotFlowCodec.size, end, true);
  testRun(programs.programFd('tpot_note_fin'), frame);
}

export class HeldSegments {
  readonly #programs: TpotPrograms;
  readonly #sockets: ReturnType<typeof openSockets>;
  /** By the flow they arrived as; those that are being handed over now. */
  readonly #kept = new Map<string, Uint8Array[]>();
  readonly #limits: HeldLimits;
  #packets = 0;
  #sent = 0;

  constructor(programs: TpotPrograms, logger: Logger, limits = LIMITS) {
    this.#programs = programs;
    this.#limits = limits;
    this.#sockets = openSockets(logger);
  }

  /** Packets that went on from here. */
  get sent(): number {
    return this.#sent;
  }

  /** From here on, what is held back of this flow is kept. */
  begin(flow: FlowEnds): void {
    this.#take(keyOf(flow));
    this.#kept.set(keyOf(flow), []);
  }

  /** The flow is spliced: what was kept leaves as the mapping says, after `see` has seen it. */
  forward(flow: FlowEnds, mapping: Mapping, see?: (packet: Uint8Array) => void): void {
    for (const packet of this.#end(flow)) {
      const fin = heldFin(packet);
      if (fin !== undefined) noteFin(this.#programs, flow, fin);
      see?.(packet);
      for (const piece of mapHeld(packet, mapping)) this.#send('routed', piece, mapping.out);
    }
  }

  /** The flow stays with its socket, which gets what was kept. */
  deliver(flow: FlowEnds): void {
    for (const packet of this.#end(flow)) {
      const whole = wholeAgain(packet);
      if (whole !== undefined) this.#send('local', whole, flow);
    }
  }

  /** The connection is no more. */
  discard(flow: FlowEnds): void {
    this.#end(flow);
  }

  close(): void {
    for (const sockets of Object.values(this.#sockets ?? {})) {
      for (const socket of Object.values(sockets)) socket.close();
    }
  }

  #send(way: 'routed' | 'local', packet: Uint8Array, { destination: { family, bytes } }: FlowEnds): void {
    if (this.#sockets?.[way][family].send(packet, bytes)) this.#sent++;
  }

  /**
   * Sorts what has come, and gives out what is of this flow. Nothing more of it comes, so that is in the queue by now; what
   * others send meanwhile may come faster than it is taken out.
   */
  #end(flow: FlowEnds): readonly Uint8Array[] {
    const held = this.#programs.map('tpotHeld');
    for (let taken = 0; taken < maps.tpotHeld.maxEntries; taken++) {
      const one = held.take();
      if (one === undefined) break;
      this.#keep(one.packet.slice(0, one.length));
    }
    return this.#take(keyOf(flow));
  }

  #keep(packet: Uint8Array): void {
    const ends = heldFlow(packet);
    const kept = ends && this.#kept.get(keyOf(ends));
    if (kept === undefined || kept.length >= this.#limits.each || this.#packets >= this.#limits.all) return;
    kept.push(packet);
    this.#packets++;
  }

  #take(key: string): readonly Uint8Array[] {
    const kept = this.#kept.get(key) ?? [];
    this.#kept.delete(key);
    this.#packets -= kept.length;
    return kept;
  }
}
