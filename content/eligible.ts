/**
 * What an intermediary may transform (RFC 9110 section 7.7), and what it then has to say. In doubt a response stays as it is.
 */
import { listMembers, single, without, type Fields, type RawHeaders } from '../cache/fields.js';
import { entityTag } from '../cache/validation.js';
import { codingOf, type AnyCoding } from './content-coding.js';

export interface Exchange {
  readonly method: string;
  readonly request: Fields;
  readonly status: number;
  readonly response: Fields;
}

/** Why a response stays as it is; stable words for `stats`. */
export type Untouched =
  /** Neither GET nor HEAD. */
  | 'method'
  | 'status'
  | 'no-transform'
  /** A part was asked for, or came. */
  | 'range'
  /** It has a content coding that is not known here, or several, or the client takes none that is. */
  | 'encoded'
  /** Its content coding cannot be taken off, or stands for more than may be transformed. */
  | 'undecodable'
  | 'decoded-too-large'
  /** A digest or a signature vouches for its bytes, or a client may check its integrity. */
  | 'signed'
  /** A file that is to be saved. */
  | 'attachment'
  /** Another node has transformed it. */
  | 'transformed'
  /** It has trailers, or ends with the connection, so that nobody knows whether it is whole. */
  | 'framing'
  /** No step is for its media type. */
  | 'type'
  | 'too-large'
  /** It did not arrive whole in time. */
  | 'too-slow'
  | 'busy'
  | 'timeout'
  | 'failed'
  | 'no-gain';

/** Fields that vouch for the very bytes (RFC 9421, 9530, 3230, 1864; the last two are of packages and of drafts). */
const VOUCHERS = [
  'signature',
  'signature-input',
  'content-digest',
  'repr-digest',
  'unencoded-digest',
  'digest',
  'content-md5',
  'x-content-digest',
  'x-amz-meta-sha256',
];

function lower(fields: Fields, name: string): string {
  return (fields.get(name) ?? []).join(',').toLowerCase();
}

function forbids(fields: Fields): boolean {
  const said = fields.get('cache-control');
  if (said === undefined) return false;
  const members = listMembers(said);
  // What cannot be read may have meant it.
  return members?.some((one) => /^no-transform(?:\s*=|$)/i.test(one)) ?? /no-transform/i.test(said.join());
}

/**
 * A script or style sheet that is asked for across origins, by a browser that says so: documents ask like this where
 * they vouch for the bytes (Subresource Integrity).
 */
function mayBeChecked(request: Fields): boolean {
  const as = lower(request, 'sec-fetch-dest');
  return lower(request, 'sec-fetch-mode') === 'cors' && (as === 'script' || as === 'style');
}

/** What this node's member of Cache-Status says of what it has transformed. */
export const TRANSFORMED = 'transformed';

function bytesMatter({ request, response }: Exchange): Untouched | undefined {
  if (request.has('range') || request.has('if-range') || response.has('content-range')) return 'range';
  if (codingOf(response) === undefined) return 'encoded';
  if (VOUCHERS.some((name) => response.has(name)) || mayBeChecked(request)) return 'signed';
  if (response.has('trailer')) return 'framing';
  return /^\s*attachment/.test(lower(response, 'content-disposition')) ? 'attachment' : undefined;
}

/** `undefined`: it may be transformed, if a step is for its type. */
export function untouchable(exchange: Exchange): Untouched | undefined {
  const { method, request, status, response } = exchange;
  if (method !== 'GET' && method !== 'HEAD') return 'method';
  if (status !== 200) return 'status';
  if (forbids(request) || forbids(response)) return 'no-transform';
  if (/;\s*detail=transformed\b/.test(lower(response, 'cache-status'))) return 'transformed';
  return bytesMatter(exchange);
}

export interface MediaType {
  /** Without parameters, in lower case; empty when there is none, or several. */
  readonly mediaType: string;
  readonly charset: string | undefined;
}

export function mediaTypeOf(response: Fields): MediaType {
  const said = single(response, 'content-type') ?? '';
  const charset = /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(said)?.[1]?.toLowerCase();
  return { mediaType: (said.split(';')[0] ?? '').trim().toLowerCase(), charset };
}

/** What a transform has made of a response. */
export interface Change {
  readonly length: number;
  /** The new media type; undefined: it stays, with its parameters. */
  readonly mediaType: string | undefined;
  /** The content coding that it has now; undefined: as before, none. */
  readonly coding: AnyCoding | undefined;
  /** Lower-case names of request fields on which it depends: other requests may get other bytes. */
  readonly vary: readonly string[];
  /** Tells these bytes from others; characters of an entity tag. */
  readonly tag: string;
}

/**
 * A weak validator, since a node that transforms anew may come to other bytes that mean the same (RFC 9110 section 8.8.1). It
 * begins as the original's, and differs from it and from those of other pipelines.
 */
export function transformedTag(response: Fields, tag: string): string {
  const original = entityTag(response)?.replace(/^W\//, '').slice(1, -1);
  return original === undefined ? `W/"${tag}"` : `W/"${original}-${tag}"`;
}

/**
 * Fields of the original's bytes. Last-Modified is among them: it would let a client put a part of the original behind a
 * part of this (RFC 9110 section 13.1.5).
 */
const OF_THE_BYTES = new Set([
  'content-length',
  'content-encoding',
  'accept-ranges',
  'etag',
  'last-modified',
  'vary',
  'sourcemap',
]);

/** `Vary` with further names, in the form in which it stood. */
function mergedVary(response: Fields, added: readonly string[]): string[] {
  const present = (response.get('vary') ?? []).map((value) => value.trim()).filter((value) => value !== '');
  const names = new Set(
    present
      .join(',')
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  );
  const more = names.has('*') ? [] : added.filter((name) => !names.has(name));
  const all = [...present, ...more.map((name) => name.replaceAll(/(?:^|-)[a-z]/g, (c) => c.toUpperCase()))];
  return all.length === 0 ? [] : ['Vary', all.join(', ')];
}

/** The header section of the transformed response, from the original's end-to-end fields. */
export function transformedHeaders(raw: RawHeaders, response: Fields, change: Change): string[] {
  const { length, mediaType, coding = 'identity', vary, tag } = change;
  const dropped = mediaType === undefined ? OF_THE_BYTES : new Set([...OF_THE_BYTES, 'content-type']);
  const headers = without(raw, (name) => dropped.has(name));
  if (mediaType !== undefined) headers.push('Content-Type', mediaType);
  if (coding !== 'identity') headers.push('Content-Encoding', coding);
  headers.push('ETag', transformedTag(response, tag), 'Accept-Ranges', 'none');
  headers.push(...mergedVary(response, vary), 'Content-Length', String(length));
  return headers;
}

/** What HEAD may say where the content of a GET would be transformed: nothing of the original's bytes (RFC 9110 section 9.3.2). */
export function headersOfUnknown(raw: RawHeaders, response: Fields, vary: readonly string[]): string[] {
  return [...without(raw, (name) => OF_THE_BYTES.has(name)), ...mergedVary(response, vary)];
}
