/** The header section of a stored response, ready to be sent but for the numbers that grow with its age. */
import { formatCacheStatus } from '../../cache/cache-status.js';
import type { StoredResponse } from '../../cache/stored.js';
import { storedHeaders } from './deliver.js';
import { fullHeaders } from './deliver-stored.js';
import type { NodeIdentity } from './headers.js';

/** What Node writes behind the fields of a response after which the connection goes on. */
export function persistence(keepAliveTimeout: number): string {
  const seconds = Math.floor(keepAliveTimeout / 1000);
  return `Connection: keep-alive\r\n${keepAliveTimeout > 0 ? `Keep-Alive: timeout=${seconds}\r\n` : ''}`;
}

export class Prepared {
  readonly #node: NodeIdentity;
  /** Up to the value of `Age`, from there to the node's own member of `Cache-Status`, and what follows that. */
  readonly #parts: readonly [string, string, string];
  readonly #lifetime: number;
  #age = -1;
  #text = '';

  /** `last` is written behind the fields: see {@link persistence}. */
  constructor(node: NodeIdentity, entry: StoredResponse, last: string) {
    this.#node = node;
    this.#lifetime = Math.floor(entry.freshness.lifetime);
    const headers = fullHeaders(entry, storedHeaders(node, entry, 0, { hit: true, ttl: 0 }));
    const parts: [string, string, string] = [`HTTP/1.1 ${entry.status} ${entry.statusMessage}\r\n`, '', ''];
    // What is stored has no Age, and the node's own line of Cache-Status is the last.
    const statusAt = headers.lastIndexOf('Cache-Status');
    let part: 0 | 1 | 2 = 0;
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const [name = '', value = ''] = headers.slice(index, index + 2);
      const open = part === 0 ? name === 'Age' : index === statusAt;
      parts[part] += open ? `${name}: ` : `${name}: ${value}\r\n`;
      if (!open) continue;
      part = part === 0 ? 1 : 2;
      parts[part] += '\r\n';
    }
    parts[2] += `${last}\r\n`;
    this.#parts = parts;
  }

  /** Characters it holds, the last header section that was asked for included. */
  get size(): number {
    return this.#parts.reduce((sum, part) => sum + 2 * part.length, 0);
  }

  /** The header section at an age in whole seconds; one character for each byte. */
  head(age: number): string {
    if (age !== this.#age) {
      const [first, middle, last] = this.#parts;
      const status = formatCacheStatus(this.#node.cacheStatus, { hit: true, ttl: this.#lifetime - age });
      this.#text = `${first}${age}${middle}${status}${last}`;
      this.#age = age;
    }
    return this.#text;
  }
}
