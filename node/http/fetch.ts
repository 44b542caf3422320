/**
 * Requests to the next hop: forwarded as they are, or sent for the cache, where what comes is stored, shared and used to
 * renew what is stored.
 */
import type { IncomingMessage } from 'node:http';
import type { HttpCache } from '../../cache/cache.js';
import type { ForwardReason } from '../../cache/cache-status.js';
import type { Flight } from '../../cache/flight.js';
import type { ExchangeTimes } from '../../cache/freshness.js';
import type { RequestHead } from '../../cache/key.js';
import { formatGap } from '../../cache/partial.js';
import type { ResponseHead } from '../../cache/storable.js';
import { strongTag, validators } from '../../cache/validation.js';
import type { ContentService } from '../../content/service.js';
import type { Clock } from '../../core/clock.js';
import type { Logger } from '../../core/log.js';
import type { Arrival } from './arrival.js';
import type { ClientConnection } from './connection.js';
import { ContentCopy } from './content-copy.js';
import type { HostVerifier } from './host-verifier.js';
import type { FetchClient, Forwarded } from './fetch-client.js';
import { requestHeaders, responseHead, transferCodingKnown, type NodeIdentity } from './headers.js';
import type { LegPool } from './leg-pool.js';
import { mayBeLong } from './long-body.js';
import type { FillSource } from './tapped-body.js';
import { Upstream, type UpstreamFailure, type UpstreamHandlers } from './upstream.js';

/** What every exchange of a service uses. */
export interface ExchangePorts {
  readonly cache: HttpCache;
  readonly pool: LegPool;
  readonly node: NodeIdentity;
  /** Merges the addresses of one name, if that is wanted. */
  readonly hosts: HostVerifier | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds; see {@link UpstreamRequest.responseTimeout}. */
  readonly responseTimeout: number;
  /** Milliseconds a request waits for the head of another's fetch before it fetches on its own. */
  readonly collapseWait: number;
  /** Bytes from which on a response that is not stored may leave for the kernel (long-body.ts); 0: none does. */
  readonly spliceAbove: number;
  /** Bytes from which on one that is stored may, while a copy is made of it (tapped-body.ts); 0: none does. */
  readonly tapAbove: number;
  /** Milliseconds a client may hold up others with whom it shares a fetch. */
  readonly stallTimeout: number;
  /** For connections that have a pipeline. */
  readonly content: ContentService | undefined;
}

/** A request as it came, and on which connection. */
export interface Received {
  readonly connection: ClientConnection;
  readonly head: RequestHead;
  readonly httpVersion: string;
  /** The message whose content follows. */
  readonly message: IncomingMessage | undefined;
  /** Its fields as they are sent on where nothing is replaced, if that is known: see {@link fieldsText}. */
  readonly prepared?: string | undefined;
}

/** Fields that the node sends instead of the client's. */
export interface Replacement {
  /** Names and values alternating. */
  readonly headers: readonly string[];
  /** Lower-case names of the client's fields that are left out. */
  readonly without: ReadonlySet<string>;
}

const NOTHING_REPLACED: Replacement = { headers: [], without: new Set() };
const CONDITIONS = new Set(['if-none-match', 'if-modified-since']);
const CONDITIONS_AND_RANGE = new Set([...CONDITIONS, 'range', 'if-range']);

/** Sends a request to the next hop towards its destination. */
export function forward(
  { node, pool, responseTimeout, spliceAbove, tapAbove }: ExchangePorts,
  { connection, head, httpVersion, message, ...received }: Received,
  handlers: UpstreamHandlers,
  replacement: Replacement = NOTHING_REPLACED,
): Upstream {
  const prepared = replacement === NOTHING_REPLACED ? received.prepared : undefined;
  const { authority } = connection;
  const headers =
    prepared === undefined ? requestHeaders(head, { httpVersion, authority }, node, replacement.without) : [];
  const content = head.hasBody ? message : undefined;
  const { method, target } = head;
  const leg = connection.legFor(head);
  return new Upstream(
    pool,
    {
      method,
      target,
      headers: [...headers, ...replacement.headers],
      prepared,
      content,
      responseTimeout,
      raw: spliceAbove > 0 || tapAbove > 0,
      ...leg,
    },
    handlers,
  );
}

/** One fetch for the cache: drives a flight with what the next hop says. */
export class Fetch {
  readonly #ports: ExchangePorts;
  readonly #received: Received;
  readonly #flight: Flight;
  readonly #fwd: ForwardReason;
  readonly #client: FetchClient | undefined;

  constructor(
    ports: ExchangePorts,
    received: Received,
    flight: Flight,
    fwd: ForwardReason,
    client: FetchClient | undefined,
  ) {
    this.#ports = ports;
    this.#received = received;
    this.#flight = flight;
    this.#fwd = fwd;
    this.#client = client;
    this.#send(this.#conditions());
  }

  /** What is asked instead of the client's own question, when something is stored. */
  #conditions(): Replacement {
    const { stale, completion, background } = this.#flight.plan;
    if (completion !== undefined) {
      const { entry, gap } = completion;
      const range = formatGap(gap, entry.pieces?.total ?? 0);
      const headers = ['Range', range, 'If-Range', strongTag(entry.fields) ?? '""'];
      return { headers, without: CONDITIONS_AND_RANGE };
    }
    const headers = stale === undefined ? [] : validators(stale.fields, this.#ports.clock.now());
    if (background) return { headers, without: CONDITIONS_AND_RANGE };
    return headers.length === 0 ? NOTHING_REPLACED : { headers, without: CONDITIONS };
  }

  #send(replacement: Replacement): void {
    const { clock } = this.#ports;
    const requestedAt = clock.now();
    const handlers: UpstreamHandlers = {
      information: (info) => this.#client?.information(info),
      response: (arrival) => {
        const times = { requestedAt, receivedAt: clock.now(), receivedMonotonic: clock.monotonic() };
        this.#responded(upstream, arrival, times, replacement);
      },
      failed: (failure) => this.#failed(failure),
    };
    const upstream = forward(this.#ports, this.#received, handlers, replacement);
    this.#flight.abandoned = () => upstream.abort();
  }

  #responded(upstream: Upstream, arrival: Arrival, times: ExchangeTimes, replacement: Replacement): void {
    const head = responseHead(arrival.start, this.#received.head.method);
    const status: Forwarded = { hit: false, fwd: this.#fwd, status: head.status };
    const { stale } = this.#flight.plan;
    if (stale !== undefined && replacement.headers.length > 0 && head.status === 304) {
      this.#validated(arrival, head, times);
      return;
    }
    const instead = head.status >= 500 ? this.#flight.rescue(head.status) : undefined;
    if (instead !== undefined) {
      arrival.message.resume();
      this.#client?.stored(instead, { ...status, detail: 'stale-if-error' });
      return;
    }
    this.#arrived(upstream, arrival, head, times, status);
  }

  #arrived(
    upstream: Upstream,
    arrival: Arrival,
    head: ResponseHead,
    times: ExchangeTimes,
    status: Forwarded,
  ): void {
    const offer = transferCodingKnown(head)
      ? this.#flight.offer(head, times)
      : ({ kind: 'pass', reason: 'transfer-coding' } as const);
    if (offer.kind === 'mismatch') {
      upstream.abort();
      this.#send(NOTHING_REPLACED);
    } else if (offer.kind === 'pass') {
      this.#flight.land();
      if (this.#client === undefined) upstream.abort();
      else this.#client.pass(upstream, arrival, { ...status, detail: offer.reason });
    } else {
      const flight = this.#flight;
      const { fill, kept, completes } = offer;
      const broken = (): void => flight.fail();
      let source: FillSource | undefined;
      if (kept && !completes && mayBeLong(head, this.#ports.tapAbove)) {
        const { message } = arrival;
        source = { upstream, message, flight, content: new ContentCopy(fill, message, broken) };
      } else {
        arrival.copyTo(fill, broken);
      }
      this.#client?.fill(fill, head, completes ? offer.head : undefined, { ...status, stored: kept }, source);
    }
  }

  /** The next hop answered this node's conditions with 304. */
  #validated({ message }: Arrival, head: ResponseHead, times: ExchangeTimes): void {
    message.resume();
    const update = this.#flight.notModified(head, times);
    if (update.kind === 'mismatch') this.#send(NOTHING_REPLACED);
    else this.#client?.stored(update.entry, { hit: false, fwd: this.#fwd, status: 304, stored: update.kept });
  }

  #failed(failure: UpstreamFailure): void {
    const status: Forwarded = { hit: false, fwd: this.#fwd };
    const instead = this.#flight.rescue(undefined);
    if (instead !== undefined) {
      this.#client?.stored(instead, { ...status, detail: 'stale-if-error' });
      return;
    }
    this.#flight.fail();
    this.#client?.failed(failure, status);
  }
}
