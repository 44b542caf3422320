/** One client connection that speaks HTTP: its requests in order, and where the legs for them come from. */
import type { Socket } from 'node:net';
import { formatIp } from '../../core/address.js';
import type { Destination, RequestHead } from '../../cache/key.js';
import type { AdmissionChoice } from '../../cache/policy.js';
import { formatEndpoint } from '../connections.js';
import type { HttpContext } from '../session.js';
import type { Flight } from '../../cache/flight.js';
import type { FetchClient } from './fetch-client.js';
import type { LegSource } from './leg-pool.js';
import type { Likeness } from './likeness.js';
import type { Lesson } from './memo.js';

/** Schemes that authenticate the connection instead of the request (RFC 4559 section 5 and its relatives). */
const CONNECTION_SCHEMES = /^(?:negotiate|ntlm|nego2|kerberos)(?: |$)/i;
/** Idempotent methods (RFC 9110 section 9.2.2) that usually have no content. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE']);

/** Begins an exchange, or with `flight` goes on with one; gets what to call when its response has been sent. */
export type Begin = (done: () => void, flight?: Flight) => FetchClient | undefined;

export class ClientConnection {
  readonly socket: Socket;
  /** The original destination, as cache keys have it. */
  readonly destination: Destination;
  /** What of its responses is stored, where its rule says so. */
  readonly admission: AdmissionChoice | undefined;
  /** The same as an authority. */
  readonly authority: string;
  /** Its requests depend on each other: they share one leg, and nothing of them is cached. */
  pinned = false;
  /** Answers the request whose content turns out to be malformed; `false` when it cannot be. */
  refuse: (code: string) => boolean = () => false;
  /** Requests begun. */
  requests = 0;
  /** Set while the parser is given one request that the front may learn the answer to. */
  learning = false;
  /** What that request has shown about others like it. */
  lesson: Lesson | undefined;
  /** And about those with the same fields. */
  likeness: Likeness | undefined;
  /** Set while the parser is given a request that has begun already: what takes the exchange that comes of it. */
  takeOver: ((begin: Begin) => void) | undefined;
  readonly #shared: LegSource;
  readonly #own: LegSource;
  readonly #waiting: (() => void)[] = [];
  readonly #join: HttpContext['join'];
  /** See {@link HttpContext}. */
  readonly leave: HttpContext['leave'];
  readonly stays: HttpContext['stays'];
  /** Takes away what stands before the parser. */
  unfront: () => void = () => undefined;
  /** See {@link HttpContext}. */
  readonly content: HttpContext['content'];
  #busy = false;
  #stopped = false;
  #eager: Socket | undefined;

  constructor(socket: Socket, context: HttpContext, id: number) {
    this.socket = socket;
    this.destination = { address: formatIp(context.destination.address), port: context.destination.port };
    this.authority = formatEndpoint(context.destination);
    this.admission = context.admission;
    this.#eager = context.leg;
    this.content = context.content;
    this.#join = (leg, fromClient) => context.join(leg, fromClient);
    this.leave = (leg, conditions) => context.leave(leg, conditions);
    this.stays = (reason) => context.stays(reason);
    const open = (): Socket => {
      const eager = this.#eager;
      this.#eager = undefined;
      return eager === undefined || eager.destroyed ? context.openLeg() : eager;
    };
    const whose = context.clientLegs ? ` from ${formatIp(context.client.address)}` : '';
    this.#shared = { name: `${this.authority}${whose}`, open };
    this.#own = { name: `${this.authority} ${id}`, open };
  }

  /** Whether a request is being answered. */
  get busy(): boolean {
    return this.#busy;
  }

  /** Whether nothing more is read. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Requests that wait for the one that is being answered. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** The pool name of the legs that only this connection uses. */
  get ownLegs(): string {
    return this.#own.name;
  }

  /**
   * Runs one exchange after the other, whatever the client pipelines (RFC 9112 section 9.3.2): a later one may depend on
   * an earlier one's effect. `begin` gets what to call when its response has been sent.
   */
  enqueue(begin: (done: () => void) => unknown): void {
    if (this.#stopped) return;
    this.#waiting.push(() => begin(() => this.#next()));
    if (!this.#busy) this.#next();
  }

  /** What stands behind the request that is being answered is read by nobody. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
  }

  /** Notes credentials that may authenticate the connection instead of the request. */
  noteCredentials(request: RequestHead): void {
    const credentials =
      request.fields.get('authorization') ?? request.fields.get('proxy-authorization') ?? [];
    if (credentials.some((value) => CONNECTION_SCHEMES.test(value))) this.pinned = true;
  }

  /**
   * Where the leg for a request comes from. A request that can be repeated takes a leg that anyone's request may have used
   * before: should the next hop close it just now, another one is tried. Any other takes a leg of this client's
   * own, so that this race ends as it would have ended without a node: the client's connection closes with no answer.
   */
  legFor(request: RequestHead): { readonly source: LegSource; readonly repeatable: boolean } {
    const repeatable = !this.pinned && !request.hasBody && REPEATABLE.has(request.method);
    return { source: repeatable ? this.#shared : this.#own, repeatable };
  }

  /** Goes on with a protocol other than HTTP, over a leg that is never used for anything else. */
  leaveHttp(fromClient: Buffer): void {
    this.unfront();
    void this.#join(this.#own.open(), fromClient);
  }

  /** Closes a leg that was opened ahead and never used. */
  close(): void {
    this.#waiting.length = 0;
    this.#eager?.destroy();
    this.#eager = undefined;
  }

  #next(): void {
    const begin = this.socket.destroyed ? undefined : this.#waiting.shift();
    this.#busy = begin !== undefined;
    if (begin === undefined) return;
    this.requests++;
    begin();
  }
}
