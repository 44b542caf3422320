/** Content codings (RFC 9110 section 8.4): the one that a response has, and those that a client takes. */
import { listMembers, type Fields } from '../cache/fields.js';

/** Those that can be taken off and put on, the one that makes text smallest first. */
const CODINGS = ['br', 'zstd', 'gzip', 'deflate'] as const;

export type Coding = (typeof CODINGS)[number];
/** A coding, or none. */
export type AnyCoding = Coding | 'identity';

/** What is to be done about the coding of a response. */
export interface Recoding {
  readonly from: Coding;
  /** In which of these the client gets the new content: the best first. */
  readonly to: readonly AnyCoding[];
}

export function isAnyCoding(name: unknown): name is AnyCoding {
  return name === 'identity' || CODINGS.some((coding) => coding === name);
}

/** RFC 9110 section 8.4.1.3: recipients take x-gzip for gzip. */
function canonical(name: string): string {
  return name === 'x-gzip' ? 'gzip' : name;
}

/** The coding of a response; `undefined`: one that is not known here, or several. */
export function codingOf(response: Fields): AnyCoding | undefined {
  const said = response.get('content-encoding');
  if (said === undefined) return 'identity';
  const [first = 'identity', ...more] = (listMembers(said) ?? ['', ''])
    .map((member) => canonical(member.toLowerCase()))
    .filter((member) => member !== 'identity');
  return more.length === 0 && isAnyCoding(first) ? first : undefined;
}

const WEIGHT = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/;

/** Weights by lower-case name; a member that cannot be read counts as not there. */
function weights(values: readonly string[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const member of listMembers(values) ?? []) {
    const [name = '', parameter = 'q=1', ...more] = member
      .split(';')
      .map((part) => part.trim().toLowerCase());
    const weight = WEIGHT.exec(parameter)?.[1];
    if (weight !== undefined && more.length === 0) found.set(canonical(name), Number(weight));
  }
  return found;
}

/** Of what the client did not weigh: after everything that it did. */
const UNWEIGHED = 0.0001;

/**
 * The codings that a request accepts, the best first (RFC 9110 section 12.5.3). A client that says nothing about them gets
 * the one that the response came in.
 */
export function acceptedCodings(request: Fields, from: Coding): AnyCoding[] {
  const said = request.get('accept-encoding');
  if (said === undefined) return [from, 'identity'];
  const found = weights(said);
  const star = found.get('*');
  const weigh = (coding: AnyCoding): number =>
    found.get(coding) ?? star ?? (coding === 'identity' ? UNWEIGHED : 0);
  return [...CODINGS, 'identity' as const]
    .map((coding) => ({ coding, weight: weigh(coding) }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => b.weight - a.weight)
    .map(({ coding }) => coding);
}
