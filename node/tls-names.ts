/** What TLS connections ask for, as `conns` shows it, and for those that have left this process, too. */
import type { ClientHello } from '../wire/tls-hello.js';

export interface TlsNames {
  readonly sni: string | null;
  readonly alpn: readonly string[];
}

/** Strangers choose what is kept here: of the protocols, as many as fit into this many characters. */
const MOST_ALPN = 100;
/** At the limit the oldest goes. */
const MOST_NAMES = 65_536;

export function tlsNames({ serverName, alpn }: ClientHello): TlsNames {
  let left = MOST_ALPN;
  const fits = (protocol: string): boolean => (left -= protocol.length) >= 0;
  return { sni: serverName ?? null, alpn: alpn.filter(fits) };
}

/**
 * The names of spliced connections, which are nowhere in the kernel. An entry stays until another connection of the same
 * ends is spliced, or until it is the oldest of too many.
 */
export class SplicedNames {
  readonly #most: number;
  readonly #names = new Map<string, TlsNames>();

  constructor(most = MOST_NAMES) {
    this.#most = most;
  }

  get(client: string, destination: string): TlsNames | undefined {
    return this.#names.get(`${client} ${destination}`);
  }

  set(client: string, destination: string, names: TlsNames | undefined): void {
    const key = `${client} ${destination}`;
    this.#names.delete(key);
    if (names === undefined) return;
    this.#names.set(key, names);
    if (this.#names.size <= this.#most) return;
    for (const oldest of this.#names.keys()) {
      this.#names.delete(oldest);
      break;
    }
  }
}
