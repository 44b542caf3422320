/** What an unsafe request makes invalid (RFC 9111 section 4.4, RFC 9875). */
import { single, type Fields } from './fields.js';
import { resourceKey, type Destination, type RequestHead } from './key.js';
import { parseList } from './structured.js';

/** Methods that change nothing at the origin (RFC 9110 section 9.2.1 and the registry); any other may. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY']);

export function isSafe(method: string): boolean {
  return SAFE.has(method);
}

/** RFC 9111 section 4.4: only a non-error response, 2xx or 3xx, says that something has changed. */
export function changesState(method: string, status: number): boolean {
  return !isSafe(method) && status >= 200 && status < 400;
}

/** The target of `reference`, seen from the request's, if it is of the same origin. */
function sameOriginTarget(host: string, target: string, reference: string): string | undefined {
  try {
    const base = new URL(`http://${host}${target.startsWith('/') ? target : '/'}`);
    const resolved = new URL(reference, base);
    return resolved.origin === base.origin ? resolved.pathname + resolved.search : undefined;
  } catch {
    return undefined; // no URI: it names nothing that could be stored
  }
}

/** The keys besides the request's own that `Location` and `Content-Location` name, of the same origin only. */
export function namedKeys(destination: Destination, request: RequestHead, response: Fields): string[] {
  const host = single(request.fields, 'host');
  if (typeof host !== 'string') return [];
  const keys: string[] = [];
  for (const name of ['location', 'content-location']) {
    const reference = single(response, name);
    const target =
      typeof reference === 'string' ? sameOriginTarget(host, request.target, reference) : undefined;
    const key = target === undefined ? undefined : resourceKey(destination, { ...request, target });
    if (key !== undefined) keys.push(key);
  }
  return keys;
}

/** RFC 9875 section 2: at least 32 groups of at least 32 characters have to be understood. */
const MOST_GROUPS = 64;
const LONGEST_GROUP = 256;

/** One list for all that name none, which is most of what is stored. */
const NO_GROUPS: readonly string[] = [];

function groupList(fields: Fields, name: string): readonly string[] {
  const values = fields.get(name);
  const members = values && parseList(values);
  if (members === undefined) return NO_GROUPS;
  const groups: string[] = [];
  for (const member of members) {
    // RFC 9875 section 2: only strings, and one member of another type spoils the list.
    if (!('item' in member) || member.item.kind !== 'string') return [];
    if (member.item.value.length <= LONGEST_GROUP) groups.push(member.item.value);
  }
  return groups.slice(0, MOST_GROUPS);
}

/** The groups that a response belongs to (RFC 9875 section 2). */
export function cacheGroups(fields: Fields): readonly string[] {
  return groupList(fields, 'cache-groups');
}

/** The groups of this origin that an unsafe request has made invalid (RFC 9875 section 3). */
export function invalidatedGroups(fields: Fields): readonly string[] {
  return groupList(fields, 'cache-group-invalidation');
}
