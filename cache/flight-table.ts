/** Fetches under way: which of them others may follow, and for what nobody waits. */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.js';
import type { Flight } from './flight.js';
import { originOf } from './key.js';

/** How long a key is fetched without collapsing after its response was not storable. */
const PASS_MS = 60_000;
const MOST_PASSED_KEYS = 8192;

export class FlightTable {
  readonly #clock: Clock;
  /** Those that others may follow, by primary key and the variant they ask for. */
  readonly #shared = new Map<string, Flight>();
  /** All that may still store something, by primary key. */
  readonly #flights = new Map<string, Set<Flight>>();
  /**
   * What was not storable the last time, with the time until which that is believed. Nobody should wait for another's
   * long poll only to be told to fetch alone.
   */
  readonly #passed = new LRUCache<string, number>({ max: MOST_PASSED_KEYS });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    let size = 0;
    for (const flights of this.#flights.values()) size += flights.size;
    return size;
  }

  /** What may be followed by who asks for `sharedAs`. */
  shared(sharedAs: string): Flight | undefined {
    return this.#shared.get(sharedAs);
  }

  /** `shared`: others may follow it, unless what came the last time could not be stored or there is one to follow. */
  add(flight: Flight, shared: boolean): void {
    const { key, sharedAs } = flight.plan;
    const flights = this.#flights.get(key);
    if (flights === undefined) this.#flights.set(key, new Set([flight]));
    else flights.add(flight);
    const believed = this.#passed.get(sharedAs);
    const passes = believed !== undefined && believed > this.#clock.monotonic();
    if (shared && !passes && !this.#shared.has(sharedAs)) this.#shared.set(sharedAs, flight);
  }

  /** Nobody who comes from now on follows it. */
  unshare(flight: Flight): void {
    const { sharedAs } = flight.plan;
    if (this.#shared.get(sharedAs) === flight) this.#shared.delete(sharedAs);
  }

  landed(flight: Flight): void {
    this.unshare(flight);
    const { key } = flight.plan;
    const flights = this.#flights.get(key);
    flights?.delete(flight);
    if (flights?.size === 0) this.#flights.delete(key);
  }

  /** Its response is not storable: for a while nobody waits for such a one. */
  pass({ plan: { sharedAs } }: Flight): void {
    this.#passed.set(sharedAs, this.#clock.monotonic() + PASS_MS);
  }

  /** Its response is storable. */
  passNoMore({ plan: { sharedAs } }: Flight): void {
    this.#passed.delete(sharedAs);
  }

  /** What is being fetched for a resource shows the state before, and is not to be stored. */
  outdate(key: string): void {
    for (const flight of [...(this.#flights.get(key) ?? [])]) {
      flight.outdated = true;
      this.unshare(flight);
    }
  }

  outdateWhere(isMeant: (key: string) => boolean): void {
    for (const key of [...this.#flights.keys()]) if (isMeant(key)) this.outdate(key);
  }

  /** What may belong to one of the groups of an origin. */
  outdateGroups(origin: string, groups: readonly string[]): void {
    for (const [key, flights] of this.#flights) {
      if (originOf(key) !== origin) continue;
      for (const flight of flights) if (flight.outdate(groups)) this.unshare(flight);
    }
  }
}
