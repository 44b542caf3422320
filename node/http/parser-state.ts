/** What Node's parser of a client's requests is at; not documented, so it is looked for. */
import type { Socket } from 'node:net';

interface Parser {
  /** Milliseconds since an unfinished message, or the connection before its first one, began; 0 when there is none. Up to Node 21. */
  duration?(): number;
  /** What is wrong with the bytes if no more of them come: nothing between two messages. Changes nothing within a request. */
  finish?(): Error | undefined;
}

/** Whether the parser is between two requests; undefined where this Node.js does not tell. Not for callbacks of the parser. */
export function betweenRequests(client: Socket): boolean | undefined {
  const { parser } = client as Socket & { readonly parser?: Parser | null };
  const milliseconds = parser?.duration?.();
  if (milliseconds !== undefined) return milliseconds === 0;
  if (parser?.finish === undefined) return undefined;
  return parser.finish() === undefined;
}
