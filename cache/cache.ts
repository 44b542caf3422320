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
import type { Clock } from '../core/clock.js';
import { Admission } from './admission.js';
import type { RequestDirectives } from './cache-control.js';
import { nextHopHit } from './cache-status.js';
import { decide, freshFor, type Asker, type Decision, type Instant } from './decision.js';
import { Fill, FillBudget } from './fill.js';
import { FlightTable } from './flight-table.js';
import { Flight, type Completion, type FlightPort, type Offer, type Update } from './flight.js';
import { currentAge, freshnessLeft, type ExchangeTimes } from './freshness.js';
import { cacheGroups, changesState, invalidatedGroups, namedKeys } from './invalidation.js';
import { invalidatedKey, originOf, type Destination, type RequestHead } from './key.js';
import { readContentRange, type ContentRange } from './partial.js';
import { DEFAULT_POLICY, type AdmissionChoice, type CachePolicy } from './policy.js';
import { renewed, renewedByHead, withPart, completed, completedHead } from './renewal.js';
import { sinkFill } from './content-sink.js';
import { meansKey } from './selection.js';
import { standsInForError } from './stale.js';
import { judgeResponse, type ResponseHead } from './storable.js';
import type { DiskStore } from './disk/store.js';
import type { Selection } from './store-contract.js';
import { MemoryStore } from './store.js';
import { answers, storedHead, type StoredHead, type StoredResponse } from './stored.js';
import { Tiers, type Listed, type TierStats } from './tiers.js';
import { variantKey } from './vary.js';

export interface CacheOptions {
  /**
   * Bytes the stored responses may take, overhead included; 0 stores nothing. Responses that are arriving take up to
   * half as many in addition.
   */
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly policy?: Partial<CachePolicy>;
  /** Where responses are kept besides, also those that are too large for memory. */
  readonly disk?: DiskStore | undefined;
}

export interface CacheStats extends TierStats {
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
/** What is held in memory of a response that is known to be too large for it, before it is stored as it comes. */
const STREAM_BYTES = 64 * 1024;
/** A renewed response is written to the disk when it is fresh for so long. */
const WORTH_WRITING_SECONDS = 10;
/** Refusals that say something about one request only, not about others or what is stored. */
const OF_THE_REQUEST = new Set(['authorization', 'method', 'status', 'partial']);

export class HttpCache {
  readonly #clock: Clock;
  readonly #policy: CachePolicy;
  readonly #store: MemoryStore;
  readonly #tiers: Tiers;
  readonly #maxObject: number;
  readonly #budget: FillBudget;
  #admission: Admission | undefined;
  readonly #flights: FlightTable;
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

  constructor({ maxBytes, clock, policy, disk }: CacheOptions) {
    this.#clock = clock;
    this.#flights = new FlightTable(clock);
    this.#policy = { ...DEFAULT_POLICY, ...policy };
    this.#maxObject = Math.floor(maxBytes * MOST_OF_CACHE);
    this.#store = new MemoryStore(maxBytes, this.#maxObject);
    this.#budget = new FillBudget(Math.floor(maxBytes / 2));
    this.#tiers = new Tiers(this.#store, disk, this.#policy.noVarySearch);
    this.#port = {
      monotonic: () => clock.monotonic(),
      judge: (flight, response, times) => this.#judge(flight, response, times),
      update: (flight, response, times) => this.#update(flight, response, times),
      standsIn: (stale, asker, status) => this.#standsIn(stale, asker, status),
      unshared: (flight) => this.#flights.unshare(flight),
      landed: (flight) => this.#flights.landed(flight),
    };
  }

  /**
   * What only the disk has for a request, once it is read; `undefined` when there is nothing to wait for. It comes into memory
   * unless it is to be streamed; what is given goes to {@link HttpCache.decide}.
   */
  recall(key: string, { fields }: RequestHead): Promise<StoredResponse | undefined> | undefined {
    return this.#tiers.recall(key, fields);
  }

  /** Whether {@link HttpCache.recall} would have to be waited for. */
  recalls(key: string, { fields }: RequestHead): boolean {
    return this.#tiers.recalls(key, fields);
  }

  /** Looks a GET or HEAD up; `recalled` is what {@link HttpCache.recall} gave. */
  decide(key: string, asker: Asker, recalled?: StoredResponse): Decision {
    const decision = this.preview(key, asker, recalled);
    this.count(decision);
    return decision;
  }

  /** Notes that a decision is carried out. */
  count(decision: Decision): void {
    if (decision.kind === 'serve') this.#counts.hits++;
    else this.#counts.misses++;
  }

  /** What {@link HttpCache.decide} gives, uncounted. */
  preview(key: string, asker: Asker, recalled?: StoredResponse): Decision {
    const stored = this.#store.get(key, asker.request.fields) ?? recalled;
    const entry = stored !== undefined && answers(stored, asker.request) ? stored : undefined;
    const missing =
      stored !== undefined ? 'miss' : this.#store.vary(key) === undefined ? 'uri-miss' : 'vary-miss';
    const instant = { now: this.#clock.now(), monotonic: this.#clock.monotonic() };
    const own = decide(entry, asker, instant, missing);
    return own.kind === 'serve' ? own : this.#elsewhere(key, asker, instant, own);
  }

  /** `own`, or what can be done with a response that is stored under another query (No-Vary-Search). */
  #elsewhere(key: string, asker: Asker, instant: Instant, own: Decision): Decision {
    const entry = this.#tiers.elsewhere(key, asker.request);
    if (entry === undefined) return own;
    const decision = decide(entry, asker, instant, 'uri-miss');
    if (decision.kind === 'serve') return decision;
    return own.kind === 'fetch' && decision.kind === 'validate' ? decision : own;
  }

  /**
   * Where a repetition of this request, which was answered with all of `entry`, finds the same without a decision; `undefined`
   * when its answer may be another one although nothing has changed here.
   */
  placeOf(key: string, entry: StoredResponse, { request, directives }: Asker): string | undefined {
    const fresh = freshFor(entry, directives, this.#clock.monotonic());
    if (!fresh || entry.pieces !== undefined) return undefined;
    const place = this.#store.placeOf(key, entry, request.fields);
    // What stands in for it under another query (No-Vary-Search) has its place there.
    return place !== undefined && this.#store.at(place) === entry ? place : undefined;
  }

  /** What stands at a place of {@link HttpCache.placeOf} while it is fresh for such a request. Counts as a use. */
  again(place: string, directives: RequestDirectives, monotonic: number): StoredResponse | undefined {
    const entry = this.#store.at(place);
    return entry !== undefined && freshFor(entry, directives, monotonic) ? entry : undefined;
  }

  /** Notes that what {@link HttpCache.again} gave was the answer. */
  countHit(): void {
    this.#counts.hits++;
  }

  /** The fetch under way that would answer this request too. */
  flightFor(key: string, request: RequestHead): Flight | undefined {
    return this.#flights.shared(this.#flightKey(key, request));
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
    this.#flights.add(flight, options.shared);
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
      this.#tiers.disk?.deleteGroup(origin, group);
    }
    this.#flights.outdateGroups(origin, groups);
  }

  /** A 200 to HEAD renews the stored response, or shows that it is no longer current (RFC 9111 section 4.3.5). */
  renewByHead(
    key: string,
    { request }: Asker,
    response: ResponseHead,
    times: ExchangeTimes,
    recalled?: StoredResponse,
  ): void {
    const stored = this.#store.get(key, request.fields) ?? recalled;
    if (stored?.status !== 200 || response.status !== 200 || !answers(stored, request)) return;
    const entry = renewedByHead(stored, request, response, times, this.#policy.targets);
    if (entry === undefined) this.#tiers.drop(key, stored);
    else this.#tiers.put(key, entry);
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
    return { ...this.#tiers.stats(), ...this.#counts, inFlight: this.#flights.size };
  }

  /** What a selection means, wherever it is stored; entries may come without their content. */
  list(selection: Selection): AsyncGenerator<Listed> {
    return this.#tiers.list(selection);
  }

  /**
   * Forgets the resources that a selection means, all their variants, and what is being fetched for them. Gives their keys as they
   * go; at its end they are off the disk, too.
   */
  async *purge(selection: Selection): AsyncGenerator<string> {
    // What is under way has no tags yet: it may be meant.
    this.#flights.outdateWhere((key) => meansKey(selection, key));
    const { disk } = this.#tiers;
    disk?.overtake(selection);
    await disk?.caughtUp();
    const gone = new Set<string>();
    for await (const { key } of this.list(selection)) {
      if (gone.has(key)) continue;
      gone.add(key);
      this.#invalidate(key);
      yield key;
    }
    await disk?.caughtUp();
  }

  /** Forgets a resource; what is being fetched right now may show the state before, so it is not stored either. */
  #invalidate(key: string): void {
    this.#counts.invalidations++;
    this.#tiers.delete(key);
    this.#flights.outdate(key);
  }

  #flightKey(key: string, request: RequestHead): string {
    const variant = variantKey(this.#store.vary(key) ?? [], request.fields);
    return `${key}\n${request.fields.has('cookie') ? 'cookie' : ''}\n${variant}`;
  }

  #judge(flight: Flight, response: ResponseHead, times: ExchangeTimes): Offer {
    const { completion, asker } = flight.plan;
    if (completion !== undefined && response.status === 206) {
      return this.#complete(flight, completion, response, times);
    }
    const verdict = judgeResponse(asker.request, response, times, this.#policy.targets);
    if (!verdict.storable) return this.#pass(flight, response.status, verdict.reason);
    flight.belongsTo(cacheGroups(response.fields));
    if (flight.outdated) return { kind: 'pass', reason: 'invalidated' };
    const length = Number(response.fields.get('content-length')?.[0] ?? 0);
    const large = length > this.#maxObject;
    const range = response.status === 206 ? readContentRange(response.fields) : undefined;
    const room = range === undefined ? this.#tiers.room : 0;
    if (large && length > room) return this.#pass(flight, response.status, 'too-large');
    const refused = this.#notAdmitted(flight, response);
    if (refused !== undefined) this.#counts.notAdmitted++;
    if (refused !== undefined && !flight.followed) return { kind: 'pass', reason: refused };
    this.#flights.passNoMore(flight);
    const head = storedHead(asker.request, response, verdict, times);
    const kept = refused === undefined;
    const fill = this.#fill(flight, {
      limit: large ? STREAM_BYTES : this.#maxObject,
      streamed: kept && range === undefined ? head : undefined,
      keep: (content) => {
        if (kept) this.#keep(flight, head, content, range);
      },
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
      this.#tiers.drop(key, completion.entry);
      return { kind: 'mismatch' };
    }
    flight.belongsTo(head.groups);
    const total = completion.entry.pieces?.total ?? 0;
    const fill = this.#fill(flight, {
      tail: after,
      keep: (content) => {
        if (kept === true && content.length === total)
          this.#tiers.put(key, completed(head, content.blocks()));
      },
    });
    for (const block of before) fill.push(block, () => undefined);
    return { kind: 'fill', head, fill, kept: kept === true, completes: true };
  }

  #pass(flight: Flight, status: number, reason: string): Offer {
    // A 304 answers a client's own condition and says nothing about what a full response would be.
    if (status === 304) return { kind: 'pass', reason };
    const { key, asker } = flight.plan;
    if (OF_THE_REQUEST.has(reason)) return { kind: 'pass', reason };
    this.#flights.pass(flight);
    // Something that must not be stored has superseded what is; unless this was an error.
    if (status < 500) this.#tiers.dropChosen(key, asker.request.fields);
    return { kind: 'pass', reason };
  }

  /**
   * A fill that ends with `tail`; `keep` is called when it is complete and has everything. What gets too large for memory goes on
   * to the disk under the head `streamed`.
   */
  #fill(
    flight: Flight,
    plan: {
      readonly limit?: number;
      readonly tail?: readonly Buffer[];
      readonly streamed?: StoredHead | undefined;
      readonly keep: (fill: Fill) => void;
    },
  ): Fill {
    const storable = (): boolean => !flight.outdated && fill.trailers.length === 0;
    const fill: Fill = new Fill(
      plan.limit ?? this.#maxObject,
      this.#budget,
      {
        overflowed: () => {
          this.#flights.unshare(flight);
          if (plan.streamed !== undefined && this.#stream(flight, fill, plan.streamed, storable)) return;
          this.#flights.pass(flight);
        },
        abandoned: () => flight.readerLeft(),
        completed: () => {
          // Trailers may say what the header section did not; a response that needs them is not kept.
          if (!fill.overflowed && storable()) plan.keep(fill);
          flight.land();
        },
      },
      plan.tail ?? [],
    );
    return fill;
  }

  /** Stores what is too large for memory while it comes; `false` when nothing does. */
  #stream(flight: Flight, fill: Fill, head: StoredHead, storable: () => boolean): boolean {
    const writer = flight.outdated ? undefined : this.#tiers.disk?.begin(flight.plan.key, head);
    if (writer === undefined) return false;
    sinkFill(fill, writer, storable);
    return true;
  }

  #keep(flight: Flight, head: StoredHead, fill: Fill, range: ContentRange | undefined): void {
    const { key, asker } = flight.plan;
    if (range === undefined) {
      this.#tiers.put(key, completed(head, fill.blocks()));
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
    if (entry !== undefined) this.#tiers.put(key, entry);
  }

  #update(flight: Flight, response: ResponseHead, times: ExchangeTimes): Update {
    const { key, stale, asker } = flight.plan;
    if (stale === undefined) return { kind: 'mismatch' };
    const update = renewed(stale, asker.request, response, times, this.#policy.targets);
    if (update === undefined) {
      this.#tiers.drop(key, stale);
      return { kind: 'mismatch' };
    }
    flight.belongsTo(update.entry.groups);
    const kept = update.storable && !flight.outdated;
    if (kept) this.#keepRenewed(key, update.entry);
    else this.#tiers.drop(key, stale);
    this.#counts.revalidations++;
    return { kind: 'stored', entry: update.entry, kept };
  }

  /** What is fresh for a moment only is not written again: after a restart it would be validated anyway. */
  #keepRenewed(key: string, entry: StoredResponse): void {
    if (this.ttl(entry) >= WORTH_WRITING_SECONDS) this.#tiers.put(key, entry);
    else if (entry.file === undefined) this.#tiers.remember(key, entry);
  }

  #standsIn(stale: StoredResponse, { directives }: Asker, status: number | undefined): boolean {
    const { disconnectedSeconds } = this.#policy;
    const monotonic = this.#clock.monotonic();
    const stands = standsInForError(stale, directives, { status, monotonic, disconnectedSeconds });
    if (stands) this.#counts.rescues++;
    return stands;
  }
}
