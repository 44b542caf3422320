/**
 * The HTTP cache: what can be answered from the store, what is being fetched already, what may be kept.
 *
 * It does no I/O. A caller asks {@link HttpCache.find}; on a miss it either follows a flight that is under way or
 * leads a new one and reports what arrives.
 *
 * ```ts
 * const found = cache.find(key, asker);
 * if (found.kind === 'fresh') answer(found.entry);
 * else if (cache.flightFor(key, request)?.follow(asker, told) === undefined) {
 *   const flight = cache.lead(key, request, { shared: true });
 *   // fetch; then flight.offer(head, times), fill.push(chunk), fill.finish() or flight.fail()
 * }
 * ```
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.js';
import type { Directives } from './directives.js';
import { Fill, FillBudget } from './fill.js';
import { Flight, type Asker, type FlightPort, type Offer, type Update } from './flight.js';
import type { RequestHead } from './key.js';
import { variantKey } from './key.js';
import type { ExchangeTimes, ResponseHead } from './rules.js';
import { currentAge, freshFor, judgeResponse } from './rules.js';
import type { StoreStats } from './store.js';
import { MemoryStore } from './store.js';
import type { StoredHead, StoredResponse } from './stored.js';
import { answers, storedHead, updatedBy } from './stored.js';

export interface CacheOptions {
  /**
   * Bytes the stored responses may take, overhead included; 0 stores nothing. Responses that are arriving take up to
   * half as many in addition.
   */
  readonly maxBytes: number;
  readonly clock: Clock;
}

export interface CacheStats extends StoreStats {
  /** Answered from the store without asking the next hop. */
  readonly hits: number;
  readonly misses: number;
  /** Stale responses that a 304 made fresh. */
  readonly revalidations: number;
  /** Requests that shared the fetch of another. */
  readonly collapsed: number;
  readonly invalidations: number;
  /** Fetches under way. */
  readonly inFlight: number;
}

export type Found =
  | { readonly kind: 'fresh'; readonly entry: StoredResponse }
  /** Stored, but too old for this request, or a reload was asked for. */
  | { readonly kind: 'stale'; readonly entry: StoredResponse }
  | { readonly kind: 'none'; readonly reason: 'uri-miss' | 'vary-miss' };

/** The largest share of the cache one response may take. */
const MOST_OF_CACHE = 1 / 8;
/** How long a key is fetched without collapsing after its response was not storable. */
const PASS_MS = 60_000;
const MOST_PASSED_KEYS = 8192;

export class HttpCache {
  readonly #clock: Clock;
  readonly #store: MemoryStore;
  readonly #maxObject: number;
  readonly #budget: FillBudget;
  /** Flights that others may follow, by primary key and the variant they ask for. */
  readonly #shared = new Map<string, Flight>();
  /** Every flight that may still store something, by primary key. */
  readonly #flights = new Map<string, Set<Flight>>();
  /**
   * Keys whose last response was not storable, with the time until which that is believed. Nobody should wait for
   * another's long poll only to be told to fetch alone.
   */
  readonly #passed = new LRUCache<string, number>({ max: MOST_PASSED_KEYS });
  readonly #counts = { hits: 0, misses: 0, revalidations: 0, collapsed: 0, invalidations: 0 };
  readonly #port: FlightPort;

  constructor({ maxBytes, clock }: CacheOptions) {
    this.#clock = clock;
    this.#maxObject = Math.floor(maxBytes * MOST_OF_CACHE);
    this.#store = new MemoryStore(maxBytes, this.#maxObject);
    this.#budget = new FillBudget(Math.floor(maxBytes / 2));
    this.#port = {
      monotonic: () => clock.monotonic(),
      judge: (flight, response, times) => this.#judge(flight, response, times),
      update: (flight, response, times) => this.#update(flight, response, times),
      landed: (flight) => this.#landed(flight),
    };
  }

  /** Looks a GET or HEAD up. */
  find(key: string, { request, directives }: Asker): Found {
    const stored = this.#store.get(key, request.fields);
    const entry = stored !== undefined && answers(stored, request) ? stored : undefined;
    if (entry !== undefined && freshFor(entry.freshness, directives, this.#clock.monotonic())) {
      this.#counts.hits++;
      return { kind: 'fresh', entry };
    }
    this.#counts.misses++;
    if (entry !== undefined) return { kind: 'stale', entry };
    return { kind: 'none', reason: this.#store.vary(key) === undefined ? 'uri-miss' : 'vary-miss' };
  }

  /** The fetch under way that would answer this request too. */
  flightFor(key: string, request: RequestHead): Flight | undefined {
    return this.#shared.get(this.#flightKey(key, request));
  }

  /** Starts a fetch. Others can follow it when `shared`; `stale` is the response it validates. */
  lead(
    key: string,
    request: RequestHead,
    options: { shared: boolean; stale?: StoredResponse | undefined },
  ): Flight {
    const sharedAs = this.#flightKey(key, request);
    const flight = new Flight(this.#port, { key, sharedAs, request, stale: options.stale });
    const flights = this.#flights.get(key);
    if (flights === undefined) this.#flights.set(key, new Set([flight]));
    else flights.add(flight);
    const believed = this.#passed.get(sharedAs);
    const passes = believed !== undefined && believed > this.#clock.monotonic();
    if (options.shared && !passes && !this.#shared.has(sharedAs)) this.#shared.set(sharedAs, flight);
    return flight;
  }

  /** Notes that a request was answered by another's fetch. */
  countCollapsed(): void {
    this.#counts.collapsed++;
  }

  /**
   * Forgets a resource because an unsafe request passed (RFC 9111 section 4.4). What is being fetched right now may show
   * the state before it, so it will not be stored either.
   */
  invalidate(key: string): void {
    this.#counts.invalidations++;
    this.#store.delete(key);
    for (const flight of [...(this.#flights.get(key) ?? [])]) {
      flight.outdated = true;
      this.#unshare(flight);
    }
  }

  /** Seconds since a response was generated or validated at the origin. */
  age(head: StoredHead): number {
    return currentAge(head.freshness, this.#clock.monotonic());
  }

  /** Whether a response answers a request with these directives without validation. */
  fresh(head: StoredHead, directives: Directives): boolean {
    return freshFor(head.freshness, directives, this.#clock.monotonic());
  }

  stats(): CacheStats {
    let inFlight = 0;
    for (const flights of this.#flights.values()) inFlight += flights.size;
    return { ...this.#store.stats(), ...this.#counts, inFlight };
  }

  #flightKey(key: string, request: RequestHead): string {
    const variant = variantKey(this.#store.vary(key) ?? [], request.fields);
    return `${key}\n${request.fields.has('cookie') ? 'cookie' : ''}\n${variant}`;
  }

  #judge(flight: Flight, response: ResponseHead, times: ExchangeTimes): Offer {
    const verdict = judgeResponse(flight.request, response, times);
    if (!verdict.storable) return this.#pass(flight, response.status, verdict.reason);
    if (flight.outdated) return { kind: 'pass', reason: 'invalidated' };
    const length = Number(response.fields.get('content-length')?.[0] ?? 0);
    if (length > this.#maxObject) return this.#pass(flight, response.status, 'too-large');
    this.#passed.delete(flight.sharedAs);
    const head = storedHead(flight.request, response, verdict, times);
    return { kind: 'fill', head, fill: this.#fill(flight, head) };
  }

  #pass(flight: Flight, status: number, reason: string): Offer {
    // A 304 answers a client's own condition and says nothing about what a full response would be.
    if (status === 304) return { kind: 'pass', reason };
    this.#passed.set(flight.sharedAs, this.#clock.monotonic() + PASS_MS);
    // Something that must not be stored has superseded what is; unless this was an error, or somebody's own page.
    if (status < 500 && reason !== 'cookie') this.#store.delete(flight.key);
    return { kind: 'pass', reason };
  }

  #fill(flight: Flight, head: StoredHead): Fill {
    const fill: Fill = new Fill(this.#maxObject, this.#budget, {
      overflowed: () => {
        this.#passed.set(flight.sharedAs, this.#clock.monotonic() + PASS_MS);
        this.#unshare(flight);
      },
      abandoned: () => flight.readerLeft(),
      completed: () => {
        // Trailers may say what the header section did not; a response that needs them is not kept.
        if (!flight.outdated && !fill.overflowed && fill.trailers.length === 0) {
          this.#store.put(flight.key, { ...head, body: fill.blocks(), bodyLength: fill.length });
        }
        flight.land();
      },
    });
    return fill;
  }

  #update(flight: Flight, response: ResponseHead, times: ExchangeTimes): Update {
    const { stale } = flight;
    const merged = stale && updatedBy(stale, response);
    if (stale === undefined || merged === undefined) {
      if (stale !== undefined) this.#store.drop(flight.key, stale);
      return { kind: 'mismatch' };
    }
    const verdict = judgeResponse(flight.request, merged, times);
    const validatedNow = { lifetime: 0, initialAge: 0, receivedMonotonic: times.receivedMonotonic };
    const judged = verdict.storable ? verdict : { ...stale, freshness: validatedNow };
    const entry: StoredResponse = {
      ...storedHead(flight.request, merged, judged, times),
      body: stale.body,
      bodyLength: stale.bodyLength,
    };
    const kept = verdict.storable && !flight.outdated;
    if (kept) this.#store.put(flight.key, entry);
    else this.#store.drop(flight.key, stale);
    this.#counts.revalidations++;
    return { kind: 'stored', entry, kept };
  }

  #unshare(flight: Flight): void {
    if (this.#shared.get(flight.sharedAs) === flight) this.#shared.delete(flight.sharedAs);
  }

  #landed(flight: Flight): void {
    this.#unshare(flight);
    const flights = this.#flights.get(flight.key);
    flights?.delete(flight);
    if (flights?.size === 0) this.#flights.delete(flight.key);
  }
}
