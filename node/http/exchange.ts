/**
 * One request and its response.
 *
 * ```
 *              ┌─ not for a cache ───────────────────────────▶ forward ─▶ pass on as it comes
 *   request ───┤                 fresh ───────────────────────────────▶ answer from the store
 *              └─ cache.find ────┤
 *                                └ stale, none ─▶ a flight under way? ─yes─▶ follow ─▶ share │ go alone
 *                                                     └─no─▶ lead ─▶ fetch ─▶ fill, store │ pass on
 * ```
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpCache } from '../../cache/cache.js';
import type { Asker, Flight, Outcome } from '../../cache/flight.js';
import { invalidatedKey, resourceKey, type RequestHead } from '../../cache/key.js';
import { requestUse } from '../../cache/request-rules.js';
import type { ExchangeTimes, ResponseHead } from '../../cache/rules.js';
import { evaluateConditions, validators, type StoredResponse } from '../../cache/stored.js';
import type { Clock } from '../../core/clock.js';
import type { Logger } from '../../core/log.js';
import { reset } from '../relay.js';
import type { ClientConnection } from './connection.js';
import * as deliver from './deliver.js';
import { requestHead, requestHeaders, responseHead, transferCodingKnown } from './headers.js';
import type { CacheStatus, ForwardReason, NodeIdentity } from './headers.js';
import type { LegPool } from './leg-pool.js';
import { leaveWhenLong, mayBeLong } from './long-body.js';
import { Upstream, type UpstreamFailure, type UpstreamHandlers } from './upstream.js';

/** What every exchange of a service uses. */
export interface ExchangePorts {
  readonly cache: HttpCache;
  readonly pool: LegPool;
  readonly node: NodeIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds; see {@link UpstreamRequest.responseTimeout}. */
  readonly responseTimeout: number;
  /** Milliseconds a request waits for the head of another's fetch before it fetches on its own. */
  readonly collapseWait: number;
  /** Bytes from which on a response that is not stored may leave for the kernel (long-body.ts); 0: none does. */
  readonly spliceAbove: number;
}

/** Methods that change nothing at the origin (RFC 9110 section 9.2.1); any other invalidates. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY']);

type Forwarded = Extract<CacheStatus, { hit: false }>;

export class Exchange {
  readonly #ports: ExchangePorts;
  readonly #connection: ClientConnection;
  readonly #head: RequestHead;
  readonly #delivery: deliver.Delivery;

  constructor(
    ports: ExchangePorts,
    connection: ClientConnection,
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    this.#ports = ports;
    this.#connection = connection;
    this.#head = requestHead(request);
    this.#delivery = { request, response, node: ports.node };
  }

  run(): void {
    const { request } = this.#delivery;
    const refusal = refuse(this.#head, request.httpVersion);
    if (refusal !== undefined) {
      deliver.reply(this.#delivery, refusal.status, refusal.text);
      return;
    }
    this.#connection.noteCredentials(this.#head);
    const { method } = this.#head;
    if (method !== 'GET' && method !== 'HEAD') this.#forward({ fwd: 'method' });
    else if (this.#connection.pinned) this.#forward({ fwd: 'bypass', detail: 'pinned' });
    else this.#useCache();
  }

  #useCache(): void {
    const { cache } = this.#ports;
    const request = this.#head;
    const use = requestUse(request);
    const key = resourceKey(this.#connection.destination, request);
    if (use.kind === 'bypass' || key === undefined) {
      this.#forward({ fwd: 'bypass', detail: use.kind === 'bypass' ? use.detail : 'no-key' });
      return;
    }
    const asker: Asker = { request, directives: use.directives };
    const found = use.reload ? undefined : cache.find(key, asker);
    if (found?.kind === 'fresh' && this.#answer(found.entry, use.conditional)) return;
    const fwd =
      found === undefined || found.kind === 'fresh'
        ? 'request'
        : found.kind === 'stale'
          ? 'stale'
          : found.reason;
    if (use.directives.has('only-if-cached')) {
      deliver.reply(this.#delivery, 504, 'not cached (only-if-cached)', { hit: false, fwd });
    } else if (request.method === 'HEAD') {
      this.#forward({ fwd });
    } else if (use.conditional || use.reload) {
      this.#lead(key, fwd, { shared: false });
    } else {
      const flight = cache.flightFor(key, request);
      if (flight !== undefined) this.#follow(flight, asker, key, fwd);
      else this.#lead(key, fwd, { shared: true, stale: found?.kind === 'stale' ? found.entry : undefined });
    }
  }

  /** Answers from the store; `false` when the client's condition is one that the origin must decide. */
  #answer(entry: StoredResponse, conditional: boolean): boolean {
    const age = this.#ports.cache.age(entry);
    const status: CacheStatus = { hit: true, ttl: Math.floor(entry.freshness.lifetime - age) };
    const decision =
      conditional && entry.status === 200 ? evaluateConditions(this.#head.fields, entry) : 'full';
    if (decision === 'not-modified') deliver.sendNotModified(this.#delivery, entry, age, status);
    else if (decision === 'full') deliver.sendStored(this.#delivery, entry, age, status);
    return decision !== 'undecided';
  }

  /** Waits for another request's fetch. */
  #follow(flight: Flight, asker: Asker, key: string, fwd: ForwardReason): void {
    const { cache, collapseWait } = this.#ports;
    const { response } = this.#delivery;
    let settled = false;
    const settle = (outcome: Outcome): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      const status: Forwarded = { hit: false, fwd, collapsed: true };
      if (outcome.kind === 'alone') {
        this.#lead(key, fwd, { shared: false });
        return;
      }
      cache.countCollapsed();
      if (outcome.kind === 'stored') {
        deliver.sendStored(this.#delivery, outcome.entry, cache.age(outcome.entry), {
          ...status,
          status: 304,
        });
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
  #lead(
    key: string,
    fwd: ForwardReason,
    options: { shared: boolean; stale?: StoredResponse | undefined },
  ): void {
    const flight = this.#ports.cache.lead(key, this.#head, options);
    const conditions = options.stale === undefined ? [] : validators(options.stale);
    this.#fetchFor(flight, fwd, conditions);
    this.#delivery.response.once('close', () => flight.leave());
  }

  #fetchFor(flight: Flight, fwd: ForwardReason, conditions: readonly string[]): void {
    const requestedAt = this.#ports.clock.now();
    const upstream = this.#send(conditions, {
      information: (info) => deliver.sendInformation(this.#delivery, info),
      response: (message) => {
        const { clock } = this.#ports;
        const times = { requestedAt, receivedAt: clock.now(), receivedMonotonic: clock.monotonic() };
        if (conditions.length > 0 && message.statusCode === 304) {
          this.#validated(flight, message, times);
        } else {
          this.#arrived(flight, upstream, message, times, fwd);
        }
      },
      failed: (failure) => {
        flight.fail();
        this.#failed(failure, { hit: false, fwd });
      },
    });
    flight.abandoned = () => upstream.abort();
  }

  #arrived(
    flight: Flight,
    upstream: Upstream,
    message: IncomingMessage,
    times: ExchangeTimes,
    fwd: ForwardReason,
  ): void {
    const head = responseHead(message, this.#head.method);
    const status: Forwarded = { hit: false, fwd, status: head.status };
    const offer = transferCodingKnown(head)
      ? flight.offer(head, times)
      : ({ kind: 'pass', reason: 'transfer-coding' } as const);
    if (offer.kind === 'pass') {
      flight.land();
      this.#passOn(upstream, message, { ...status, detail: offer.reason });
      return;
    }
    const { fill } = offer;
    if (!this.#gone) deliver.passOnFill(this.#delivery, head, fill, { ...status, stored: true });
    message.on('data', (chunk: Buffer) => {
      if (!fill.push(chunk, () => message.resume())) message.pause();
    });
    message.once('end', () => {
      if (message.complete) fill.finish(message.rawTrailers);
    });
    message.once('close', () => {
      if (!message.readableEnded || !message.complete) flight.fail();
    });
  }

  /** The next hop answered this node's conditions with 304. */
  #validated(flight: Flight, message: IncomingMessage, times: ExchangeTimes): void {
    message.resume();
    const update = flight.notModified(responseHead(message, this.#head.method), times);
    if (update.kind === 'mismatch') {
      this.#fetchFor(flight, 'stale', []);
    } else if (!this.#gone) {
      const { entry, kept } = update;
      const age = this.#ports.cache.age(entry);
      deliver.sendStored(this.#delivery, entry, age, { hit: false, fwd: 'stale', status: 304, stored: kept });
    }
  }

  /** Passes the request on with nothing looked up and nothing stored. */
  #forward(why: { fwd: ForwardReason; detail?: string }): void {
    let touched = SAFE.has(this.#head.method)
      ? undefined
      : invalidatedKey(this.#connection.destination, this.#head);
    const invalidate = (): void => {
      if (touched !== undefined) this.#ports.cache.invalidate(touched);
      touched = undefined;
    };
    // Also when it is given up or fails: the origin may have acted on it.
    this.#delivery.response.once('close', invalidate);
    const upstream = this.#send([], {
      information: (info) => deliver.sendInformation(this.#delivery, info),
      response: (message) => {
        invalidate();
        this.#passOn(upstream, message, { hit: false, ...why, status: message.statusCode });
      },
      failed: (failure) => {
        invalidate();
        this.#failed(failure, { hit: false, ...why });
      },
    });
    this.#abortWithClient(upstream);
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

  #send(conditions: readonly string[], handlers: UpstreamHandlers): Upstream {
    const { node, pool, responseTimeout, spliceAbove } = this.#ports;
    const { request } = this.#delivery;
    const { authority } = this.#connection;
    const headers = requestHeaders(this.#head, { httpVersion: request.httpVersion, authority }, node);
    const content = this.#head.hasBody ? request : undefined;
    const { method, target } = this.#head;
    const leg = this.#connection.legFor(this.#head);
    return new Upstream(
      pool,
      {
        method,
        target,
        headers: [...headers, ...conditions],
        content,
        responseTimeout,
        raw: spliceAbove > 0,
        ...leg,
      },
      handlers,
    );
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

  get #gone(): boolean {
    return this.#delivery.response.destroyed || this.#delivery.request.socket.destroyed;
  }
}

/** What Node's parser lets through and a careful intermediary must not. */
function refuse(head: RequestHead, httpVersion: string): { status: number; text: string } | undefined {
  const { fields } = head;
  if ((fields.get('host')?.length ?? 0) > 1)
    return { status: 400, text: 'more than one Host (RFC 9112 section 3.2)' };
  if (!fields.has('transfer-encoding')) return undefined;
  if (httpVersion === '1.0')
    return { status: 400, text: 'Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)' };
  if (fields.has('content-length')) {
    return { status: 400, text: 'Transfer-Encoding beside Content-Length (RFC 9112 section 6.1)' };
  }
  return transferCodingKnown(head)
    ? undefined
    : { status: 501, text: 'unknown transfer coding (RFC 9112 section 6.1)' };
}
