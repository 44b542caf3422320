/**
 * Messages between a node and its workers over pipes. A worker may have been taken over by what it decoded: a message is two
 * lengths, JSON, and bytes, and nothing else is made of it.
 *
 * ```
 *   | u32 bytes of JSON | u32 bytes of content, or 2^32 - 1 for none | JSON | content |
 * ```
 */
import { TpotError } from '../core/errors.js';

const PREFIX = 8;
const NONE = 0xffff_ffff;
/** Of one message's JSON: names, reports, options. */
const MOST_JSON = 2 ** 20;

export interface Message {
  /** Of a question; its answer has the same. */
  readonly id?: number;
  readonly content?: Uint8Array;
}

export function encode({ content, ...rest }: Message): Buffer {
  const json = Buffer.from(JSON.stringify(rest));
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32LE(json.length, 0);
  prefix.writeUInt32LE(content?.length ?? NONE, 4);
  return Buffer.concat([prefix, json, content ?? Buffer.alloc(0)]);
}

/** Puts messages together from what arrives. */
export class Decoder {
  readonly #mostContent: number;
  #parts: Buffer[] = [];
  #size = 0;

  /** `mostContent` is the longest content that a message may have. */
  constructor(mostContent: number) {
    this.#mostContent = mostContent;
  }

  /**
   * The messages that are whole with this chunk.
   *
   * @throws TpotError `content-worker` for one that is too long, SyntaxError for one that is no JSON
   */
  push(chunk: Buffer): Message[] {
    this.#parts.push(chunk);
    this.#size += chunk.length;
    const messages: Message[] = [];
    for (let lengths = this.#next(); lengths !== undefined; lengths = this.#next()) {
      const all = this.#join();
      const end = PREFIX + lengths.json + lengths.content;
      const rest = JSON.parse(all.toString('utf8', PREFIX, PREFIX + lengths.json)) as object;
      const content = lengths.none ? {} : { content: all.subarray(PREFIX + lengths.json, end) };
      messages.push({ ...rest, ...content });
      this.#parts = [all.subarray(end)];
      this.#size -= end;
    }
    return messages;
  }

  /** The lengths of the next message, if all of it is there. */
  #next(): { json: number; content: number; none: boolean } | undefined {
    if (this.#size < PREFIX) return undefined;
    const [first = Buffer.alloc(0)] = this.#parts;
    const head = first.length < PREFIX ? this.#join() : first;
    const [json, said] = [head.readUInt32LE(0), head.readUInt32LE(4)];
    const content = said === NONE ? 0 : said;
    if (json > MOST_JSON || content > this.#mostContent) {
      throw new TpotError('content-worker', 'a message is longer than it may be');
    }
    return this.#size < PREFIX + json + content ? undefined : { json, content, none: said === NONE };
  }

  #join(): Buffer {
    const [first = Buffer.alloc(0)] = this.#parts;
    const all = this.#parts.length === 1 ? first : Buffer.concat(this.#parts);
    this.#parts = [all];
    return all;
  }
}
