/** What Node's parser of a client's requests is at; not documented, so it is looked for. */
import type { Socket } from 'node:net';

interface Parser {
  /** Milliseconds since an unfinished message, or the connection before its first one, began; 0 when there is none. */
  duration?(): number;
}

/** Whether the parser is between two requests; undefined where this Node.js does not tell. */
export function betweenRequests(client: Socket): boolean | undefined {
  const { parser } = client as Socket & { readonly parser?: Parser | null };
  const milliseconds = parser?.duration?.();
  return milliseconds === undefined ? undefined : milliseconds === 0;
}
