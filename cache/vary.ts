/**
 * Which stored response a request selects (RFC 9111 section 4.1).
 *
 * Two requests select the same response when the fields that it names in `Vary` are the same after what the section allows:
 * lines combined, white space removed, and orders and letter cases that mean nothing made the same.
 */
import { listMembers, tokenList, type Fields } from './fields.js';

/** Lists whose order and letter case mean nothing (RFC 9110 sections 12.5.2 to 12.5.4); weights are kept. */
const UNORDERED = new Set(['accept-language', 'accept-encoding', 'accept-charset']);
/** No field value can hold it. */
const ABSENT = '\0';
const SEPARATOR = '\n';

/** One list for all responses that vary by nothing. */
const NO_NAMES: readonly string[] = [];

/** The fields a response varies by: sorted, lower-case; `undefined` for `*` and for what cannot be read. */
export function readVary(fields: Fields): readonly string[] | undefined {
  const values = fields.get('vary');
  if (values === undefined) return NO_NAMES;
  const names = tokenList(values);
  return names === undefined || names.includes('*') ? undefined : [...new Set(names)].sort();
}

interface Weighted {
  readonly value: string;
  readonly weight: number;
}

/** `de;q=0.5` (RFC 9110 section 12.4.2); an unreadable weight counts as 1. */
function weighted(member: string): Weighted {
  const [, value = member, q = '1'] =
    /^([^;]*?)[ \t]*;[ \t]*q=([01](?:\.\d{0,3})?)[ \t]*$/i.exec(member) ?? [];
  return { value: value.trim(), weight: Number(q) };
}

/** A field's lines as one value that is the same for all that mean the same. */
export function normalise(name: string, values: readonly string[]): string {
  if (values.length === 1 && !UNORDERED.has(name) && !/[,\s]/.test(values[0] ?? '')) return values[0] ?? '';
  const members = listMembers(values);
  if (members === undefined) return values.join(', ');
  if (!UNORDERED.has(name)) return members.join(',');
  return members
    .map((member) => weighted(member.toLowerCase()))
    .map(({ value, weight }) => (weight === 1 ? value : `${value};q=${weight}`))
    .sort()
    .join(',');
}

/** The secondary key: what `fields` say in those that `vary` names. An absent field differs from an empty one. */
export function variantKey(vary: readonly string[], fields: Fields): string {
  if (vary.length === 0) return '';
  let key = '';
  for (const name of vary) {
    const values = fields.get(name);
    key += (values === undefined ? ABSENT : normalise(name, values)) + SEPARATOR;
  }
  return key;
}

/** The one language a client prefers to all others, lower-case; `undefined` when there is no such one. */
function preferredLanguage(fields: Fields): string | undefined {
  const accepted = (listMembers(fields.get('accept-language') ?? []) ?? []).map(weighted);
  const best = Math.max(0, ...accepted.map(({ weight }) => weight));
  const first = accepted.filter(({ weight }) => weight === best && weight > 0);
  return first.length === 1 && first[0]?.value !== '*' ? first[0]?.value.toLowerCase() : undefined;
}

/**
 * Whether a stored response in `language` is what the origin would choose for a client with these fields although its
 * Accept-Language reads otherwise: it is in the language that the client prefers to all others.
 */
export function speaksPreferred(language: readonly string[] | undefined, fields: Fields): boolean {
  return language?.length === 1 && language[0]?.trim().toLowerCase() === preferredLanguage(fields);
}
