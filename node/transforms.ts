/** Which legs of a node are transformed, what they share, and what that has come to. */
import type { Socket } from 'node:net';
import { formatIp } from '../core/address.js';
import { finishOnClose, resetOnClose } from '../host/libc.js';
import { libxxhash } from '../host/libxxhash.js';
import { unsentBytes } from '../host/tcp.js';
import { Budget } from '../transcode/budget.js';
import { agreementOf, bitsUsed, namesOf, TRANSFORM_BITS } from '../transcode/capabilities.js';
import { ChunkStore } from '../transcode/chunk-store.js';
import { Dictionaries } from '../transcode/dictionaries.js';
import { TransformedLeg, type LegOptions } from '../transcode/leg.js';
import { LevelCeiling } from '../transcode/level.js';
import {
  addStats,
  emptyStats,
  sumsByTransform,
  type TransformStats,
  type TransformSums,
} from '../transcode/stats.js';
import { formatEndpoint, type Connection, type Endpoint } from './connections.js';
import { Estimates, type Estimate } from './transform-estimate.js';
import { TransformLoad } from './transform-load.js';
import type { LegInfo } from './data-path.js';
import { descriptorOf } from './socket-descriptor.js';
import type { TransformSettings } from './transform-settings.js';

/** What `stats` shows of the legs to or from one node. */
export interface PairStats extends TransformStats {
  readonly node: string;
  readonly direction: 'from' | 'to';
  readonly transforms: readonly string[];
  readonly connections: number;
  readonly open: number;
  /** Open legs by the level at which what they send is compressed just now. */
  readonly levels: Readonly<Record<string, number>>;
  /** Of what was sent. */
  readonly byTransform: readonly TransformSums[];
}

export interface TransformReport {
  readonly transforms: readonly string[];
  readonly open: number;
  readonly pairs: readonly PairStats[];
  readonly store: {
    readonly bytes: number;
    readonly chunks: number;
    /** Chunks that left to make room. */
    readonly evictions: number;
    readonly dictionaryBytes: number;
    /** Held for references under way, and chunks that went as they are because there was no room. */
    readonly heldBytes: number;
    readonly heldRefused: number;
    /** Held behind references that are being asked for, and connections that were reset for want of room. */
    readonly waitingBytes: number;
    readonly waitingRefused: number;
  };
  /** Nothing new is transformed, because this process is too busy. */
  readonly saturated: boolean;
  /** Levels, counted from the highest, that no compressor may use because this process is busy. */
  readonly levelsLowered: number;
  /** Connections that came while nothing new was transformed, because of the limit or because of that. */
  readonly refused: number;
  /** Legs without transforms, and what these would have saved; empty unless that is asked for. */
  readonly estimates: readonly Estimate[];
}

/** Nodes whose sums are kept apart; those of others are added up under `others`. */
const MOST_PAIRS = 256;
const PEER_STORES = 64;
const DICTIONARY_BYTES = 4 * 1024 * 1024;
/** Bytes of all legs together: held for references, and held behind those that could not be resolved. */
const MOST_HELD = 128 * 1024 * 1024;
const MOST_WAITING = 256 * 1024 * 1024;

class Pair {
  readonly node: string;
  readonly direction: PairStats['direction'];
  readonly ended = emptyStats();
  readonly live = new Set<TransformedLeg>();
  connections = 0;
  bits = 0;

  constructor(direction: PairStats['direction'], node: string) {
    this.direction = direction;
    this.node = node;
  }

  levels(): Record<string, number> {
    const legs: Record<string, number> = {};
    for (const { level } of this.live) if (level !== undefined) legs[level] = (legs[level] ?? 0) + 1;
    return legs;
  }

  sums(): TransformStats {
    const sums = { ...this.ended };
    for (const { stats } of this.live) addStats(sums, stats);
    return sums;
  }
}

export class Transforms {
  readonly #settings: TransformSettings;
  readonly #shared: LegOptions['shared'];
  readonly #pairs = new Map<string, Pair>();
  readonly #changed: (bits: number) => void;
  readonly #load = new TransformLoad();
  readonly #estimates: Estimates | undefined;
  #open = 0;
  #refused = 0;

  /** `changed` gets the bits that new connections may use, whenever these change. */
  constructor(settings: TransformSettings, changed: (bits: number) => void) {
    this.#settings = settings;
    this.#changed = changed;
    this.#estimates = settings.estimate ? new Estimates() : undefined;
    this.#shared = {
      store: new ChunkStore({ bytes: settings.storeBytes, peers: PEER_STORES }),
      dictionaries: new Dictionaries(DICTIONARY_BYTES),
      ceiling: new LevelCeiling(),
      held: new Budget(MOST_HELD),
      waiting: new Budget(MOST_WAITING),
      xxh3: libxxhash(),
    };
  }

  /** For requests, and for the kernel's replies: none at the limit, and none while this process is too busy. */
  get bits(): number {
    const full = this.#open >= this.#settings.connections || this.#load.saturated;
    return full ? 0 : this.#settings.bits;
  }

  /** What a next leg may ask for. */
  offer(allowed: number): number {
    const { bits } = this;
    if (bits === 0 && (this.#settings.bits & allowed) !== 0) this.#refused++;
    return bits & allowed;
  }

  get status(): {
    readonly offered: readonly string[];
    readonly saturated: boolean;
    readonly refused: number;
  } {
    return { offered: namesOf(this.bits), saturated: this.#load.saturated, refused: this.#refused };
  }

  /** Takes in how busy the event loop was since the last time, about once a second. */
  look(utilization: number): void {
    const before = this.bits;
    this.#load.look(utilization);
    this.#shared.ceiling.look(utilization);
    if (this.bits !== before) this.#changed(this.bits);
  }

  close(): void {
    this.#estimates?.close();
  }

  /** The client's side of a taken connection; `undefined` where its request and our reply agreed on nothing. */
  ofClient({ socket, taken, client, destination }: Connection): TransformedLeg | undefined {
    if (taken.via === 'edge') return undefined;
    const bits = taken.capabilities & TRANSFORM_BITS;
    const agreement = agreementOf(bits);
    if (agreement === undefined) return undefined;
    const certain = taken.via === 'tunnel';
    const subject = `to ${formatEndpoint(destination)}`;
    const leg: TransformedLeg = new TransformedLeg(socket, () => {
      return { agreement, shared: this.#shared, certain, subject, ...ofKernel(socket) };
    });
    this.#enter('from', formatIp(client.address), bitsUsed(agreement), leg);
    return leg;
  }

  /** A next leg whose request carried `offered`; it is connecting. `info` is asked once it is connected. */
  ofLeg(raw: Socket, offered: number, destination: Endpoint, info: () => LegInfo): TransformedLeg {
    const leg: TransformedLeg = new TransformedLeg(raw, () => {
      const { nextHop, capabilities = 0 } = info();
      const bits = capabilities & offered & TRANSFORM_BITS;
      const agreement = nextHop === undefined ? undefined : agreementOf(bits);
      if (agreement === undefined || nextHop === undefined) {
        this.#estimates?.watch(raw.pause(), nextHop === undefined ? undefined : formatIp(nextHop));
        return undefined;
      }
      this.#enter('to', formatIp(nextHop), bitsUsed(agreement), leg);
      return {
        agreement,
        shared: this.#shared,
        certain: true,
        subject: `from ${formatEndpoint(destination)}`,
        ...ofKernel(raw),
      };
    });
    return leg;
  }

  report(): TransformReport {
    const { store, dictionaries, ceiling, held, waiting } = this.#shared;
    return {
      transforms: namesOf(this.#settings.bits),
      open: this.#open,
      pairs: Array.from(this.#pairs.values(), (pair) => ({
        node: pair.node,
        direction: pair.direction,
        transforms: namesOf(pair.bits),
        connections: pair.connections,
        open: pair.live.size,
        levels: pair.levels(),
        ...pair.sums(),
        byTransform: sumsByTransform(namesOf(pair.bits), pair.sums()),
      })),
      store: {
        bytes: store.bytes,
        chunks: store.size,
        evictions: store.evictions,
        dictionaryBytes: dictionaries.bytes,
        heldBytes: held.taken,
        heldRefused: held.refused,
        waitingBytes: waiting.taken,
        waitingRefused: waiting.refused,
      },
      saturated: this.#load.saturated,
      levelsLowered: ceiling.lowered,
      refused: this.#refused,
      estimates: this.#estimates?.report() ?? [],
    };
  }

  #enter(direction: PairStats['direction'], node: string, bits: number, leg: TransformedLeg): void {
    const pair = this.#pair(direction, node);
    pair.connections++;
    pair.bits |= bits;
    pair.live.add(leg);
    this.#count(1);
    leg.once('close', () => {
      pair.live.delete(leg);
      addStats(pair.ended, leg.stats);
      this.#count(-1);
    });
  }

  #pair(direction: PairStats['direction'], node: string): Pair {
    const known = this.#pairs.get(`${direction} ${node}`);
    if (known !== undefined) return known;
    const kept = this.#pairs.size < MOST_PAIRS ? node : 'others';
    const name = `${direction} ${kept}`;
    const pair = this.#pairs.get(name) ?? new Pair(direction, kept);
    this.#pairs.set(name, pair);
    return pair;
  }

  #count(by: number): void {
    const before = this.bits;
    this.#open += by;
    if (this.bits !== before) this.#changed(this.bits);
  }
}

function ofKernel(socket: Socket): Required<Pick<LegOptions, 'unsent' | 'closing'>> {
  const withDescriptor = <T>(call: (fd: number) => T): T | undefined => {
    const fd = descriptorOf(socket);
    return fd === undefined ? undefined : call(fd);
  };
  return {
    unsent: () => withDescriptor(unsentBytes) ?? 0,
    closing: (how) => withDescriptor(how === 'reset' ? resetOnClose : finishOnClose),
  };
}

/** Resolves when the leg is connected, or gone. */
function untilConnected(leg: Socket): Promise<void> {
  if (!leg.connecting || leg.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    leg.once('connect', resolve);
    leg.once('close', resolve);
  });
}

/**
 * What to go on with once it is known whether a leg is transformed: itself, or the socket that it is made of; `early`: what
 * has been read meanwhile.
 */
export async function settled(
  leg: TransformedLeg,
): Promise<{ readonly leg: Socket; readonly early?: Buffer }> {
  await untilConnected(leg);
  const raw = leg.unwrap();
  if (raw === undefined) return { leg };
  return raw.read === undefined ? { leg: raw.socket } : { leg: raw.socket, early: raw.read };
}
