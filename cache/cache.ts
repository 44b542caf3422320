/**
 * The HTTP cache: what can be answered from the store, what is being fetched already, what may be kept.
 *
 * It does no I/O. A caller asks {@link HttpCache.decide}; on a miss it either follows a flight that is under way or
 * leads a new one and reports what arrives.
 *
 * ```ts
 * const decision = cache.decide(key, asker);
 * if (decision.kind === 'serve') answer(decision.entry, decision.reply);
 * else if (cache.flightFor(key, request)?.follow(asker, told) === undefined) {
 *   const flight = cache.lead(key, asker, { shared: true });
 *   // fetch; then flight.offer(head, times), fill.push(chunk), fill.finish() or flight.fail()
 * }
 * ```
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.js';
import { Admission } from './admission.js';
import { nextHopHit } from './cache-status.js';
import { decide, type Asker, type Decision, type Instant } from './decision.js';
import { Fill, FillBudget } from './fill.js';
import { Flight, type Completion, type FlightPort, type Offer, type Update } from './flight.js';
import { currentAge, freshnessLeft, type ExchangeTimes } from './freshness.js';
import { cacheGroups, changesState, invalidatedGroups, namedKeys } from './invalidation.js';
import { invalidatedKey, originOf, type Destination, type RequestHead } from './key.js';
import { readContentRange, type ContentRange } from './partial.js';
import { DEFAULT_POLICY, type AdmissionChoice, type CachePolicy } from './policy.js';
import { renewed, renewedByHead, withPart, completed, completedHead } from './renewal.js';
import { SearchIndex } from './search-index.js';
import { standsInForError } from './stale.js';
import { judgeResponse, type ResponseHead } from './storable.js';
import type { StoreStats } from './store.js';
import { MemoryStore } from './store.js';
import { answers, storedHead, type StoredHead, type StoredResponse } from './stored.js';
import { variantKey } from './vary.js';

export interface CacheOptions {
  /**
   * Bytes the stored responses may take, overhead included; 0 stores nothing. Responses that are arriving take up to
   * half as many in addition.
   */
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly policy?: Partial<CachePolicy>;
}

export interface CacheStats extends StoreStats {
  /** Answered from the store without asking the next hop. */
  readonly hits: number;
  readonly misses: number;
  /** Stale responses that a 304 made fresh. */
  readonly revalidations: number;
  /** Hits on stale responses that were renewed behind the answer. */
  readonly renewals: number;
  /** Stale responses used because the next hop failed. */
  readonly rescues: number;
  /** Requests that shared the fetch of another. */
  readonly collapsed: number;
  readonly invalidations: number;
  /** Storable responses that were not stored: asked for once, or kept by the next hop. */
  readonly notAdmitted: number;
  /** Fetches under way. */
  readonly inFlight: number;
}

/** The largest share of the cache one response may take. */
const MOST_OF_CACHE = 1 / 8;
/** How long a key is fetched without collapsing after its response was not storable. */
const PASS_MS = 60_000;
const MOST_PASSED_KEYS = 8192;
/** Refusals that say something about one request only, not about others or what is stored. */
const OF_THE_REQUEST = new Set(['authorization', 'method', 'status', 'partial']);

export class HttpCache {
  readonly #clock: Clock;
  readonly #policy: CachePolicy;
  readonly #store: MemoryStore;
  readonly #maxObject: number;
  readonly #budget: FillBudget;
  #admission: Admission | undefined;
  readonly #searches: SearchIndex | undefined;
  /** Flights that others may follow, by primary key and the variant they ask for. */
  readonly #shared = new Map<string, Flight>();
  /** Every flight that may still store something, by primary key. */
  readonly #flights = new Map<string, Set<Flight>>();
  /**
   * Keys whose last response was not storable, with the time until which that is believed. Nobody should wait for
   * another's long poll only to be told to fetch alone.
   */
  readonly #passed = new LRUCache<string, number>({ max: MOST_PASSED_KEYS });
  readonly #counts = {
    hits: 0,
    misses: 0,
    revalidations: 0,
    renewals: 0,
    rescues: 0,
    collapsed: 0,
    invalidations: 0,
    notAdmitted: 0,
  };
  readonly #port: FlightPort;

  constructor({ maxBytes, clock, policy }: CacheOptions) {
    this.#clock = clock;
    this.#policy = { ...DEFAULT_POLICY, ...policy };
    this.#maxObject = Math.floor(maxBytes * MOST_OF_CACHE);
    this.#store = new MemoryStore(maxBytes, this.#maxObject);
    this.#budget = new FillBudget(Math.floor(maxBytes / 2));
    this.#searches = this.#policy.noVarySearch ? new SearchIndex() : undefined;
    this.#port = {
      monotonic: () => clock.monotonic(),
      judge: (flight, response, times) => this.#judge(flight, response, times),
      update: (flight, response, times) => this.#update(flight, response, times),
      standsIn: (stale, asker, status) => this.#standsIn(stale, asker, status),
      landed: (flight) => this.#landed(flight),
    };
  }

  /** Looks a GET or HEAD up. */
  decide(key: string, asker: Asker): Decision {
    const stored = this.#store.get(key, asker.request.fields);
    const entry = stored !== undefined && answers(stored, asker.request) ? stored : undefined;
    const missing =
      stored !== undefined ? 'miss' : this.#store.vary(key) === undefined ? 'uri-miss' : 'vary-miss';
    const instant = { now: this.#clock.now(), monotonic: this.#clock.monotonic() };
    const own = decide(entry, asker, instant, missing);
    const decision = own.kind === 'serve' ? own : this.#elsewhere(key, asker, instant, own);
    if (decision.kind === 'serve') this.#counts.hits++;
    else this.#counts.misses++;
    return decision;
  }

  /** `own`, or what can be done with a response that is stored under another query (No-Vary-Search). */
  #elsewhere(key: string, asker: Asker, instant: Instant, own: Decision): Decision {
    const other = this.#searches?.find(key);
    const entry = other && this.#store.get(other.key, asker.request.fields);
    if (other === undefined || entry === undefined || entry.pieces !== undefined) return own;
    if (!other.holds(entry.fields) || !answers(entry, asker.request)) return own;
    const decision = decide(entry, asker, instant, 'uri-miss');
    if (decision.kind === 'serve') return decision;
    return own.kind === 'fetch' && decision.kind === 'validate' ? decision : own;
  }

  /** The fetch under way that would answer this request too. */
  flightFor(key: string, request: RequestHead): Flight | undefined {
    return this.#shared.get(this.#flightKey(key, request));
  }

  /** Starts a fetch; others can follow it when `shared`. */
  lead(
    key: string,
    asker: Asker,
    options: {
      readonly shared: boolean;
      readonly stale?: StoredResponse | undefined;
      readonly completion?: Completion | undefined;
      readonly background?: boolean;
      /** What the rule of the connection says; the policy counts where it says nothing. */
      readonly admission?: AdmissionChoice | undefined;
    },
  ): Flight {
    const sharedAs = this.#flightKey(key, asker.request);
    const { stale, completion, background = false } = options;
    const admission = options.admission ? { ...this.#policy, ...options.admission } : this.#policy;
    const flight = new Flight(this.#port, { key, sharedAs, asker, stale, completion, background, admission });
    if (background) this.#counts.renewals++;
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
   * Notes the answer to an unsafe request: what it has changed is forgotten (RFC 9111 section 4.4, RFC 9875 section 3).
   * `response` is `undefined` when there was none and the origin may have acted all the same.
   */
  changed(destination: Destination, request: RequestHead, response: ResponseHead | undefined): void {
    if (response !== undefined && !changesState(request.method, response.status)) return;
    const key = invalidatedKey(destination, request);
    if (key !== undefined) this.#invalidate(key);
    if (response === undefined) return;
    for (const named of namedKeys(destination, request, response.fields)) this.#invalidate(named);
    if (key !== undefined) this.#invalidateGroups(originOf(key), invalidatedGroups(response.fields));
  }

  /** RFC 9875 section 3; also what is on its way here and may belong to one of them. */
  #invalidateGroups(origin: string, groups: readonly string[]): void {
    if (groups.length === 0) return;
    for (const group of groups) {
      for (const member of this.#store.grouped(origin, group)) this.#invalidate(member);
    }
    for (const [key, flights] of this.#flights) {
      if (originOf(key) !== origin) continue;
      for (const flight of flights) if (flight.outdate(groups)) this.#unshare(flight);
    }
  }

  /** A 200 to HEAD renews the stored response, or shows that it is no longer current (RFC 9111 section 4.3.5). */
  renewByHead(key: string, { request }: Asker, response: ResponseHead, times: ExchangeTimes): void {
    const stored = this.#store.get(key, request.fields);
    if (stored?.status !== 200 || response.status !== 200 || !answers(stored, request)) return;
    const entry = renewedByHead(stored, request, response, times, this.#policy.targets);
    if (entry === undefined) this.#store.drop(key, stored);
    else this.#put(key, entry);
  }

  /** Seconds since a response was generated or validated at the origin. */
  age(head: StoredHead): number {
    return currentAge(head.freshness, this.#clock.monotonic());
  }

  /** Seconds of freshness left; negative when stale. */
  ttl(head: StoredHead): number {
    return freshnessLeft(head.freshness, this.#clock.monotonic());
  }

  stats(): CacheStats {
    let inFlight = 0;
    for (const flights of this.#flights.values()) inFlight += flights.size;
    return { ...this.#store.stats(), ...this.#counts, inFlight };
  }

  /** Forgets a resource; what is being fetched right now may show the state before, so it is not stored either. */
  #invalidate(key: string): void {
    this.#counts.invalidations++;
    this.#store.delete(key);
    const other = this.#searches?.find(key);
    if (other !== undefined) this.#store.delete(other.key);
    for (const flight of [...(this.#flights.get(key) ?? [])]) {
      flight.outdated = true;
      this.#unshare(flight);
    }
  }

  #flightKey(key: string, request: RequestHead): string {
    const variant = variantKey(this.#store.vary(key) ?? [], request.fields);
    return `${key}\n${request.fields.has('cookie') ? 'cookie' : ''}\n${variant}`;
  }

  #judge(flight: Flight, response: ResponseHead, times: ExchangeTimes): Offer {
    const { completion, asker, key, sharedAs } = flight.plan;
    if (completion !== undefined && response.status === 206) {
      return this.#complete(flight, completion, response, times);
    }
    const verdict = judgeResponse(asker.request, response, times, this.#policy.targets);
    if (!verdict.storable) return this.#pass(flight, response.status, verdict.reason);
    flight.belongsTo(cacheGroups(response.fields));
    if (flight.outdated) return { kind: 'pass', reason: 'invalidated' };
    const length = Number(response.fields.get('content-length')?.[0] ?? 0);
    if (length > this.#maxObject) return this.#pass(flight, response.status, 'too-large');
    const refused = this.#notAdmitted(flight, response);
    if (refused !== undefined) this.#counts.notAdmitted++;
    if (refused !== undefined && !flight.followed) return { kind: 'pass', reason: refused };
    this.#passed.delete(sharedAs);
    const head = storedHead(asker.request, response, verdict, times);
    const range = response.status === 206 ? readContentRange(response.fields) : undefined;
    const kept = refused === undefined;
    const fill = this.#fill(flight, [], (content) => {
      if (kept) this.#keep(flight, head, content, range);
    });
    return { kind: 'fill', head, fill, kept, completes: false };
  }

  /** Why a storable response is not stored here. */
  #notAdmitted({ plan: { key, admission } }: Flight, response: ResponseHead): string | undefined {
    if (!admission.keepHits && nextHopHit(response.fields)) return 'kept-by-next-hop';
    if (!admission.secondRequest) return undefined;
    this.#admission ??= new Admission();
    return this.#admission.again(key) ? undefined : 'first-request';
  }

  /** The missing part of an incomplete response (RFC 9111 section 3.4). */
  #complete(flight: Flight, completion: Completion, response: ResponseHead, times: ExchangeTimes): Offer {
    const { key, asker } = flight.plan;
    const { head, before, after, kept } =
      completedHead(completion, asker.request, response, times, this.#policy.targets) ?? {};
    if (head === undefined || before === undefined || after === undefined) {
      this.#store.drop(key, completion.entry);
      return { kind: 'mismatch' };
    }
    flight.belongsTo(head.groups);
    const total = completion.entry.pieces?.total ?? 0;
    const fill = this.#fill(flight, after, (content) => {
      if (kept === true && content.length === total) this.#put(key, completed(head, content.blocks()));
    });
    for (const block of before) fill.push(block, () => undefined);
    return { kind: 'fill', head, fill, kept: kept === true, completes: true };
  }

  #pass(flight: Flight, status: number, reason: string): Offer {
    // A 304 answers a client's own condition and says nothing about what a full response would be.
    if (status === 304) return { kind: 'pass', reason };
    const { key, sharedAs, asker } = flight.plan;
    if (OF_THE_REQUEST.has(reason)) return { kind: 'pass', reason };
    this.#passed.set(sharedAs, this.#clock.monotonic() + PASS_MS);
    // Something that must not be stored has superseded what is; unless this was an error.
    if (status < 500) {
      const superseded = this.#store.get(key, asker.request.fields);
      if (superseded !== undefined) this.#store.drop(key, superseded);
    }
    return { kind: 'pass', reason };
  }

  /** A fill that ends with `tail`; `keep` is called when it is complete and has everything. */
  #fill(flight: Flight, tail: readonly Buffer[], keep: (fill: Fill) => void): Fill {
    const fill: Fill = new Fill(
      this.#maxObject,
      this.#budget,
      {
        overflowed: () => {
          this.#passed.set(flight.plan.sharedAs, this.#clock.monotonic() + PASS_MS);
          this.#unshare(flight);
        },
        abandoned: () => flight.readerLeft(),
        completed: () => {
          // Trailers may say what the header section did not; a response that needs them is not kept.
          if (!flight.outdated && !fill.overflowed && fill.trailers.length === 0) keep(fill);
          flight.land();
        },
      },
      tail,
    );
    return fill;
  }

  #keep(flight: Flight, head: StoredHead, fill: Fill, range: ContentRange | undefined): void {
    const { key, asker } = flight.plan;
    if (range === undefined) {
      this.#put(key, completed(head, fill.blocks()));
      return;
    }
    if (fill.length !== range.last - range.first + 1) return; // not what Content-Range promised
    const stored = this.#store.get(key, asker.request.fields);
    const entry = withPart(
      stored,
      head,
      { first: range.first, last: range.last, blocks: fill.blocks() },
      range.total,
    );
    if (entry !== undefined) this.#put(key, entry);
  }

  #put(key: string, entry: StoredResponse): void {
    if (this.#store.put(key, entry)) this.#searches?.note(key, entry.fields);
  }

  #update(flight: Flight, response: ResponseHead, times: ExchangeTimes): Update {
    const { key, stale, asker } = flight.plan;
    if (stale === undefined) return { kind: 'mismatch' };
    const update = renewed(stale, asker.request, response, times, this.#policy.targets);
    if (update === undefined) {
      this.#store.drop(key, stale);
      return { kind: 'mismatch' };
    }
    flight.belongsTo(update.entry.groups);
    const kept = update.storable && !flight.outdated;
    if (kept) this.#put(key, update.entry);
    else this.#store.drop(key, stale);
    this.#counts.revalidations++;
    return { kind: 'stored', entry: update.entry, kept };
  }

  #standsIn(stale: StoredResponse, { directives }: Asker, status: number | undefined): boolean {
    const { disconnectedSeconds } = this.#policy;
    const monotonic = this.#clock.monotonic();
    const stands = standsInForError(stale, directives, { status, monotonic, disconnectedSeconds });
    if (stands) this.#counts.rescues++;
    return stands;
  }

  #unshare(flight: Flight): void {
    const { sharedAs } = flight.plan;
    if (this.#shared.get(sharedAs) === flight) this.#shared.delete(sharedAs);
  }

  #landed(flight: Flight): void {
    this.#unshare(flight);
    const flights = this.#flights.get(flight.plan.key);
    flights?.delete(flight);
    if (flights?.size === 0) this.#flights.delete(flight.plan.key);
  }
}
