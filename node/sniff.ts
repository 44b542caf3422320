/**
 * Finds out what a connection carries from its first bytes, without making anyone wait.
 *
 * ```
 *   sniffing ──client's bytes──▶ first-bytes.ts ──▶ http | tls | not-http | …
 *      │                            └─ need more, but 2 s or 16 KiB are over ──▶ sniff-undecided
 *      ├──client's FIN──▶ client-closed-first
 *      └──20 ms of silence──▶ the next leg opens, and whoever speaks first decides:
 *                                 server ──▶ server-first      client ──▶ as above, with that leg
 * ```
 *
 * When it has decided, both sockets are paused and what was read is handed on: no byte is lost.
 */
import type { Socket } from 'node:net';
import { MOST_HELLO_BYTES, type ClientHello } from '../wire/tls-hello.js';
import { readFirstBytes, SILENCE_MS, UNDECIDED_MS, type Classify } from './first-bytes.js';

/** Why a connection is treated as it is; part of `conns` and `stats`, so stable. */
export const SNIFF_REASONS = {
  http: 'the first bytes are an HTTP request',
  'not-http': 'the first bytes are neither an HTTP request nor TLS',
  tls: 'the first bytes are a TLS ClientHello',
  'tls-malformed': 'the first bytes begin like a TLS ClientHello and are none',
  'tls-too-long': 'a TLS ClientHello longer than anybody waits for',
  'sniff-undecided': 'the first bytes did not say what they are in time',
  'server-first': 'the server spoke first',
  'client-closed-first': 'the client ended its direction before it said what it wants',
  'client-gone': 'the client was lost before it said what it wants',
  'leg-failed': 'the next leg could not be opened, or was lost',
} as const;

export interface SniffOutcome {
  /** `serve` as HTTP, `relay`, or `end` because one side is gone. */
  readonly verdict: 'serve' | 'relay' | 'end';
  readonly reason: keyof typeof SNIFF_REASONS;
  /** Only with `tls`. */
  readonly hello: ClientHello | undefined;
  /** Read from the client so far. */
  readonly first: Buffer;
  /** Read from the server so far; only with `server-first`. */
  readonly early: Buffer | undefined;
  /** The next leg, when silence has opened it; it may still be connecting. */
  readonly leg: Socket | undefined;
}

/** What the longest ClientHello may take; a request line and a few fields fit, too. */
const UNDECIDED_BYTES = MOST_HELLO_BYTES;

class Sniffer {
  readonly #client: Socket;
  readonly #openLeg: () => Socket;
  readonly #classify: Classify;
  readonly #done: (outcome: SniffOutcome) => void;
  #first: Buffer = Buffer.alloc(0);
  #hello: ClientHello | undefined;
  #leg: Socket | undefined;
  #eager: NodeJS.Timeout | undefined;
  #undecided: NodeJS.Timeout | undefined;

  constructor(
    client: Socket,
    openLeg: () => Socket,
    classify: Classify,
    done: (outcome: SniffOutcome) => void,
  ) {
    this.#client = client;
    this.#openLeg = openLeg;
    this.#classify = classify;
    this.#done = done;
  }

  start(): void {
    this.#client.on('data', this.#onClientData);
    this.#client.on('end', this.#onClientEnd);
    this.#client.on('close', this.#onClientClose);
    this.#eager = setTimeout(this.#onSilence, SILENCE_MS);
    // A connection that was lost or ended before we looked emits nothing any more.
    if (this.#client.closed) this.#onClientClose();
    else if (this.#client.readableEnded) this.#onClientEnd();
    else this.#client.resume();
  }

  readonly #onClientData = (chunk: Buffer): void => {
    this.#first = this.#first.length === 0 ? chunk : Buffer.concat([this.#first, chunk]);
    const found = readFirstBytes(this.#first, this.#classify);
    if (found.is === 'tls') this.#hello = found.hello;
    if (found.is !== 'need-more') this.#settle(found.is === 'http' ? 'serve' : 'relay', found.is);
    else if (this.#first.length >= UNDECIDED_BYTES) this.#settle('relay', 'sniff-undecided');
    else this.#undecided ??= setTimeout(() => this.#settle('relay', 'sniff-undecided'), UNDECIDED_MS);
  };

  readonly #onClientEnd = (): void => this.#settle('relay', 'client-closed-first');
  readonly #onClientClose = (): void => this.#settle('end', 'client-gone');

  readonly #onSilence = (): void => {
    const leg = this.#openLeg();
    this.#leg = leg;
    leg.on('data', this.#onLegData);
    leg.on('end', this.#onLegEnd);
    leg.on('close', this.#onLegClose);
  };

  readonly #onLegData = (chunk: Buffer): void => this.#settle('relay', 'server-first', chunk);
  readonly #onLegEnd = (): void => this.#settle('relay', 'server-first');
  readonly #onLegClose = (): void => this.#settle('end', 'leg-failed');

  #settle(verdict: SniffOutcome['verdict'], reason: SniffOutcome['reason'], early?: Buffer): void {
    clearTimeout(this.#eager);
    clearTimeout(this.#undecided);
    this.#client
      .off('data', this.#onClientData)
      .off('end', this.#onClientEnd)
      .off('close', this.#onClientClose);
    this.#client.pause();
    this.#leg?.off('data', this.#onLegData).off('end', this.#onLegEnd).off('close', this.#onLegClose);
    this.#leg?.pause();
    this.#done({ verdict, reason, hello: this.#hello, first: this.#first, early, leg: this.#leg });
  }
}

/**
 * Decides what to do with a connection. `openLeg` is called at most once, when the client stays silent.
 *
 * Both sockets must have an `error` listener: errors arrive here as the `close` that follows them.
 */
export function sniff(client: Socket, openLeg: () => Socket, classify: Classify): Promise<SniffOutcome> {
  return new Promise((resolve) => new Sniffer(client, openLeg, classify, resolve).start());
}
