/**
 * Next legs that are kept open between requests.
 *
 * Two kinds of name: a destination, whose idle legs serve any client, and one client connection, whose legs serve only
 * that client (see `legFor` in connection.ts for who gets which). Legs of the first kind are {@link HttpLeg}s, those of the
 * second belong to Node's HTTP client. Both are bounded in number and idle time.
 */
import { Agent, type ClientRequest, type ClientRequestArgs, type RequestOptions } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TransformedLeg } from '../../transcode/leg.js';
import { settled } from '../transforms.js';
import { HttpLeg } from './http-leg.js';
import { IdleLegs } from './idle-legs.js';
import { responseParser, type ResponseParserClass } from './response-parser.js';

/** An origin's header section may be larger than what a client is allowed. */
export const MOST_HEADER_BYTES = 256 * 1024;

/** Where a request's leg comes from. */
export interface LegSource {
  /** Pool name: legs of the same name may be reused for each other's requests. */
  readonly name: string;
  /** Opens a leg when no idle one is there. */
  open(): Socket;
}

export interface LegLimits {
  /** Idle legs kept per name. */
  readonly idlePerName: number;
  /** Idle legs kept in all. */
  readonly idle: number;
  /** Milliseconds an idle leg is kept. */
  readonly idleTimeout: number;
}

/** Request options that carry the source through Node's agent, which copies them but keeps the reference. */
export interface LegRequestOptions extends RequestOptions {
  readonly leg: LegSource;
}

const legOf = (options: unknown): LegSource => (options as LegRequestOptions).leg;

export class LegPool extends Agent {
  readonly #limits: LegLimits;
  /** Idle legs of Node's client, with what notes that one is gone. */
  readonly #idle = new Map<Socket, () => void>();
  readonly #shared: IdleLegs;
  /** Those that are in use or idle. */
  readonly #legs = new Set<HttpLeg>();
  readonly #Parser: ResponseParserClass | null;
  readonly counts = { opened: 0, reused: 0 };

  /** `Parser`: of the legs that are leased; without it none can be. */
  constructor(limits: LegLimits, Parser: ResponseParserClass | null = responseParser) {
    super({ keepAlive: true, maxFreeSockets: limits.idlePerName, timeout: limits.idleTimeout });
    this.#limits = limits;
    this.#shared = new IdleLegs(limits.idlePerName, limits.idleTimeout);
    this.#Parser = Parser;
  }

  get idle(): number {
    return this.#idle.size + this.#shared.size;
  }

  /**
   * A leg for a request without content: an idle one at once, or a new one. `false` where this Node.js has no parser for such
   * legs; then nothing is called.
   */
  lease(source: LegSource, begin: (leg: HttpLeg) => void, failed: (error: Error) => void): boolean {
    const Parser = this.#Parser;
    if (Parser === null) return false;
    const idle = this.#shared.take(source.name);
    if (idle !== undefined) {
      this.counts.reused++;
      begin(idle);
      return true;
    }
    this.#open(source, (error, socket) => {
      if (error !== null) failed(error);
      else begin(this.#watched(socket, Parser, source.name));
    });
    return true;
  }

  override getName(options?: ClientRequestArgs): string {
    return legOf(options).name;
  }

  override createConnection(
    options: ClientRequestArgs,
    callback: (error: Error | null, leg: Duplex) => void,
  ): undefined {
    this.#open(legOf(options), callback);
  }

  override keepSocketAlive(leg: Duplex): boolean {
    if (!(leg instanceof Socket) || this.idle >= this.#limits.idle) return false;
    // Honours a Keep-Alive: timeout= of the other side.
    // eslint-disable-next-line @typescript-eslint/no-confusing-void-expression -- typed void, documented to say whether to keep it
    const keep: unknown = super.keepSocketAlive(leg);
    if (keep === false) return false;
    const gone = (): void => {
      this.#idle.delete(leg);
    };
    this.#idle.set(leg, gone);
    // Bytes nobody asked for would be taken for the next response; a FIN makes it useless.
    leg.on('data', discard).on('end', discard).on('close', gone);
    return true;
  }

  override reuseSocket(leg: Duplex, request: ClientRequest): void {
    if (leg instanceof Socket) this.#leaveIdle(leg);
    this.counts.reused++;
    super.reuseSocket(leg, request);
  }

  /** Closes the idle legs of one name. */
  closeIdle(name: string): void {
    this.#shared.close(name);
    for (const leg of [...(this.freeSockets[name] ?? [])]) leg.destroy();
  }

  override destroy(): void {
    this.#shared.closeAll();
    for (const leg of [...this.#legs]) leg.socket.destroy();
    super.destroy();
  }

  #watched(socket: Socket, Parser: ResponseParserClass, name: string): HttpLeg {
    const leg = new HttpLeg(socket, Parser, MOST_HEADER_BYTES, (free) => this.#keep(name, free));
    this.#legs.add(leg);
    socket.once('close', () => this.#legs.delete(leg));
    return leg;
  }

  #open(source: LegSource, opened: (error: Error | null, leg: Socket) => void): void {
    const leg = source.open();
    this.counts.opened++;
    // Only a connected leg is known to be transformed; any other is used without its wrapping.
    if (leg instanceof TransformedLeg && !leg.destroyed)
      void settled(leg).then((plain) => hand(plain.leg, opened));
    else hand(leg, opened);
  }

  #keep(name: string, leg: HttpLeg): void {
    if (this.idle >= this.#limits.idle || !this.#shared.keep(name, leg)) leg.socket.destroySoon();
  }

  #leaveIdle(socket: Socket): void {
    socket
      .off('data', discard)
      .off('end', discard)
      .off('close', this.#idle.get(socket) ?? discard);
    this.#idle.delete(socket);
    socket.setTimeout(0);
  }
}

function discard(this: Socket): void {
  this.destroy();
}

function hand(leg: Socket, opened: (error: Error | null, leg: Socket) => void): void {
  opened(leg.destroyed ? (leg.errored ?? new Error('the leg is closed')) : null, leg);
}
