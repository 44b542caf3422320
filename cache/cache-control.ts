/**
 * Cache-Control (RFC 9111 section 5.2) as a structure.
 *
 * Names are case-insensitive, quoted strings are strings, unknown directives are ignored. Where the field contradicts
 * itself or cannot be read, the reading is the one that reuses less: a number that is none, or two different ones,
 * counts as 0 (RFC 9111 section 4.2.1), and a quoted string that does not end makes the response one that is not stored.
 */
import { recent } from './recent.js';
import { isToken, listMembers } from './fields.js';

/** RFC 9111 section 1.2.2: a larger number of seconds is taken as this one. */
export const MOST_SECONDS = 2 ** 31;

/** What a response says about its reuse; seconds. */
export interface ResponseDirectives {
  readonly maxAge: number | undefined;
  readonly sMaxAge: number | undefined;
  readonly noStore: boolean;
  /** Unqualified; {@link noCacheFields} has what `no-cache="…"` names. */
  readonly noCache: boolean;
  readonly noCacheFields: readonly string[];
  readonly isPrivate: boolean;
  readonly privateFields: readonly string[];
  readonly isPublic: boolean;
  readonly mustRevalidate: boolean;
  readonly proxyRevalidate: boolean;
  readonly mustUnderstand: boolean;
  /** RFC 8246. */
  readonly immutable: boolean;
  /** RFC 5861. */
  readonly staleWhileRevalidate: number | undefined;
  readonly staleIfError: number | undefined;
}

/** What a request allows (RFC 9111 section 5.2.1); seconds. */
export interface RequestDirectives {
  readonly maxAge: number | undefined;
  /** `Infinity` when it has no argument. */
  readonly maxStale: number | undefined;
  readonly minFresh: number | undefined;
  readonly noCache: boolean;
  readonly noStore: boolean;
  readonly onlyIfCached: boolean;
  readonly staleIfError: number | undefined;
}

export const NO_RESPONSE_DIRECTIVES: ResponseDirectives = {
  maxAge: undefined,
  sMaxAge: undefined,
  noStore: false,
  noCache: false,
  noCacheFields: [],
  isPrivate: false,
  privateFields: [],
  isPublic: false,
  mustRevalidate: false,
  proxyRevalidate: false,
  mustUnderstand: false,
  immutable: false,
  staleWhileRevalidate: undefined,
  staleIfError: undefined,
};

export const NO_REQUEST_DIRECTIVES: RequestDirectives = {
  maxAge: undefined,
  maxStale: undefined,
  minFresh: undefined,
  noCache: false,
  noStore: false,
  onlyIfCached: false,
  staleIfError: undefined,
};

/** The response directives that are there or not, by their name. */
const RESPONSE_FLAGS: Readonly<Record<string, keyof ResponseDirectives>> = {
  'no-store': 'noStore',
  public: 'isPublic',
  'must-revalidate': 'mustRevalidate',
  'proxy-revalidate': 'proxyRevalidate',
  'must-understand': 'mustUnderstand',
  immutable: 'immutable',
};

const RESPONSE_SECONDS: Readonly<Record<string, keyof ResponseDirectives>> = {
  'max-age': 'maxAge',
  's-maxage': 'sMaxAge',
  'stale-while-revalidate': 'staleWhileRevalidate',
  'stale-if-error': 'staleIfError',
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** `name`, then spaces that should not be there, then `=` and the rest. */
const MEMBER = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)([ \t]*)(?:=([ \t]*)([^]*))?$/;

interface Directive {
  readonly name: string;
  /** Unquoted; `undefined` when there is none. */
  readonly argument: string | undefined;
  /** Spaces around `=` are not allowed: what they do to a number is not guessed at. */
  readonly wellFormed: boolean;
}

function unquote(text: string): string {
  return /^"[^]*"$/.test(text) ? text.slice(1, -1).replace(/\\([^])/g, '$1') : text;
}

/** The directives in order; `undefined` when a quoted string does not end. */
function readDirectives(values: readonly string[]): Directive[] | undefined {
  const members = listMembers(values);
  if (members === undefined) return undefined;
  const directives: Directive[] = [];
  for (const member of members) {
    const [, name = '', before = '', after = '', argument] = MEMBER.exec(member) ?? [];
    if (name === '') continue; // no directive at all; ignored as an unknown one is
    directives.push({
      name: name.toLowerCase(),
      argument: argument === undefined ? undefined : unquote(argument),
      wellFormed: before === '' && after === '',
    });
  }
  return directives;
}

/** delta-seconds (RFC 9111 section 1.2.2); `undefined` when it is none. */
export function deltaSeconds(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Math.min(Number(text), MOST_SECONDS) : undefined;
}

/** RFC 9111 section 4.2.1: invalid or contradictory freshness information means stale. */
function agreed(
  before: number | undefined,
  { argument, wellFormed }: Pick<Directive, 'argument' | 'wellFormed'>,
): number {
  const seconds = wellFormed ? (deltaSeconds(argument) ?? 0) : 0;
  return before === undefined || before === seconds ? seconds : 0;
}

/** The field names of `no-cache` and `private`; `undefined` when the directive is about the whole response. */
function fieldNames(argument: string | undefined): readonly string[] | undefined {
  if (argument === undefined) return undefined;
  const names = argument.split(',').map((name) => name.trim().toLowerCase());
  return names.length > 0 && names.every(isToken) ? names : undefined;
}

function applyQualified(
  into: Mutable<ResponseDirectives>,
  whole: 'noCache' | 'isPrivate',
  named: 'noCacheFields' | 'privateFields',
  argument: string | undefined,
): void {
  const names = fieldNames(argument);
  if (names === undefined) into[whole] = true;
  else into[named] = [...into[named], ...names];
}

function applyResponse(into: Mutable<ResponseDirectives>, directive: Directive): void {
  const { name, argument } = directive;
  if (name === 'no-cache') applyQualified(into, 'noCache', 'noCacheFields', argument);
  else if (name === 'private') applyQualified(into, 'isPrivate', 'privateFields', argument);
  else if (Object.hasOwn(RESPONSE_FLAGS, name)) Object.assign(into, { [RESPONSE_FLAGS[name] ?? '']: true });
  else if (Object.hasOwn(RESPONSE_SECONDS, name)) {
    const key = RESPONSE_SECONDS[name] as 'maxAge';
    into[key] = agreed(into[key], directive);
  }
}

/** The directives of a response's Cache-Control lines. */
export function parseResponseDirectives(values: readonly string[] | undefined): ResponseDirectives {
  if (values === undefined) return NO_RESPONSE_DIRECTIVES;
  const [only] = values;
  return values.length === 1 && only !== undefined ? ofLine(only) : ofLines(values);
}

/** Many responses of an origin say the same. */
const ofLine = recent((line) => ofLines([line]));

function ofLines(values: readonly string[]): ResponseDirectives {
  const directives = readDirectives(values);
  if (directives === undefined) return { ...NO_RESPONSE_DIRECTIVES, noStore: true };
  const result: Mutable<ResponseDirectives> = { ...NO_RESPONSE_DIRECTIVES };
  for (const directive of directives) applyResponse(result, directive);
  return result;
}

function applyRequest(into: Mutable<RequestDirectives>, { name, argument, wellFormed }: Directive): void {
  const seconds = wellFormed ? deltaSeconds(argument) : undefined;
  switch (name) {
    case 'max-age': // the stricter reading of what is malformed or said twice
      into.maxAge = Math.min(into.maxAge ?? Infinity, seconds ?? 0);
      return;
    case 'min-fresh':
      into.minFresh = Math.max(into.minFresh ?? 0, seconds ?? 0);
      return;
    case 'max-stale':
      into.maxStale = Math.min(into.maxStale ?? Infinity, argument === undefined ? Infinity : (seconds ?? 0));
      return;
    case 'stale-if-error':
      into.staleIfError = Math.min(into.staleIfError ?? Infinity, seconds ?? 0);
      return;
    case 'no-cache':
      into.noCache = true;
      return;
    case 'no-store':
      into.noStore = true;
      return;
    case 'only-if-cached':
      into.onlyIfCached = true;
      return;
  }
}

/** The directives of a request's Cache-Control lines. */
export function parseRequestDirectives(values: readonly string[] | undefined): RequestDirectives {
  if (values === undefined) return NO_REQUEST_DIRECTIVES;
  const directives = readDirectives(values);
  if (directives === undefined) return { ...NO_REQUEST_DIRECTIVES, noStore: true, noCache: true };
  const result: Mutable<RequestDirectives> = { ...NO_REQUEST_DIRECTIVES };
  for (const directive of directives) applyRequest(result, directive);
  return result;
}
