/** What an intermediary may transform (RFC 9110 section 7.7), and what it then has to say. Field names are in lower case. */

export type Fields = ReadonlyMap<string, readonly string[]>;

export interface Exchange {
  readonly method: string;
  readonly requestFields: Fields;
  readonly status: number;
  readonly responseFields: Fields;
}

/** Why a response stays as it is; stable codes for `stats`. */
export type Untouched =
  | 'not-a-get'
  | 'not-complete'
  | 'no-transform'
  | 'encoded'
  | 'signed'
  | 'range'
  | 'type'
  | 'size'
  | 'busy'
  | 'failed'
  | 'no-gain';

/** Fields that vouch for the very bytes (RFC 9421, 9530, 3230, 1864). */
const SIGNATURES = ['signature', 'signature-input', 'content-digest', 'repr-digest', 'digest', 'content-md5'];
/** Fields that no longer hold for other bytes. */
const OF_THE_BYTES = new Set(['content-length', 'accept-ranges', 'etag', 'content-type', 'vary']);

function values(fields: Fields, name: string): string {
  return (fields.get(name) ?? []).join(',').toLowerCase();
}

function forbids(fields: Fields): boolean {
  return values(fields, 'cache-control')
    .split(',')
    .some((directive) => directive.trim() === 'no-transform');
}

/** `undefined`: it may be transformed, if a transform is for its type. */
export function untouchable({
  method,
  requestFields,
  status,
  responseFields,
}: Exchange): Untouched | undefined {
  if (method !== 'GET') return 'not-a-get';
  if (status !== 200) return 'not-complete';
  if (forbids(requestFields) || forbids(responseFields)) return 'no-transform';
  if (requestFields.has('range') || responseFields.has('content-range')) return 'range';
  const coding = values(responseFields, 'content-encoding');
  if (coding !== '' && coding !== 'identity') return 'encoded';
  if (SIGNATURES.some((name) => responseFields.has(name))) return 'signed';
  return undefined;
}

/** The media type without parameters, in lower case; empty when there is none. */
export function mediaType(fields: Fields): string {
  return (values(fields, 'content-type').split(';')[0] ?? '').trim();
}

export interface Change {
  readonly length: number;
  /** The new media type; undefined: it stays. */
  readonly contentType: string | undefined;
  /** Request fields that decided: other requests may get other bytes. */
  readonly vary: readonly string[];
}

/**
 * The fields of the transformed response. Its validator is weak, since the bytes are others (RFC 9110 section 8.8.1); it
 * offers no ranges, which a weak validator could not guard; `Vary` says what it depends on.
 */
export function transformedFields(
  fields: Fields,
  { length, contentType, vary }: Change,
): Map<string, string[]> {
  const changed = new Map<string, string[]>();
  for (const [name, of] of fields) if (!OF_THE_BYTES.has(name)) changed.set(name, [...of]);
  changed.set('content-length', [String(length)]);
  changed.set(
    'content-type',
    contentType === undefined ? [...(fields.get('content-type') ?? [])] : [contentType],
  );
  changed.set('accept-ranges', ['none']);
  const tag = fields.get('etag')?.[0];
  if (tag !== undefined) changed.set('etag', [tag.startsWith('W/') ? tag : `W/${tag}`]);
  const varies = mergedVary(fields.get('vary') ?? [], vary);
  if (varies !== undefined) changed.set('vary', [varies]);
  return changed;
}

function mergedVary(present: readonly string[], added: readonly string[]): string | undefined {
  const names = present.flatMap((value) => value.split(',')).map((name) => name.trim());
  if (names.includes('*')) return '*';
  const lower = new Set(names.map((name) => name.toLowerCase()));
  const all = [
    ...names.filter((name) => name !== ''),
    ...added.filter((name) => !lower.has(name.toLowerCase())),
  ];
  return all.length === 0 ? undefined : all.join(', ');
}
