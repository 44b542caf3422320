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
import type { ForwardReason } from '../../cache/cache-status.js';
import { replyFrom, type Asker, type Decision, type Reply } from '../../cache/decision.js';
import type { Flight, Outcome } from '../../cache/flight.js';
import type { ExchangeTimes } from '../../cache/freshness.js';
import { isSafe } from '../../cache/invalidation.js';
import { resourceKey, type Destination, type RequestHead } from '../../cache/key.js';
import { requestUse, type RequestUse } from '../../cache/request-directives.js';
import type { AdmissionChoice } from '../../cache/policy.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { StoredResponse } from '../../cache/stored.js';
import { validators } from '../../cache/validation.js';
import { reset } from '../relay.js';
import type { ClientConnection } from './connection.js';
import * as deliver from './deliver.js';
import { sendReply } from './deliver-stored.js';
import {
  copyInto,
  Fetch,
  forward,
  type ExchangePorts,
  type FetchClient,
  type Forwarded,
  type Received,
} from './fetch.js';
import { requestHead, responseHead, transferCodingKnown } from './headers.js';
import { leaveWhenLong, mayBeLong } from './long-body.js';
import { refuse } from './refusals.js';
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
    const decision = cache.decide(key, asker);
    if (decision.kind === 'serve') {
      this.#answer(decision.entry, decision.reply);
      if (decision.renew) this.#renew(key, asker, decision.entry);
      return;
    }
    const fwd: ForwardReason = decision.kind === 'complete' ? 'partial' : decision.fwd;
    if (use.directives.onlyIfCached) {
      // RFC 9111 section 5.2.1.7.
      deliver.reply(this.#delivery, 504, 'not cached (only-if-cached)', { hit: false, fwd });
    } else if (request.method === 'HEAD') {
      this.#forward({ fwd, renews: { key, asker } });
    } else {
      this.#fetch(key, asker, use, decision, fwd);
    }
  }

  #answer(entry: StoredResponse, reply: Reply): void {
    const { cache } = this.#ports;
    sendReply(this.#delivery, entry, reply, {
      age: cache.age(entry),
      status: { hit: true, ttl: cache.ttl(entry) },
    });
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
        deliver.shareFill(this.#delivery, head, fill, cache.age(head), { ...status, status: head.status });
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

  /** Fetches, for this client and whoever follows. */
  #lead(flight: Flight, fwd: ForwardReason): void {
    new Fetch(this.#ports, this.#received, flight, fwd, this.#client);
    this.#delivery.response.once('close', () => flight.leave());
  }

  #fetchClient(): FetchClient {
    return {
      information: (info) => deliver.sendInformation(this.#delivery, info),
      fill: (fill, response, stored, status) => {
        if (this.#gone) return;
        if (stored === undefined) deliver.passOnFill(this.#delivery, response, fill, status);
        else deliver.shareFill(this.#delivery, stored, fill, this.#ports.cache.age(stored), status);
      },
      stored: (entry, status) => {
        if (!this.#gone) this.#sendStored(entry, status);
      },
      pass: (upstream, message, status) => this.#passOn(upstream, message, status),
      failed: (failure, status) => this.#failed(failure, status),
    };
  }

  /** Answers with a stored response that has just been validated, or stands in for an error. */
  #sendStored(entry: StoredResponse, status: Forwarded): void {
    const { cache, clock } = this.#ports;
    const reply = replyFrom(entry, this.#head, clock.now());
    if (reply === undefined) deliver.reply(this.#delivery, 502, 'only a part is stored', status);
    else sendReply(this.#delivery, entry, reply, { age: cache.age(entry), status });
  }

  /** Passes the request on with nothing looked up; what comes back may change or renew what is stored. */
  #forward(why: {
    readonly fwd: ForwardReason;
    readonly detail?: string;
    readonly renews?: { readonly key: string; readonly asker: Asker };
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
      response: (message) => {
        const head = responseHead(message, this.#head.method);
        const times = { requestedAt, receivedAt: clock.now(), receivedMonotonic: clock.monotonic() };
        changed(head);
        if (renews !== undefined) cache.renewByHead(renews.key, renews.asker, head, times);
        const answered = { ...status, status: head.status };
        if (!this.#storePost(message, head, times, answered)) this.#passOn(upstream, message, answered);
      },
      failed: (failure) => {
        changed();
        this.#failed(failure, status);
      },
    });
    this.#abortWithClient(upstream);
  }

  /** Stores the answer to a POST that says it stands for a later GET (RFC 9110 section 9.3.3); `false` when it does not. */
  #storePost(message: IncomingMessage, head: ResponseHead, times: ExchangeTimes, status: Forwarded): boolean {
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
    copyInto(offer.fill, message, () => flight.fail());
    return true;
  }

  #passOn(upstream: Upstream, message: IncomingMessage, status: Forwarded): void {
    const head = responseHead(message, this.#head.method);
    if (this.#gone) {
      upstream.abort();
    } else if (!transferCodingKnown(head)) {
      upstream.abort();
      deliver.reply(this.#delivery, 502, 'the next hop used an unknown transfer coding', status);
    } else {
      this.#abortWithClient(upstream);
      this.#passBodyOn(upstream, message, head, status);
    }
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
