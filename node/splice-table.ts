/**
 * The table of spliced connections as the node sees it: lists, sums up and ages what is in it. It may hold millions of
 * entries, so it is read some at a time, with pauses in which other work is done, and members rather than whole values.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { fromMapped } from '../core/address.js';
import { TpotSpliceCodec, TpotSpliceFlag, type TpotFlow, type TpotSplice } from '../bpf/generated/maps.js';
import type { Batch } from '../bpf/map.js';
import type { TpotPrograms } from '../bpf/programs.js';
import type { SplicedConnection, SplicedTotals } from './data-path.js';
import { forget } from './hand-over.js';
import { tunnelOf } from './leg-tunnel.js';
import { reverseKernelFlow } from './splice-entry.js';

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
/** Who reads a list so slowly stops no sweep: a reader may be suspended for days. Milliseconds. */
const LIST_PATIENCE = 10_000;
const NS_PER_MS = 1e6;
const NS_PER_SECOND = 1e9;

const AT = TpotSpliceCodec.at;
const { FROM_CLIENT, HOLD, RESET, PEER_DONE, PEER_FIN, TUNNELLED, UDP } = TpotSpliceFlag;

type Entries = Batch<TpotFlow, TpotSplice>;

/** CLOCK_MONOTONIC, as bpf_ktime_get_ns(). */
const nowNs = (): number => Number(process.hrtime.bigint());

function keepFor(flags: number, otherFlags: number, idleMs: number): number {
  if (((flags | otherFlags) & RESET) !== 0) return KEEP.reset;
  return (flags & otherFlags & PEER_DONE) !== 0 ? KEEP.ended : idleMs;
}

export class SpliceTable {
  readonly #programs: TpotPrograms;
  readonly #idleMs: number;
  #sweeping = false;
  /** Lists that are being read: nothing is taken from the table meanwhile, so that sums over it do not fall. */
  #lists = 0;
  /** When one of them was read last. */
  #readAt = 0;
  #closed = false;
  #ended = { connections: 0, bytesIn: 0, bytesOut: 0 };

  /** `idleMs`: after how long without a packet a connection is forgotten. */
  constructor(programs: TpotPrograms, idleMs: number) {
    this.#programs = programs;
    this.#idleMs = idleMs;
  }

  /** The connections that were spliced when the list was begun. */
  async *list(): AsyncGenerator<readonly SplicedConnection[]> {
    const begun = nowNs();
    for await (const batch of this.#read()) {
      const connections: SplicedConnection[] = [];
      for (let index = 0; index < batch.size; index++) {
        if (!isClients(batch, index, begun)) continue;
        const connection = this.#connection(batch.key(index), batch.value(index), begun);
        if (connection !== undefined) connections.push(connection);
      }
      yield connections;
    }
  }

  /** Over those of {@link list}, and bytes of those that have ended while this process ran. */
  async totals(): Promise<SplicedTotals> {
    const begun = nowNs();
    let [connections, bytesIn, bytesOut] = [0, 0, 0];
    for await (const batch of this.#read()) {
      for (let index = 0; index < batch.size; index++) {
        if (batch.u64(index, AT.startedNs) > begun) continue;
        const bytes = batch.u64(index, AT.bytes);
        if (isClients(batch, index, begun)) {
          connections++;
          bytesIn += bytes;
        } else bytesOut += bytes;
      }
    }
    return { connections, bytesIn: bytesIn + this.#ended.bytesIn, bytesOut: bytesOut + this.#ended.bytesOut };
  }

  /** Removes what is over. */
  async sweep(): Promise<void> {
    if (this.#sweeping || this.#isReadOrClosed()) return;
    this.#sweeping = true;
    try {
      for (const batch of this.#entries.batches()) {
        const began = performance.now();
        const now = nowNs();
        for (let index = 0; index < batch.size; index++) {
          if (this.#isDue(batch, index, now)) this.#forgetIfOver(batch.key(index), batch.value(index), now);
        }
        await delay((performance.now() - began) * REST.sweep);
        if (this.#isReadOrClosed()) return;
      }
    } finally {
      this.#sweeping = false;
    }
  }

  /** Whether no connection is in the table, at this moment. */
  isEmpty(): boolean {
    for (const batch of this.#entries.batches()) {
      for (let index = 0; index < batch.size; index++) if (isClients(batch, index)) return false;
    }
    return true;
  }

  /** After an earlier process: its hand-overs that were under way are void. Returns how many connections there are. */
  adopt(): number {
    const held: TpotSplice[] = [];
    let connections = 0;
    for (const batch of this.#entries.batches()) {
      for (let index = 0; index < batch.size; index++) {
        if (isClients(batch, index)) connections++;
        if ((batch.u32(index, AT.flags) & HOLD) === 0) continue;
        held.push(batch.value(index));
        this.#entries.delete(batch.key(index));
      }
    }
    return connections - held.filter(({ out }) => this.#forgetHalf(reverseKernelFlow(out))).length;
  }

  /** What is being read ends; nothing is looked at any more. */
  close(): void {
    this.#closed = true;
  }

  /** A process that was killed while it joined a connection leaves one direction of it. Whether its client's. */
  #forgetHalf(flow: TpotFlow): boolean {
    const half = this.#entries.get(flow);
    if (half === undefined) return false;
    forget(this.#programs, flow);
    return (half.flags & FROM_CLIENT) !== 0;
  }

  /** Whether a sweep has to wait for a list, so that its sums do not fall; or for nothing any more. */
  #isReadOrClosed(): boolean {
    return this.#closed || (this.#lists > 0 && performance.now() - this.#readAt < LIST_PATIENCE);
  }

  get #entries() {
    return this.#programs.map('tpotSplices');
  }

  async *#read(): AsyncGenerator<Entries> {
    this.#lists++;
    try {
      for (const batch of this.#entries.batches()) {
        const began = performance.now();
        this.#readAt = began;
        yield batch;
        await delay((performance.now() - began) * REST.list);
        if (this.#closed) return;
      }
    } finally {
      this.#lists--;
    }
  }

  #connection(flow: TpotFlow, entry: TpotSplice, now: number): SplicedConnection | undefined {
    const other = this.#entries.get(reverseKernelFlow(entry.out));
    if (other === undefined) return undefined; // forgotten at this moment
    const tunnel = tunnelOf(this.#programs, entry.out);
    return {
      client: { address: fromMapped(flow.source), port: flow.sourcePort },
      destination: { address: fromMapped(flow.destination), port: flow.destinationPort },
      tunnelled: (entry.flags & TUNNELLED) !== 0,
      udp: (entry.flags & UDP) !== 0,
      returned: tunnelOf(this.#programs, reverseKernelFlow(flow)) !== undefined,
      nextHop: tunnel?.remote,
      nextHopUdp: tunnel?.udp === true,
      closing: ((entry.flags | other.flags) & (PEER_FIN | RESET)) !== 0,
      bytesIn: Number(entry.bytes),
      bytesOut: Number(other.bytes),
      packets: Number(entry.packets + other.packets),
      ageSeconds: Math.floor((now - Number(entry.startedNs)) / NS_PER_SECOND),
    };
  }

  /** Whether one direction alone gives reason to look at both: true of few, so that a sweep costs little. */
  #isDue(batch: Entries, index: number, now: number): boolean {
    const flags = batch.u32(index, AT.flags);
    if ((flags & HOLD) !== 0) return false;
    const keep = (flags & (RESET | PEER_DONE)) === 0 ? this.#idleMs : KEEP.reset;
    return now - batch.u64(index, AT.seenNs) > keep * NS_PER_MS;
  }

  #forgetIfOver(flow: TpotFlow, entry: TpotSplice, now: number): void {
    const other = this.#entries.get(reverseKernelFlow(entry.out));
    if (other === undefined) return; // forgotten with the other direction
    const last = Number(entry.seenNs > other.seenNs ? entry.seenNs : other.seenNs);
    if (now - last <= keepFor(entry.flags, other.flags, this.#idleMs) * NS_PER_MS) return;
    const [fromClient, fromServer] = (entry.flags & FROM_CLIENT) === 0 ? [other, entry] : [entry, other];
    this.#ended.connections++;
    this.#ended.bytesIn += Number(fromClient.bytes);
    this.#ended.bytesOut += Number(fromServer.bytes);
    forget(this.#programs, flow);
  }
}

/** Whether an entry is a client's direction, of a connection that was spliced by `begun`. */
function isClients(batch: Entries, index: number, begun = Infinity): boolean {
  return (batch.u32(index, AT.flags) & FROM_CLIENT) !== 0 && batch.u64(index, AT.startedNs) <= begun;
}
