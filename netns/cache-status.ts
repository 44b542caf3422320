/**
 * Reads `Cache-Status` (RFC 9211): which cache on the path answered.
 *
 * Members stand in the order of the path, the cache next to the origin first. A response that a cache stored keeps the
 * members of the caches it came through, so the last member with `hit` (the one nearest the client) is the one that
 * answered this request.
 */
interface Member {
  readonly cache: string;
  /** Values as text; a parameter without one has the empty text. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Members of the list, in order; what does not look like one is left out. */
export function readMembers(field: string): Member[] {
  const members = field.match(/(?:"(?:[^"\\]|\\.)*"|[^,"])+/g) ?? [];
  return members.flatMap((text) => {
    const [name = '', ...parameters] = text.split(';').map((part) => part.trim());
    const cache = /^"(.*)"$/.exec(name)?.[1] ?? name;
    if (cache === '') return [];
    const pairs = parameters.map((parameter): [string, string] => {
      const [key = '', value = ''] = parameter.split('=');
      return [key, value];
    });
    return [{ cache, parameters: new Map(pairs) }];
  });
}

/** The cache that answered; `undefined` when every cache went forward, or there was none. */
export function answeredBy(cacheStatus: string): string | undefined {
  return readMembers(cacheStatus).findLast(({ parameters }) => parameters.has('hit'))?.cache;
}
