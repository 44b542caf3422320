/**
 * How streams to one destination usually begin, kept by both ends of a leg: many small responses have their fields and
 * their mark-up in common, but each is too short to learn them from.
 *
 * A dictionary is named by its content, so both sides mean the same bytes or have none.
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { ID_LENGTH } from './frame.js';

/** The first bytes of a stream that become a dictionary, and how many are worth it. */
const DICTIONARY_LENGTH = 32 * 1024;
const SHORTEST = 512;
export const NO_DICTIONARY = Buffer.alloc(ID_LENGTH);

export class Dictionaries {
  readonly #byId: LRUCache<string, Buffer>;
  readonly #latest: LRUCache<string, string>;

  constructor(bytes: number) {
    this.#byId = new LRUCache({ maxSize: bytes, sizeCalculation: (content) => content.length + 200 });
    this.#latest = new LRUCache({ max: 4096 });
  }

  get bytes(): number {
    return this.#byId.calculatedSize;
  }

  /** The dictionary for what comes from (or goes to) `subject`, such as a destination and a direction. */
  latest(subject: string): { id: Buffer; content: Buffer } | undefined {
    const id = this.#latest.get(subject);
    const content = id === undefined ? undefined : this.#byId.get(id);
    return id === undefined || content === undefined ? undefined : { id: Buffer.from(id, 'hex'), content };
  }

  find(id: Buffer): Buffer | undefined {
    return this.#byId.get(id.toString('hex'));
  }

  /** A stream received about `subject` began like this. A subject keeps its dictionary until the store has dropped it. */
  learn(subject: string, content: Buffer): void {
    if (content.length < SHORTEST || this.latest(subject) !== undefined) return;
    this.#latest.set(subject, this.#keep(content));
  }

  /** A stream that was sent began like this: its receiver may name it the next time. */
  remember(content: Buffer): void {
    if (content.length >= SHORTEST) this.#keep(content);
  }

  #keep(content: Buffer): string {
    const id = createHash('sha256')
      .update(content)
      .digest('hex')
      .slice(0, 2 * ID_LENGTH);
    if (this.#byId.get(id) === undefined) this.#byId.set(id, content);
    return id;
  }
}

/** The beginning of one direction of a leg, the same at both ends. */
export class Beginning {
  readonly #known: (content: Buffer) => void;
  #parts: Buffer[] | undefined = [];
  #length = 0;

  /** `known` is called once: after enough bytes, or at the end of a shorter stream. */
  constructor(known: (content: Buffer) => void) {
    this.#known = known;
  }

  add(plain: Buffer): void {
    if (this.#parts === undefined) return;
    this.#parts.push(Buffer.from(plain.subarray(0, DICTIONARY_LENGTH - this.#length)));
    this.#length += plain.length;
    if (this.#length >= DICTIONARY_LENGTH) this.end();
  }

  end(): void {
    if (this.#parts === undefined) return;
    const content = Buffer.concat(this.#parts);
    this.#parts = undefined;
    this.#known(content);
  }
}
