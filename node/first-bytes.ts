/** What the first bytes from a client are: HTTP, a TLS ClientHello, or something else. */
import type { Socket } from 'node:net';
import { readTlsStart, type ClientHello, type TlsStart } from '../wire/tls-hello.js';

/** What the first bytes from a client are, for a server of HTTP. */
export type Classify = (bytes: Buffer) => 'http' | 'other' | 'need-more';

export type FirstBytes =
  | { readonly is: 'need-more' | 'http' | 'not-http' | 'tls-malformed' | 'tls-too-long' }
  | { readonly is: 'tls'; readonly hello: ClientHello };

/** The reason code of each; only what begins like a ClientHello is more than `not-http`. */
const REASON = {
  'need-more': 'need-more',
  other: 'not-http',
  malformed: 'tls-malformed',
  'too-long': 'tls-too-long',
} as const;

/**
 * A client that speaks first has its first bytes on the way right behind the handshake's ACK, so this many milliseconds
 * of silence mean a protocol whose server speaks first, or a client that thinks.
 */
export const SILENCE_MS = 20;
/** How many milliseconds the first bytes may stay undecided, from the first of them. */
export const UNDECIDED_MS = 2000;

function ofTls(start: TlsStart): FirstBytes {
  return start.kind === 'hello' ? { is: 'tls', hello: start.hello } : { is: REASON[start.kind] };
}

/** Looks at all that has come so far. `classify` is asked about what is not TLS; no request begins like a record. */
export function readFirstBytes(bytes: Buffer, classify: Classify): FirstBytes {
  const start = readTlsStart(bytes);
  if (bytes.length > 0 && start.kind !== 'other') return ofTls(start);
  const verdict = classify(bytes);
  return { is: verdict === 'other' ? 'not-http' : verdict };
}

/**
 * Looks for a ClientHello on a connection that is being relayed already, and holds nothing up. Resolves when there is
 * one, there is none, or it is not worth waiting for.
 */
export function watchForHello(client: Socket): Promise<FirstBytes> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const settle = (found: FirstBytes): void => {
      clearTimeout(timer);
      client.off('data', look).off('close', giveUp);
      resolve(found);
    };
    const giveUp = (): void => settle({ is: 'need-more' });
    const look = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const found = ofTls(readTlsStart(bytes));
      if (found.is !== 'need-more') {
        settle(found);
      } else if (bytes.length === chunk.length) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, UNDECIDED_MS);
      }
    };
    let timer = setTimeout(giveUp, SILENCE_MS);
    client.on('data', look).on('close', giveUp);
  });
}
