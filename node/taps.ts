/**
 * Copies of responses that pass in the kernel ("TCP Tap"), put together for who wants to keep them.
 *
 * ```
 *   server ─▶ tc ingress ─▶ client          the response: whatever happens here, it goes on
 *                 │ copy (bpf/tpot_tap.h)
 *                 ▼
 *             tpot_taps ─▶ Reassembly ─▶ ResponseCopy.content()
 *                             ▲
 *   tpot_splices ─────────────┘  what the client has acknowledged
 * ```
 *
 * Acknowledgments are read before the ring is emptied: everything the client has taken by then is in the ring.
 */
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import {
  maps,
  TpotFlowCodec,
  TpotSpliceFlag,
  type TpotFlow,
  type TpotSplice,
} from '../bpf/generated/maps.js';
import type { TpotPrograms } from '../bpf/programs.js';
import { RingReader } from '../bpf/ring-buffer.js';
import { testRun } from '../bpf/test-run.js';
import type { Joined } from '../splice/join.js';
import type { FlowEnds } from '../splice/mapping.js';
import { Reassembly, type Trouble } from '../splice/reassembly.js';
import { ip } from '../wire/ip.js';
import { tcp } from '../wire/tcp.js';
import { seq, type Seq } from '../wire/seq.js';
import type { ResponseCopy } from './data-path.js';
import { kernelFlow } from './splice-entry.js';

const MIB = 2 ** 20;
/** Bytes of copies that wait to be read: 50 ms at 10 Gbit/s. */
export const TAP_RING = 64 * MIB;
const MOST_TAPS = 64;
/**
 * Bytes of one response that may be here and not yet handed on, a full ring and what is on the way, and of all of them.
 * The ring is emptied in one go, before anything of it is handed on.
 */
const WINDOW = TAP_RING + 16 * MIB;
const MOST_HELD = 2 * WINDOW;
/** How often the ring is looked at, which costs next to nothing, and the table while the ring is empty. Milliseconds. */
const LOOK = { ring: 1, table: 32 } as const;
/** What is ready is handed on in pieces of at least this, or after so many milliseconds. */
const PIECE = { bytes: 64 * 1024, afterMs: 50 } as const;
/** Without a copy or an acknowledgment for so long, a response is not waited for. */
const IDLE_MS = 60_000;

/** `struct tap_head` in bpf/tpot_tap.h. */
const RECORD = { id: 0, sequence: 8, length: 12, bytes: 16 } as const;

type Ending = Trouble | 'complete' | 'unwanted' | 'memory' | 'ended' | 'idle' | 'closed';

interface Entries {
  readonly client: TpotSplice | undefined;
  readonly server: TpotSplice | undefined;
}

/** One response. */
export class Tap {
  /** Of the entry in the table, and in every record. */
  readonly startedNs: bigint;
  /** As the table has them. */
  readonly client: TpotFlow;
  readonly server: TpotFlow;
  readonly copy: ResponseCopy;
  readonly stream: Reassembly;
  /** From the client's acknowledgments to the server's sequence numbers. */
  readonly #delta: number;
  readonly #told: { readonly begun: () => void; readonly over: (tap: Tap, why: Ending) => void };
  #trouble: Trouble | undefined;
  #begun = false;
  /** When something happened last, and when something was handed on last. */
  #movedAt: number;
  #handedAt: number;
  #acknowledged: Seq | undefined;

  constructor(
    what: { startedNs: bigint; copy: ResponseCopy; client: FlowEnds; server: FlowEnds },
    { fromA, fromB }: Joined & { readonly ok: true },
    told: { readonly begun: () => void; readonly over: (tap: Tap, why: Ending) => void },
  ) {
    this.startedNs = what.startedNs;
    this.copy = what.copy;
    this.client = kernelFlow(what.client);
    this.server = kernelFlow(what.server);
    this.stream = new Reassembly(fromB.base, WINDOW);
    this.#delta = fromA.acknowledgmentDelta;
    this.#told = told;
    this.#movedAt = this.#handedAt = performance.now();
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** The connection leaves. */
  begin(): void {
    this.#begun = true;
    this.#told.begun();
    this.copy.begin();
  }

  /** The connection does not leave. */
  cancel(): void {
    this.#over('closed');
  }

  /** A copy. */
  add(sequence: number, bytes: Uint8Array): void {
    this.#trouble ??= this.stream.add(sequence, bytes);
    this.#movedAt = performance.now();
  }

  /** An IP packet that arrived during the hand-over, and goes on by another way. */
  see(packet: Uint8Array): void {
    const outer = ip.parse(packet);
    const segment = outer.ok ? tcp.parse(outer.payload) : undefined;
    if (segment?.ok === true) this.add(segment.value.seq, segment.payload);
  }

  /** All copies that were made before `entries` were read have been added. */
  settle(entries: Entries, now: number): void {
    if (!this.#begun) return;
    if (entries.client !== undefined) this.#acknowledge(seq(entries.client.acknowledged + this.#delta), now);
    if (this.#trouble !== undefined) {
      this.#over(this.#trouble);
      return;
    }
    const over = this.#endOf(entries, now);
    if (over !== undefined || this.stream.ready >= PIECE.bytes || now - this.#handedAt >= PIECE.afterMs) {
      if (this.#handOn(now)) return;
    }
    if (over !== undefined) this.#over(over);
  }

  #over(why: Ending): void {
    this.#told.over(this, why);
  }

  #acknowledge(acknowledged: Seq, now: number): void {
    if (acknowledged === this.#acknowledged) return;
    this.#acknowledged = acknowledged;
    this.#movedAt = now;
    this.#trouble ??= this.stream.acknowledge(acknowledged);
  }

  /** Why nothing will come any more. */
  #endOf({ client, server }: Entries, now: number): Ending | undefined {
    const { RESET, PEER_DONE, TAPPED } = TpotSpliceFlag;
    // First: where copies were lost, the connection may well have come to its end by the time this is read.
    if (server !== undefined && (server.flags & TAPPED) === 0) return 'lost';
    if (client === undefined || server === undefined) return 'ended';
    if (((client.flags | server.flags) & RESET) !== 0 || (client.flags & PEER_DONE) !== 0) return 'ended';
    return now - this.#movedAt > IDLE_MS ? 'idle' : undefined;
  }

  /** Whether that was the end of it. */
  #handOn(now: number): boolean {
    this.#handedAt = now;
    for (let bytes = this.stream.take(); bytes !== undefined; bytes = this.stream.take()) {
      const said = this.copy.content(bytes);
      if (said === 'more') continue;
      this.#over(said);
      return true;
    }
    return false;
  }
}

export class Taps {
  readonly #programs: TpotPrograms;
  readonly #logger: Logger;
  readonly #ring: RingReader;
  /** By the lower half of `startedNs`. */
  readonly #open = new Map<number, Tap>();
  #timer: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  readonly #counts = { begun: 0, complete: 0, abandoned: 0, bytes: 0 };

  /** Throws where the ring cannot be mapped. */
  constructor(programs: TpotPrograms, logger: Logger) {
    this.#programs = programs;
    this.#logger = logger;
    this.#ring = new RingReader(programs.map('tpotTaps').fd, TAP_RING);
  }

  /** Whether one more response may be copied. */
  get hasRoom(): boolean {
    return this.#open.size < MOST_TAPS;
  }

  /** By reason code. */
  counters(): Record<string, number> {
    const counters: Record<string, number> = {};
    const { begun, complete, abandoned, bytes } = this.#counts;
    if (begun > 0) counters['tapped'] = begun;
    if (complete > 0) counters['tap-complete'] = complete;
    if (abandoned > 0) counters['tap-abandoned'] = abandoned;
    if (bytes > 0) counters['tap-bytes'] = bytes;
    return counters;
  }

  /** To be called before the entries are in the table; they get `startedNs`. Undefined: there is no room. */
  open(
    copy: ResponseCopy,
    client: FlowEnds,
    server: FlowEnds,
    joined: Joined & { readonly ok: true },
    now: bigint,
  ): Tap | undefined {
    if (!this.hasRoom) return undefined;
    let startedNs = now;
    while (this.#open.has(keyOf(startedNs))) startedNs++;
    const tap = new Tap({ startedNs, copy, client, server }, joined, {
      begun: () => {
        this.#counts.begun++;
      },
      over: (one, why) => this.#end(one, why),
    });
    this.#open.set(keyOf(startedNs), tap);
    this.#plan();
    return tap;
  }

  /** Nothing is copied any more; the connections go on. */
  close(): void {
    clearTimeout(this.#timer);
    for (const tap of [...this.#open.values()]) this.#end(tap, 'closed');
    this.#ring.close();
  }

  #plan(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#open.size === 0 ? undefined : setTimeout(this.#look, LOOK.ring).unref();
  }

  readonly #look = (): void => {
    const now = performance.now();
    if (this.#ring.hasMore || now - this.#lookedAt >= LOOK.table) {
      this.#lookedAt = now;
      this.#lookAtAll(now);
    }
    this.#plan();
  };

  #lookAtAll(now: number): void {
    const entries = new Map<Tap, Entries>();
    const table = this.#programs.map('tpotSplices');
    for (const tap of this.#open.values()) {
      entries.set(tap, { client: table.get(tap.client), server: table.get(tap.server) });
    }
    const emptied = this.#ring.drain(this.#record);
    if (emptied) for (const [tap, read] of entries) tap.settle(read, now);
    this.#limitMemory();
  }

  readonly #record = (record: Buffer): void => {
    const tap = this.#open.get(record.readUInt32LE(RECORD.id));
    if (tap === undefined) return; // copied before its connection was told that no more is wanted
    const length = record.readUInt32LE(RECORD.length);
    tap.add(record.readUInt32LE(RECORD.sequence), record.subarray(RECORD.bytes, RECORD.bytes + length));
  };

  #limitMemory(): void {
    const byHeld = [...this.#open.values()].sort((a, b) => b.stream.held - a.stream.held);
    let held = byHeld.reduce((sum, { stream }) => sum + stream.held, 0);
    for (const tap of byHeld) {
      if (held <= MOST_HELD) return;
      held -= tap.stream.held;
      this.#end(tap, 'memory');
    }
  }

  #end(tap: Tap, why: Ending): void {
    if (!this.#open.delete(keyOf(tap.startedNs))) return;
    const frame = new Uint8Array(64);
    TpotFlowCodec.write(new DataView(frame.buffer), tap.server);
    testRun(this.#programs.programFd('tpot_untap'), frame);
    if (!tap.begun) return;
    this.#counts.bytes += tap.stream.given;
    if (why === 'complete') {
      this.#counts.complete++;
      return;
    }
    this.#counts.abandoned++;
    this.#logger.info('tap-abandoned', { why, bytes: tap.stream.given, ignored: tap.stream.ignored });
    if (why !== 'unwanted') tap.copy.lost();
  }
}

const keyOf = (startedNs: bigint): number => Number(startedNs & 0xffffffffn);

/** Undefined, and a warning, where the ring cannot be read. */
export function openTaps(programs: TpotPrograms, logger: Logger): Taps | undefined {
  try {
    return new Taps(programs, logger);
  } catch (error) {
    logger.warn('taps-unavailable', {
      map: maps.tpotTaps.name,
      error: messageOf(error),
      effect: 'large responses that are stored pass through this process (cache.tapAbove)',
    });
    return undefined;
  }
}
