/**
 * One request and its response.
 *
 * ```
 *              ┌─ not for a cache ─────────────────────────────▶ forward ─▶ pass on as it comes
 *   request ───┤                  serve ──────────────────────────────────▶ answer from the store (and renew it)
 *              └─ cache.decide ───┤
 *                                 └ validate, complete, fetch ─▶ a flight under way? ─yes─▶ follow ─▶ share │ go alone
 *                                                                  └─no─▶ lead ─▶ fetch ─▶ fill, store │ pass on
 * ```
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { CacheStatus, ForwardReason } from '../../cache/cache-status.js';
import { replyFrom, type Asker, type Decision, type Reply } from '../../cache/decision.js';
import type { Fill } from '../../cache/fill.js';
import type { Flight, Outcome } from '../../cache/flight.js';
import type { ExchangeTimes } from '../../cache/freshness.js';
import { isSafe } from '../../cache/invalidation.js';
import { resourceKey, type Destination, type RequestHead } from '../../cache/key.js';
import { requestUse, type RequestUse } from '../../cache/request-directives.js';
import type { AdmissionChoice } from '../../cache/policy.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredHead, StoredResponse } from '../../cache/stored.js';
import { validators } from '../../cache/validation.js';
import { reset } from '../relay.js';
import type { Arrival } from './arrival.js';
import type { ClientConnection } from './connection.js';
import * as deliver from './deliver.js';
import { sendFromFile, streams } from './deliver-file.js';
import { sendReply } from './deliver-stored.js';
import { deliverTapped } from './deliver-tapped.js';
import { Distiller } from './distil.js';
import type { FetchClient, Forwarded } from './fetch-client.js';
import { Fetch, forward, type ExchangePorts, type Received } from './fetch.js';
import { requestHead, responseHead, transferCodingKnown } from './headers.js';
import { leaveWhenLong, mayBeLong } from './long-body.js';
import { refuse } from './refusals.js';
import type { FillSource } from './tapped-body.js';
import type { Upstream, UpstreamFailure } from './upstream.js';

type Usable = Extract<RequestUse, { kind: 'usable' }>;
type Missed = Exclude<Decision, { kind: 'serve' }>;

export class Exchange {
  readonly #ports: ExchangePorts;
  readonly #connection: ClientConnection;
  readonly #head: RequestHead;
  readonly #received: Received;
  readonly #delivery: deliver.Delivery;
  readonly #client: FetchClient;
  /** Undefined: responses go as they are. */
  readonly #distiller: Distiller | undefined;
  /** What the disk had; `null` when it had nothing, or is not to be asked again. */
  #recalled: StoredResponse | null | undefined;

  constructor(
    ports: ExchangePorts,
    connection: ClientConnection,
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    this.#ports = ports;
    this.#connection = connection;
    this.#head = requestHead(request);
    this.#received = { connection, head: this.#head, httpVersion: request.httpVersion, message: request };
    this.#delivery = { request, response, node: ports.node, stallTimeout: ports.stallTimeout };
    this.#client = this.#fetchClient();
    const { content: pipeline, authority } = connection;
    this.#distiller =
      ports.content &&
      pipeline &&
      new Distiller(ports.content, pipeline, this.#head, authority, this.#delivery);
  }

  run(): void {
    const { request } = this.#delivery;
    const refusal = refuse(this.#head, request.httpVersion);
    if (refusal !== undefined) {
      this.#connection.stop();
      deliver.reply(this.#delivery, refusal.status, refusal.text);
      return;
    }
    this.#connection.noteCredentials(this.#head);
    const { method } = this.#head;
    if (method !== 'GET' && method !== 'HEAD') this.#forward({ fwd: 'method' });
    else if (this.#connection.pinned) this.#forward({ fwd: 'bypass', detail: 'pinned' });
    else this.#useCache();
  }

  /**
   * Answers a request whose content cannot be read on, by the parser's code, and ends the connection. `false` when it is not
   * this request that broke off, or an answer is under way.
   */
  refuse(code: string): boolean {
    const { request, response } = this.#delivery;
    if (request.complete || response.destroyed || (response.headersSent && !response.writableEnded))
      return false;
    if (!response.headersSent) {
      deliver.reply(this.#delivery, 400, `the request's content cannot be understood (${code})`);
    }
    request.socket.destroySoon();
    return true;
  }

  #useCache(): void {
    const { cache } = this.#ports;
    const request = this.#head;
    const use = requestUse(request);
    const key = resourceKey(this.#destination, request);
    if (use.kind === 'bypass' || key === undefined) {
      this.#forward({ fwd: 'bypass', detail: use.kind === 'bypass' ? use.detail : 'no-key' });
      return;
    }
    const asker: Asker = { request, directives: use.directives };
    this.#showLikeness(use);
    if (this.#recalled === undefined && this.#recalls(key)) return;
    const decision = cache.decide(key, asker, this.#recalled ?? undefined);
    if (decision.kind === 'serve') {
      const { entry, reply } = decision;
      const sent = this.#answer(entry, reply);
      if (sent && reply.kind === 'full') this.#teach(use, key, asker, entry);
      if (decision.renew) this.#renew(key, asker, decision.entry);
      return;
    }
    const fwd: ForwardReason = decision.kind === 'complete' ? 'partial' : decision.fwd;
    if (use.directives.onlyIfCached) {
      // RFC 9111 section 5.2.1.7.
      deliver.reply(this.#delivery, 504, 'not cached (only-if-cached)', { hit: false, fwd });
    } else if (request.method === 'HEAD') {
      this.#forward({ fwd, renews: { key, asker, recalled: this.#recalled ?? undefined } });
    } else {
      this.#fetch(key, asker, use, decision, fwd);
    }
  }

  /** Notes for the front what is the same of all requests with these fields, whatever their target. */
  #showLikeness({ conditional, ranged, directives }: Usable): void {
    const { request, response } = this.#delivery;
    const { method, fields } = this.#head;
    const plain =
      method === 'GET' && !conditional && !ranged && !directives.noCache && !directives.onlyIfCached;
    if (!this.#connection.learning || !plain || request.httpVersion !== '1.1' || !response.shouldKeepAlive)
      return;
    if (!fields.has('authorization')) this.#connection.likeness = { head: this.#head, directives };
  }

  /** Whether the disk is asked first; then it goes on when that has answered. */
  #recalls(key: string): boolean {
    const recall = this.#ports.cache.recall(key, this.#head);
    void recall?.then((found) => {
      this.#recalled = found ?? null;
      if (!this.#gone) this.#useCache();
    });
    return recall !== undefined;
  }

  #answer(entry: StoredResponse, reply: Reply): boolean {
    const { cache } = this.#ports;
    return this.#sendEntry(entry, reply, { hit: true, ttl: cache.ttl(entry) });
  }

  /** Answers with a stored response, all of which may go as a pipeline makes it; returns whether it has gone as it is. */
  #sendEntry(entry: StoredResponse, reply: Reply, status: CacheStatus): boolean {
    const { cache } = this.#ports;
    if (streams(this.#delivery, entry, reply)) return this.#stream(entry, reply, status);
    const original = (): boolean =>
      !this.#gone && sendReply(this.#delivery, entry, reply, { age: cache.age(entry), status });
    const asItIs = reply.kind !== 'full' || entry.file !== undefined;
    if (this.#distiller === undefined || asItIs) return original();
    void this.#distiller.stored(entry, { age: () => cache.age(entry), status }, original);
    return false;
  }

  /** Answers out of a file; what is gone or damaged there is fetched like something that was never here. */
  #stream(entry: StoredResponse, reply: Reply, status: CacheStatus): false {
    const age = this.#ports.cache.age(entry);
    void sendFromFile(this.#delivery, entry, reply, { age, status }).then((sent) => {
      if (sent || this.#gone) return;
      this.#recalled = null;
      this.#useCache();
    });
    return false;
  }

  /** Notes for the front what the same bytes would be answered with, where that depends on nothing else. */
  #teach({ conditional, ranged }: Usable, key: string, asker: Asker, entry: StoredResponse): void {
    const { request, response } = this.#delivery;
    const plain = !conditional && !ranged && entry.status !== 204;
    if (!this.#connection.learning || !plain || request.httpVersion !== '1.1' || !response.shouldKeepAlive)
      return;
    this.#connection.lesson = { asker, key, destination: this.#destination, entry };
  }

  /** Renews a stale response behind the answer, unless that is being done already (RFC 5861 section 3). */
  #renew(key: string, asker: Asker, stale: StoredResponse): void {
    const { cache } = this.#ports;
    if (asker.request.method !== 'GET' || cache.flightFor(key, asker.request) !== undefined) return;
    const flight = cache.lead(key, asker, { shared: true, stale, background: true, ...this.#admission });
    new Fetch(this.#ports, this.#received, flight, 'stale', undefined);
  }

  #fetch(key: string, asker: Asker, use: Usable, decision: Missed, fwd: ForwardReason): void {
    const { cache, clock } = this.#ports;
    const { request } = asker;
    const stale = decision.kind === 'validate' ? decision.entry : undefined;
    const completion = decision.kind === 'complete' ? decision : undefined;
    const own =
      stale === undefined ? completion !== undefined : validators(stale.fields, clock.now()).length > 0;
    // Not with others: a part, a reload, an answer to credentials or to a condition that is the client's own.
    const alone = use.ranged || use.directives.noCache || request.fields.has('authorization');
    const shared = !alone && (own || !use.conditional);
    const underWay = shared ? cache.flightFor(key, request) : undefined;
    if (underWay !== undefined) this.#follow(underWay, asker, key, fwd);
    else this.#lead(cache.lead(key, asker, { shared, stale, completion, ...this.#admission }), fwd);
  }

  /** Waits for another client's fetch. */
  #follow(flight: Flight, asker: Asker, key: string, fwd: ForwardReason): void {
    const { cache, collapseWait } = this.#ports;
    const { response } = this.#delivery;
    let settled = false;
    const settle = (outcome: Outcome): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      if (this.#gone) return;
      if (outcome.kind === 'alone') {
        this.#lead(cache.lead(key, asker, { shared: false, ...this.#admission }), fwd);
        return;
      }
      cache.countCollapsed();
      const status: Forwarded = { hit: false, fwd, collapsed: true };
      if (outcome.kind === 'stored') {
        this.#sendStored(outcome.entry, status);
      } else {
        const { head, fill } = outcome;
        this.#sendFill(fill, head, head, { ...status, status: head.status });
      }
    };
    const timer = setTimeout(() => {
      settle({ kind: 'alone' });
      leave();
    }, collapseWait);
    const leave = flight.follow(asker, settle);
    response.once('close', () => {
      settled = true;
      clearTimeout(timer);
      leave();
    });
  }

  /** Goes on with a fetch that was begun for this request before there was an exchange; its events are to go to what is given. */
  takeOver(flight: Flight): FetchClient {
    this.#delivery.response.once('close', () => flight.leave());
    return this.#client;
  }

  /** Fetches, for this client and whoever follows. */
  #lead(flight: Flight, fwd: ForwardReason): void {
    new Fetch(this.#ports, this.#received, flight, fwd, this.#client);
    this.#delivery.response.once('close', () => flight.leave());
  }

  #fetchClient(): FetchClient {
    return {
      information: (info) => deliver.sendInformation(this.#delivery, info),
      fill: (fill, response, stored, status, source) => {
        if (!this.#gone) this.#sendFill(fill, response, stored, status, source);
      },
      stored: (entry, status) => {
        if (!this.#gone) this.#sendStored(entry, status);
      },
      pass: (upstream, arrival, status) => this.#passOn(upstream, arrival, status),
      failed: (failure, status) => this.#failed(failure, status),
    };
  }

  /** Answers with a content that is arriving: with `response`'s head, or, where there is one, with that to be stored. */
  #sendFill(
    fill: Fill,
    response: ResponseHead | StoredHead,
    stored: StoredHead | undefined,
    status: Forwarded,
    source?: FillSource,
  ): void {
    const { cache } = this.#ports;
    const original = (): void => {
      if (this.#gone) return;
      if (stored !== undefined) deliver.shareFill(this.#delivery, stored, fill, cache.age(stored), status);
      else if ('framing' in response)
        this.#passOnFill(fill, response, status, this.#distiller ? undefined : source);
    };
    const age = (): number | undefined => (stored === undefined ? undefined : cache.age(stored));
    if (this.#distiller === undefined) original();
    else this.#distiller.arriving(stored ?? response, fill, { age, status }, original);
  }

  /** Answers with a stored response that has just been validated, or stands in for an error. */
  #sendStored(entry: StoredResponse, status: Forwarded): void {
    const reply = replyFrom(entry, this.#head, this.#ports.clock.now());
    if (reply === undefined) deliver.reply(this.#delivery, 502, 'only a part is stored', status);
    else this.#sendEntry(entry, reply, status);
  }

  /** Passes the request on with nothing looked up; what comes back may change or renew what is stored. */
  #forward(why: {
    readonly fwd: ForwardReason;
    readonly detail?: string;
    readonly renews?: {
      readonly key: string;
      readonly asker: Asker;
      readonly recalled: StoredResponse | undefined;
    };
  }): void {
    const { cache, clock } = this.#ports;
    const { fwd, detail, renews } = why;
    const status: Forwarded = { hit: false, fwd, detail };
    let unsafe = !isSafe(this.#head.method);
    const changed = (response?: ResponseHead): void => {
      if (!unsafe) return;
      unsafe = false;
      const own = this.#connection.destination;
      cache.changed(own, this.#head, response);
      // Under whichever of the two it has been stored.
      const shared = this.#ports.hosts?.shared(own, this.#head);
      if (shared !== undefined) cache.changed(shared, this.#head, response);
    };
    // Also when it is given up or fails: the origin may have acted on it.
    this.#delivery.response.once('close', () => changed());
    const requestedAt = clock.now();
    const upstream = forward(this.#ports, this.#received, {
      information: (info) => deliver.sendInformation(this.#delivery, info),
      response: (arrival) => {
        const head = responseHead(arrival.start, this.#head.method);
        const times = { requestedAt, receivedAt: clock.now(), receivedMonotonic: clock.monotonic() };
        changed(head);
        if (renews !== undefined) cache.renewByHead(renews.key, renews.asker, head, times, renews.recalled);
        const answered = { ...status, status: head.status };
        if (!this.#storePost(arrival, head, times, answered)) this.#passOn(upstream, arrival, answered);
      },
      failed: (failure) => {
        changed();
        this.#failed(failure, status);
      },
    });
    this.#abortWithClient(upstream);
  }

  /** Stores the answer to a POST that says it stands for a later GET (RFC 9110 section 9.3.3); `false` when it does not. */
  #storePost(arrival: Arrival, head: ResponseHead, times: ExchangeTimes, status: Forwarded): boolean {
    const request = this.#head;
    const names =
      request.method === 'POST' && head.fields.has('content-location') && transferCodingKnown(head);
    const key = names ? resourceKey(this.#destination, request) : undefined;
    const use = key === undefined ? undefined : requestUse({ ...request, hasBody: false });
    if (key === undefined || use?.kind !== 'usable' || this.#gone) return false;
    const asker: Asker = { request, directives: use.directives };
    const flight = this.#ports.cache.lead(key, asker, { shared: false, ...this.#admission });
    const offer = flight.offer(head, times);
    if (offer.kind !== 'fill') return false;
    deliver.passOnFill(this.#delivery, head, offer.fill, { ...status, stored: offer.kept });
    arrival.copyTo(offer.fill, () => flight.fail());
    return true;
  }

  #passOn(upstream: Upstream, arrival: Arrival, status: Forwarded): void {
    const { message } = arrival;
    const head = responseHead(arrival.start, this.#head.method);
    if (this.#gone) {
      upstream.abort();
    } else if (!transferCodingKnown(head)) {
      upstream.abort();
      deliver.reply(this.#delivery, 502, 'the next hop used an unknown transfer coding', status);
    } else {
      this.#abortWithClient(upstream);
      if (head.framing === 'none') this.#passBodyOn(upstream, message, this.#ofHead(head), status);
      else if (!this.#distil(message, head, status)) this.#passBodyOn(upstream, message, head, status);
    }
  }

  /** An answer to HEAD says nothing of bytes that GET might not give. */
  #ofHead(head: ResponseHead): ResponseHead {
    return this.#head.method === 'HEAD' ? (this.#distiller?.withoutContent(head) ?? head) : head;
  }

  /** Whether what is not for the cache goes as a pipeline makes it. */
  #distil(message: IncomingMessage, head: ResponseHead, status: Forwarded): boolean {
    const told = { age: () => undefined, status };
    const original = (fill: Fill): void => {
      if (!this.#gone) deliver.passOnFill(this.#delivery, head, fill, status);
    };
    return this.#distiller?.passedOn(head, message, told, original) ?? false;
  }

  /** As it comes; a body that may be long, in a way in which it can leave for the kernel. */
  #passBodyOn(upstream: Upstream, message: IncomingMessage, head: ResponseHead, status: Forwarded): void {
    const { spliceAbove: least } = this.#ports;
    const long = mayBeLong(head, least);
    const chunks = long && deliver.takesChunks(this.#delivery, head) ? upstream.raw : undefined;
    if (!deliver.passOn(this.#delivery, message, head, status, chunks)) return;
    const { leg } = upstream;
    if (!long || leg === undefined) return;
    const raw = chunks?.begun === true;
    const sent = (): boolean => upstream.sent;
    const connection = this.#connection;
    leaveWhenLong({ connection, delivery: this.#delivery, head, message, leg, sent, raw, least });
  }

  /** A response in the form in which it came; `source` where all of it is to be stored. */
  #passOnFill(fill: Fill, head: ResponseHead, status: Forwarded, source: FillSource | undefined): void {
    const delivery = this.#delivery;
    const to = { connection: this.#connection, delivery, least: this.#ports.tapAbove };
    if (source !== undefined && deliverTapped(to, { fill, head, status }, source)) return;
    deliver.passOnFill(delivery, head, fill, status);
  }

  /** A response cut off by its client stops the fetch; one that was sent lets an upload go on to its end. */
  #abortWithClient(upstream: Upstream): void {
    const { response } = this.#delivery;
    response.once('close', () => {
      if (!response.writableFinished) upstream.abort();
    });
  }

  #failed(failure: UpstreamFailure, status: Forwarded): void {
    const { address, port } = this.#connection.destination;
    this.#ports.logger.debug('http-next-hop-failed', {
      address,
      port,
      code: failure.code,
      error: failure.message,
    });
    if (this.#gone) return;
    if (failure.closedIdle) {
      reset(this.#connection.socket);
      return;
    }
    const what = failure.status === 504 ? 'did not answer in time' : 'could not be reached or broke off';
    const text = `the next hop towards ${this.#connection.authority} ${what} (${failure.code})`;
    deliver.reply(this.#delivery, failure.status, text, status);
  }

  /** What the key begins with. */
  get #destination(): Destination {
    const own = this.#connection.destination;
    return this.#ports.hosts?.shared(own, this.#head) ?? own;
  }

  get #admission(): { readonly admission: AdmissionChoice | undefined } {
    return { admission: this.#connection.admission };
  }

  get #gone(): boolean {
    return this.#delivery.response.destroyed || this.#delivery.request.socket.destroyed;
  }
}
