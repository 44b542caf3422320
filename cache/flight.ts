/**
 * One fetch for one cache key, and everybody who waits for it.
 *
 * ```
 *   waiting ──offer()──▶ storable ──▶ filling ──content complete──▶ stored
 *      │                 not      ──▶ done: followers are told to fetch on their own
 *      ├─notModified()─▶ done: followers get the stored response
 *      ├─rescue()──────▶ done: followers get the stale response, where it stands in for the error
 *      ├─fail()────────▶ done: followers are told to fetch on their own
 *      └─nobody left───▶ done: `abandoned` stops the fetch                  (also while filling)
 * ```
 *
 * A flight does no I/O: its leader fetches and reports here.
 */
import { freshFor, type Asker } from './decision.js';
import type { Fill } from './fill.js';
import type { ExchangeTimes } from './freshness.js';
import type { ByteRange } from './partial.js';
import type { AdmissionPolicy } from './policy.js';
import type { ResponseHead } from './storable.js';
import { answersAlso, type StoredHead, type StoredResponse } from './stored.js';

/** What a follower is told, once. */
export type Outcome =
  | { readonly kind: 'fill'; readonly head: StoredHead; readonly fill: Fill }
  | { readonly kind: 'stored'; readonly entry: StoredResponse }
  | { readonly kind: 'alone' };

/** What the leader learns about a response. */
export type Offer =
  /** Its content goes into `fill`, from which it is stored at its end if it is `kept`. */
  | {
      readonly kind: 'fill';
      readonly head: StoredHead;
      readonly fill: Fill;
      readonly kept: boolean;
      /** The response is the missing part: clients get `head` and what `fill` has, which is everything. */
      readonly completes: boolean;
    }
  | { readonly kind: 'pass'; readonly reason: string }
  /** It does not fit what is stored, which is gone: the fetch must be repeated in full. */
  | { readonly kind: 'mismatch' };

/** What a 304 for a stored response amounts to. */
export type Update =
  | { readonly kind: 'stored'; readonly entry: StoredResponse; readonly kept: boolean }
  /** It was about something else: the stored response is gone, and the fetch must be repeated without conditions. */
  | { readonly kind: 'mismatch' };

/** An incomplete response, and the part of it that is fetched. */
export interface Completion {
  readonly entry: StoredResponse;
  readonly gap: ByteRange;
}

/** What a flight needs from its cache. */
export interface FlightPort {
  monotonic(): number;
  judge(flight: Flight, response: ResponseHead, times: ExchangeTimes): Offer;
  update(flight: Flight, response: ResponseHead, times: ExchangeTimes): Update;
  /** Whether the stale response stands in for an error; `status` is `undefined` when there was no answer at all. */
  standsIn(stale: StoredResponse, asker: Asker, status: number | undefined): boolean;
  /** Nobody else may follow it. */
  unshared(flight: Flight): void;
  landed(flight: Flight): void;
}

interface Follower {
  readonly asker: Asker;
  readonly told: (outcome: Outcome) => void;
}

export interface FlightPlan {
  readonly key: string;
  /** What those who may follow look for. */
  readonly sharedAs: string;
  /** The leader's, whose request is sent. */
  readonly asker: Asker;
  /** The stale response: validated, if it can be, and used in place of an error. */
  readonly stale: StoredResponse | undefined;
  readonly completion: Completion | undefined;
  /** Nobody waits for it: it goes on to its end on its own. */
  readonly background: boolean;
  readonly admission: AdmissionPolicy;
}

/** Groups that are remembered of a flight; beyond them it is taken to be of one that was invalidated. */
const MOST_GROUPS = 256;

const ALONE: Outcome = { kind: 'alone' };

export class Flight {
  readonly plan: FlightPlan;
  readonly #port: FlightPort;
  readonly #followers = new Set<Follower>();
  #leading = true;
  #current: Extract<Offer, { kind: 'fill' }> | undefined;
  #landed = false;
  #groups: readonly string[] = [];
  /** Groups that were invalidated since it began. */
  readonly #invalidated = new Set<string>();
  #goesOn = false;
  /** Stops the fetch; set by the leader. Called at most once, when nobody wants the answer any more. */
  abandoned: () => void = () => undefined;
  /** Set when an unsafe request passed for the same key: what arrives may be what it was before. */
  outdated = false;

  constructor(port: FlightPort, plan: FlightPlan) {
    this.#port = port;
    this.plan = plan;
  }

  /** Whether somebody waits besides the leader. */
  get followed(): boolean {
    return this.#followers.size > 0;
  }

  /**
   * Waits for this flight's answer; `told` is called once, maybe at once. Returns what takes the follower out again
   * while it has not been told.
   */
  follow(asker: Asker, told: (outcome: Outcome) => void): () => void {
    const follower: Follower = { asker, told };
    if (this.#landed) told(ALONE);
    else if (this.#current !== undefined) told(this.#share(asker, this.#current.head, this.#current));
    else this.#followers.add(follower);
    return () => {
      if (this.#followers.delete(follower)) this.#check();
    };
  }

  /** The response belongs to these groups (RFC 9875). */
  belongsTo(groups: readonly string[]): void {
    this.#groups = groups;
    if (groups.some((group) => this.#invalidated.has(group))) this.outdated = true;
  }

  /** Notes that groups of its origin are invalid now; whether that makes it outdated already. */
  outdate(groups: readonly string[]): boolean {
    for (const group of groups) this.#invalidated.add(group);
    if (this.#invalidated.size > MOST_GROUPS || groups.some((group) => this.#groups.includes(group))) {
      this.outdated = true;
    }
    return this.outdated;
  }

  /** The leader's client is gone or has been served. The fetch goes on for whoever is left. */
  leave(): void {
    this.#leading = false;
    this.#check();
  }

  /** The content comes by a way of its own, whoever waits for it, and not reliably enough for others to join. */
  goOnUnshared(): void {
    this.#goesOn = true;
    this.#port.unshared(this);
  }

  /** Nobody waits and nobody reads. */
  get deserted(): boolean {
    if (this.plan.background || this.#goesOn || this.#leading || this.#followers.size > 0) return false;
    return (this.#current?.fill.readers ?? 0) === 0;
  }

  /** The response's head has arrived. */
  offer(response: ResponseHead, times: ExchangeTimes): Offer {
    const offer = this.#port.judge(this, response, times);
    if (offer.kind === 'pass') {
      this.#land();
    } else if (offer.kind === 'fill') {
      this.#current = offer;
      this.#tell((asker) => this.#share(asker, offer.head, offer));
      this.#check();
    }
    return offer;
  }

  /** A 304 to the validation of the stale response has arrived. */
  notModified(response: ResponseHead, times: ExchangeTimes): Update {
    const update = this.#port.update(this, response, times);
    if (update.kind === 'mismatch') return update;
    const { entry, kept } = update;
    this.#tell((asker) => (kept ? this.#share(asker, entry, { kind: 'stored', entry }) : ALONE));
    this.#land();
    return update;
  }

  /**
   * There was no answer, or one with an error status. Gives the stale response if that stands in for it at the leader's;
   * then the flight is over, and followers get it where it stands in at theirs.
   */
  rescue(status: number | undefined): StoredResponse | undefined {
    const { stale, asker } = this.plan;
    if (stale === undefined || this.outdated || !this.#port.standsIn(stale, asker, status)) return undefined;
    this.#tell((other) =>
      answersAlso(stale, other.request) && this.#port.standsIn(stale, other, status)
        ? { kind: 'stored', entry: stale }
        : ALONE,
    );
    this.#land();
    return stale;
  }

  /** The fetch failed before or while the content came. */
  fail(): void {
    this.#land();
    this.#current?.fill.fail();
  }

  /** The content is complete, or will not be stored any more: later askers do not find this flight. */
  land(): void {
    this.#land();
  }

  /** Called when a reader left. */
  readerLeft(): void {
    this.#check();
  }

  /** `answer` if it answers this asker too. */
  #share({ request, directives }: Asker, head: StoredHead, answer: Outcome): Outcome {
    const fresh = freshFor(head, directives, this.#port.monotonic());
    return !this.outdated && fresh && answersAlso(head, request) ? answer : ALONE;
  }

  #tell(outcome: (asker: Asker) => Outcome): void {
    const followers = [...this.#followers];
    this.#followers.clear();
    for (const { asker, told } of followers) told(outcome(asker));
  }

  #land(): void {
    if (this.#landed) return;
    this.#landed = true;
    this.#port.landed(this);
    this.#tell(() => ALONE);
  }

  #check(): void {
    if (!this.deserted || this.#landed) return;
    this.#land();
    this.abandoned();
  }
}
