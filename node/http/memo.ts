/**
 * Requests that have been answered with all of a fresh stored response, by their exact bytes.
 *
 * The strict way, Node's parser and the decision of cache/, is a function of those bytes, the destination, what is stored and
 * the time. So the same bytes get the same answer as long as the same response is stored and fresh, which is looked at each
 * time. Nothing in here keeps a stored response alive.
 */
import type { HttpCache } from '../../cache/cache.js';
import type { Asker } from '../../cache/decision.js';
import { currentAge } from '../../cache/freshness.js';
import type { Destination } from '../../cache/key.js';
import type { RequestDirectives } from '../../cache/cache-control.js';
import type { StoredResponse } from '../../cache/stored.js';
import { Generations } from './generations.js';
import type { NodeIdentity } from './headers.js';
import type { HostVerifier } from './host-verifier.js';
import { Prepared } from './prepared.js';

/** Longer header sections are not remembered: each is as good as another's cookie. */
export const MOST_HEAD_BYTES = 4096;
/** Bytes of header sections, requests' and responses', in one generation; there are two. */
const GENERATION_BYTES = 16 * 2 ** 20;

/** That all of a stored response was the answer to a request after which the connection goes on. */
export interface Lesson {
  readonly asker: Asker;
  /** What the response was found under, and the destination that this begins with. */
  readonly key: string;
  readonly destination: Destination;
  readonly entry: StoredResponse;
}

interface Remembered {
  readonly place: string;
  readonly directives: RequestDirectives;
  readonly prepared: Prepared;
  readonly bodiless: boolean;
  /** What {@link HostVerifier.shared} must say again. */
  readonly destination: Destination;
  readonly asked: Pick<Asker['request'], 'fields'> | undefined;
}

/** An answer to a remembered request. */
export interface Hit {
  readonly head: string;
  readonly body: readonly Buffer[];
  readonly bodyLength: number;
}

export interface MemoPorts {
  readonly cache: HttpCache;
  readonly node: NodeIdentity;
  readonly hosts: HostVerifier | undefined;
}

const NO_BODY: readonly Buffer[] = [];

export class RequestMemo {
  readonly #ports: MemoPorts;
  readonly #last: string;
  readonly #prepared = new WeakMap<StoredResponse, Prepared>();
  readonly #known = new Generations<Remembered>(GENERATION_BYTES);

  /** `last`: see {@link Prepared}. */
  constructor(ports: MemoPorts, last: string) {
    this.#ports = ports;
    this.#last = last;
  }

  get size(): number {
    return this.#known.size;
  }

  /** The answer to a request whose header section is that of a remembered one; `own` is where it was addressed to. */
  answer(name: string, own: Destination, monotonic: number): Hit | undefined {
    const known = this.#known.get(name);
    if (known === undefined) return undefined;
    const { cache, hosts } = this.#ports;
    const { place, directives, prepared, bodiless } = known;
    const entry = cache.again(place, directives, monotonic);
    if (entry === undefined || this.#prepared.get(entry) !== prepared || !this.#sameKey(known, own, hosts)) {
      this.#known.delete(name);
      return undefined;
    }
    cache.countHit();
    const head = prepared.head(currentAge(entry.freshness, monotonic));
    if (bodiless) return { head, body: NO_BODY, bodyLength: 0 };
    return { head, body: entry.body, bodyLength: entry.bodyLength };
  }

  /** Remembers how a request was answered. */
  learn(name: string, { key, entry, asker, destination }: Lesson): void {
    const { cache, node, hosts } = this.#ports;
    const place = cache.placeOf(key, entry, asker);
    if (place === undefined) return;
    let prepared = this.#prepared.get(entry);
    if (prepared === undefined) {
      prepared = new Prepared(node, entry, this.#last);
      this.#prepared.set(entry, prepared);
    }
    const { request, directives } = asker;
    const remembered = {
      place,
      directives,
      prepared,
      bodiless: request.method === 'HEAD',
      destination,
      asked: hosts === undefined ? undefined : { fields: request.fields },
    };
    // A response that several requests were answered with counts for each: none may be the last to hold it.
    this.#known.set(name, remembered, place.length + prepared.size);
  }

  #sameKey({ asked, destination }: Remembered, own: Destination, hosts: HostVerifier | undefined): boolean {
    if (hosts === undefined || asked === undefined) return true;
    return (hosts.shared(own, asked) ?? own).address === destination.address;
  }
}
