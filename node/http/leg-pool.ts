/**
 * Next legs that are kept open between requests.
 *
 * Two kinds of name: a destination, whose idle legs serve any client, and one client connection, whose legs serve only
 * that client (see `legFor` in upstream.ts for who gets which). Both are bounded in number and idle time.
 */
import { Agent, type ClientRequest, type ClientRequestArgs, type RequestOptions } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TransformedLeg } from '../../transcode/leg.js';
import { settled } from '../transforms.js';

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
  /** Idle legs, with what notes that one is gone. */
  readonly #idle = new Map<Socket, () => void>();
  readonly counts = { opened: 0, reused: 0 };

  constructor(limits: LegLimits) {
    super({ keepAlive: true, maxFreeSockets: limits.idlePerName, timeout: limits.idleTimeout });
    this.#limits = limits;
  }

  get idle(): number {
    return this.#idle.size;
  }

  override getName(options?: ClientRequestArgs): string {
    return legOf(options).name;
  }

  override createConnection(
    options: ClientRequestArgs,
    callback: (error: Error | null, leg: Duplex) => void,
  ): Duplex | undefined {
    const leg = legOf(options).open();
    this.counts.opened++;
    if (leg instanceof TransformedLeg && !leg.destroyed) {
      void settled(leg).then((plain) => hand(plain.leg, callback));
      return undefined;
    }
    if (!leg.destroyed) return leg;
    hand(leg, callback);
    return undefined;
  }

  override keepSocketAlive(leg: Duplex): boolean {
    if (!(leg instanceof Socket) || this.#idle.size >= this.#limits.idle) return false;
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
    for (const leg of [...(this.freeSockets[name] ?? [])]) leg.destroy();
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

/** Only a connected leg is known to be transformed; any other is used without its wrapping. */
function hand(leg: Socket, callback: (error: Error | null, leg: Duplex) => void): void {
  callback(leg.destroyed ? (leg.errored ?? new Error('the leg is closed')) : null, leg);
}
