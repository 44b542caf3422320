/** Messages between a node and its workers over pipes: four bytes of length, then a value as V8 serialises it. */
import { deserialize, serialize } from 'node:v8';

const PREFIX = 4;

export function encode(message: unknown): Buffer {
  const value = serialize(message);
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32LE(value.length);
  return Buffer.concat([prefix, value]);
}

/** Puts messages together from what arrives. */
export class Decoder {
  #parts: Buffer[] = [];
  #size = 0;

  /** The messages that are whole with this chunk. */
  push(chunk: Buffer): unknown[] {
    this.#parts.push(chunk);
    this.#size += chunk.length;
    const messages: unknown[] = [];
    for (let length = this.#next(); length !== undefined; length = this.#next()) {
      const all = this.#join();
      messages.push(deserialize(all.subarray(PREFIX, PREFIX + length)));
      this.#parts = [all.subarray(PREFIX + length)];
      this.#size -= PREFIX + length;
    }
    return messages;
  }

  /** The length of the next message, if all of it is there. */
  #next(): number | undefined {
    if (this.#size < PREFIX) return undefined;
    const first = this.#parts[0] ?? Buffer.alloc(0);
    const length = (first.length < PREFIX ? this.#join() : first).readUInt32LE(0);
    return this.#size < PREFIX + length ? undefined : length;
  }

  #join(): Buffer {
    const all = this.#parts.length === 1 ? (this.#parts[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#parts);
    this.#parts = [all];
    return all;
  }
}
