/**
 * A response body that is one long stream: its connection leaves for the kernel in the middle of it.
 *
 * Nothing about HTTP changes in the moment: Node's parsers go on until both sockets are gone. What it takes is that every
 * byte from there on may pass as it comes, for the rest of the connection's life:
 *
 * - The body is framed alike on both sides: by the same Content-Length, as the origin's own chunks (raw-body.ts), or by
 *   the end of both connections.
 * - Both sides have been promised the same about the time after it (RFC 9112 section 9.3): to go on, or to end.
 * - Nothing else is on the way: no further request, not even a part of one, and no byte of this exchange in between.
 *
 * Later requests of the client then reach the destination without passing the cache.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { ResponseHead } from '../../cache/storable.js';
import { tokenList } from '../../cache/fields.js';
import type { ClientConnection } from './connection.js';
import type { Delivery } from './deliver.js';
import { betweenRequests } from './parser-state.js';
import type { TappedBody } from './tapped-body.js';

/** Why a long body stays here, beside what keeps any connection from being spliced. */
export const LONG_BODY_REASONS = {
  'long-body': 'a response body that is one long stream went on in the kernel',
  tapped: 'a response body that is stored went on in the kernel while a copy of it is collected',
  'relayed-framing': 'the body of a long response is framed differently on the two sides',
  'relayed-shared': 'others read the response that would be copied while it passes in the kernel',
  'relayed-persistence': 'behind a long response one side goes on and the other ends',
} as const;

export interface LongResponse {
  readonly connection: ClientConnection;
  readonly delivery: Delivery;
  readonly head: ResponseHead;
  readonly message: IncomingMessage;
  readonly leg: Socket;
  /** Whether the request has been sent to its end. */
  readonly sent: () => boolean;
  /** Whether the body passes as the next hop's own chunks. */
  readonly raw: boolean;
  /** Bytes that must be to come, or, where nobody knows, must have come. */
  readonly least: number;
  /** What collects the rest of a response that is stored. */
  readonly copy?: TappedBody | undefined;
}

function isEventStream({ fields }: ResponseHead): boolean {
  return fields.get('content-type')?.some((type) => /^text\/event-stream *(;|$)/i.test(type.trim())) === true;
}

class LongBody {
  readonly #what: LongResponse;
  readonly #before: number;
  readonly #length: number | undefined;
  /** Bytes of the body after which the next attempt is made. */
  #next: number;
  #over = false;

  constructor(what: LongResponse) {
    this.#what = what;
    this.#before = what.leg.bytesRead;
    this.#length =
      what.head.framing === 'length' ? Number(what.head.fields.get('content-length')?.[0]) : undefined;
    this.#next = this.#length !== undefined || isEventStream(what.head) ? 0 : what.least;
  }

  start(): void {
    const { leg, message, delivery } = this.#what;
    leg.on('data', this.#moved);
    const over = (): void => {
      this.#over = true;
      leg.off('data', this.#moved);
    };
    message.once('end', over).once('close', over);
    delivery.response.once('close', over);
    this.#moved();
  }

  readonly #moved = (): void => {
    const passed = this.#what.leg.bytesRead - this.#before;
    if (passed < this.#next || this.#over) return;
    this.#next = Infinity;
    if (this.#length !== undefined && this.#length - passed < this.#what.least) return;
    void this.#leave(passed);
  };

  async #leave(passed: number): Promise<void> {
    const { connection, leg, least, copy } = this.#what;
    const obstacle = this.#obstacle();
    if (obstacle !== undefined) {
      connection.stays(obstacle);
      return;
    }
    const outcome = await connection.leave(leg, {
      over: () => this.#over,
      idle: () => this.#idle(),
      copy,
    });
    if (!outcome.spliced && outcome.reason === 'relayed-busy') this.#next = passed + least;
  }

  #obstacle(): string | undefined {
    const { delivery, head, raw, connection, copy } = this.#what;
    if (betweenRequests(connection.socket) === undefined) return 'relayed-unsupported';
    if (head.framing === 'chunked' && !raw) return 'relayed-framing';
    if (copy?.alone === false) return 'relayed-shared';
    if (head.framing === 'close') return undefined; // said so to the client, too
    const { request, response } = delivery;
    const options = tokenList(head.fields.get('connection') ?? []);
    const originStays = head.httpVersion === '1.1' && options?.includes('close') === false;
    const clientStays = request.httpVersion === '1.1' && response.shouldKeepAlive;
    return originStays && clientStays ? undefined : 'relayed-persistence';
  }

  #idle(): boolean {
    const { delivery, message, connection, sent, copy } = this.#what;
    const { request, response } = delivery;
    return (
      request.complete &&
      sent() &&
      connection.waiting === 0 &&
      betweenRequests(connection.socket) === true &&
      response.headersSent &&
      response.writableLength === 0 &&
      message.readableLength === 0 &&
      copy?.sent !== false &&
      copy?.alone !== false
    );
  }
}

/** Whether it is worth a look: a body that may be long enough, or whose length nobody knows. */
export function mayBeLong(head: ResponseHead, least: number): boolean {
  if (least === 0 || head.framing === 'none') return false;
  return head.framing !== 'length' || Number(head.fields.get('content-length')?.[0]) >= least;
}

/** Lets the connection leave as soon as the body has turned out to be long; to be called when its head was written. */
export function leaveWhenLong(what: LongResponse): void {
  new LongBody(what).start();
}
