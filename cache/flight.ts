/**
 * One fetch for one cache key, and everybody who waits for it.
 *
 * ```
 *   waiting ──offer()──▶ storable ──▶ filling ──content complete──▶ stored
 *      │                 not      ──▶ done: followers are told to fetch on their own
 *      ├─notModified()─▶ done: followers get the stored response
 *      ├─fail()────────▶ done: followers are told to fetch on their own
 *      └─nobody left───▶ done: `abandoned` stops the fetch                  (also while filling)
 * ```
 *
 * A flight does no I/O: its leader fetches and reports here.
 */
import type { Fill } from './fill.js';
import type { RequestHead } from './key.js';
import type { Directives } from './directives.js';
import type { ExchangeTimes, ResponseHead } from './rules.js';
import { freshFor } from './rules.js';
import type { StoredHead, StoredResponse } from './stored.js';
import { answers } from './stored.js';

/** What a follower is told, once. */
export type Outcome =
  | { readonly kind: 'fill'; readonly head: StoredHead; readonly fill: Fill }
  | { readonly kind: 'stored'; readonly entry: StoredResponse }
  | { readonly kind: 'alone' };

/** What the leader learns about a response: storable (and where its content goes), or not and why. */
export type Offer =
  | { readonly kind: 'fill'; readonly head: StoredHead; readonly fill: Fill }
  | { readonly kind: 'pass'; readonly reason: string };

/** What a 304 for a stored response amounts to. */
export type Update =
  | { readonly kind: 'stored'; readonly entry: StoredResponse; readonly kept: boolean }
  /** It was about something else: the stored response is gone, and the fetch must be repeated without conditions. */
  | { readonly kind: 'mismatch' };

/** A GET that wants an answer: what it says, and what it accepts. */
export interface Asker {
  readonly request: RequestHead;
  readonly directives: Directives;
}

/** What a flight needs from its cache. */
export interface FlightPort {
  monotonic(): number;
  judge(flight: Flight, response: ResponseHead, times: ExchangeTimes): Offer;
  update(flight: Flight, response: ResponseHead, times: ExchangeTimes): Update;
  landed(flight: Flight): void;
}

interface Follower {
  readonly asker: Asker;
  readonly told: (outcome: Outcome) => void;
}

const ALONE: Outcome = { kind: 'alone' };

export class Flight {
  readonly key: string;
  /** The leader's. */
  readonly request: RequestHead;
  /** The stale response being validated. */
  readonly stale: StoredResponse | undefined;
  /** What those who may follow look for. */
  readonly sharedAs: string;
  readonly #port: FlightPort;
  readonly #followers = new Set<Follower>();
  #leading = true;
  #current: Extract<Offer, { kind: 'fill' }> | undefined;
  #landed = false;
  /** Stops the fetch; set by the leader. Called at most once, when nobody wants the answer any more. */
  abandoned: () => void = () => undefined;
  /** Set when an unsafe request passed for the same key: what arrives may be what it was before. */
  outdated = false;

  constructor(port: FlightPort, what: Pick<Flight, 'key' | 'sharedAs' | 'request' | 'stale'>) {
    this.#port = port;
    this.key = what.key;
    this.sharedAs = what.sharedAs;
    this.request = what.request;
    this.stale = what.stale;
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

  /** The leader's client is gone or has been served. The fetch goes on for whoever is left. */
  leave(): void {
    this.#leading = false;
    this.#check();
  }

  /** Nobody waits and nobody reads. */
  get deserted(): boolean {
    return !this.#leading && this.#followers.size === 0 && (this.#current?.fill.readers ?? 0) === 0;
  }

  /** The response's head has arrived. */
  offer(response: ResponseHead, times: ExchangeTimes): Offer {
    const offer = this.#port.judge(this, response, times);
    if (offer.kind === 'pass') {
      this.#land();
    } else {
      this.#current = offer;
      this.#tell((asker) => this.#share(asker, offer.head, offer));
      this.#check();
    }
    return offer;
  }

  /** A 304 to the validation of {@link stale} has arrived. */
  notModified(response: ResponseHead, times: ExchangeTimes): Update {
    const update = this.#port.update(this, response, times);
    if (update.kind === 'mismatch') return update;
    const { entry, kept } = update;
    this.#tell((asker) => (kept ? this.#share(asker, entry, { kind: 'stored', entry }) : ALONE));
    this.#land();
    return update;
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
    const fresh = freshFor(head.freshness, directives, this.#port.monotonic());
    return !this.outdated && fresh && answers(head, request) ? answer : ALONE;
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
