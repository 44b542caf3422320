/**
 * Whether a name that a client gives in `Host` has the address that its packets are for. Where it has, addresses of one
 * name may share what is stored; where that is not known, or not yet, each keeps to itself.
 */
import { isIP } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { Destination, RequestHead } from '../../cache/key.js';
import { single } from '../../cache/fields.js';
import type { Clock } from '../../core/clock.js';

/** The addresses of a name in canonical text form; rejects, or resolves with none, when there are none. */
export type Lookup = (name: string) => Promise<readonly string[]>;

const MOST_NAMES = 8192;
/** Lookups under way; a name beyond that stays unknown until it is asked for again. */
const MOST_LOOKUPS = 64;
/** Milliseconds an answer is believed, whatever its own time to live. */
const BELIEVED_MS = 60_000;
/** In the place of an address: of whatever address the name has. No address is written so. */
const ANY = '*';

interface Known {
  readonly addresses: readonly string[];
  readonly until: number;
}

export class HostVerifier {
  readonly #lookup: Lookup;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, Known>({ max: MOST_NAMES });
  readonly #asking = new Set<string>();

  constructor(lookup: Lookup, clock: Clock) {
    this.#lookup = lookup;
    this.#clock = clock;
  }

  /** The destination that stands for all addresses of the request's name, if this is one of them. */
  shared(destination: Destination, { fields }: Pick<RequestHead, 'fields'>): Destination | undefined {
    const host = single(fields, 'host');
    const name = typeof host === 'string' ? host.replace(/:\d*$/, '').toLowerCase() : '';
    if (!/^[a-z0-9._-]+$/.test(name) || isIP(name) !== 0) return undefined;
    const known = this.#known.get(name);
    if (known === undefined || known.until <= this.#clock.monotonic()) {
      void this.#ask(name);
      return undefined;
    }
    return known.addresses.includes(destination.address)
      ? { address: ANY, port: destination.port }
      : undefined;
  }

  async #ask(name: string): Promise<void> {
    if (this.#asking.has(name) || this.#asking.size >= MOST_LOOKUPS) return;
    this.#asking.add(name);
    let addresses: readonly string[] = [];
    try {
      addresses = await this.#lookup(name);
    } catch {
      // Not to be had is known, too: the addresses of that name keep to themselves.
    }
    this.#asking.delete(name);
    this.#known.set(name, { addresses, until: this.#clock.monotonic() + BELIEVED_MS });
  }
}
