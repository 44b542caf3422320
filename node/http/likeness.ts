/**
 * Requests that are like one before them in all but their target, by the bytes of their fields.
 *
 * What Node's parser makes of a header section's fields does not depend on the request line before them, and neither does what
 * they allow a cache to do (request-directives.ts). So a GET whose fields are byte for byte those of one that the parser has read, and
 * whose target has nothing but the characters of RFC 3986, is read here.
 */
import type { RequestDirectives } from '../../cache/cache-control.js';
import type { RequestHead } from '../../cache/key.js';
import { Generations } from './generations.js';
import { fieldsText, requestHeaders, type NodeIdentity } from './headers.js';

/** A GET without content, conditions or ranges that any cache may answer, after which the connection goes on. */
export interface Likeness {
  readonly head: RequestHead;
  readonly directives: RequestDirectives;
}

/** A request that was read here. */
export interface Alike extends Likeness {
  /** Its fields as they are sent on; see {@link fieldsText}. */
  readonly prepared: string;
}

type Known = Omit<Alike, 'head'> & Pick<RequestHead, 'rawHeaders' | 'fields'>;

/** Bytes of fields in one generation; there are two. */
const GENERATION_BYTES = 2 * 2 ** 20;
/** In origin form (RFC 9112 section 3.2.1), of the characters of RFC 3986 section 2. */
const REQUEST_LINE = /^GET (\/[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=%]*) HTTP\/1\.1\r\n/;

export class Likenesses {
  readonly #node: NodeIdentity;
  readonly #known = new Generations<Known>(GENERATION_BYTES);

  constructor(node: NodeIdentity) {
    this.#node = node;
  }

  /** How many header sections' fields are known. */
  get size(): number {
    return this.#known.size;
  }

  /** The request whose header section is `text`, if it is like a known one. */
  read(text: string): Alike | undefined {
    const [line, target] = REQUEST_LINE.exec(text) ?? [];
    if (line === undefined || target === undefined) return undefined;
    const known = this.#known.get(text.slice(line.length));
    if (known === undefined) return undefined;
    const { rawHeaders, fields, directives, prepared } = known;
    return { head: { method: 'GET', target, rawHeaders, fields, hasBody: false }, directives, prepared };
  }

  /** Remembers what a request with the header section `text` was. */
  learn(text: string, { head, directives }: Likeness): void {
    const [line] = REQUEST_LINE.exec(text) ?? [];
    const { rawHeaders, fields } = head;
    const named = { httpVersion: '1.1', authority: '' }; // there is a Host, or it would have been refused
    const prepared = fieldsText(requestHeaders(head, named, this.#node, new Set()));
    if (line === undefined || prepared === undefined) return;
    const name = text.slice(line.length);
    this.#known.set(name, { rawHeaders, fields, directives, prepared }, prepared.length + 2 * name.length);
  }
}
