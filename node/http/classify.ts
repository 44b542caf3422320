/**
 * Tells HTTP/1.x requests from everything else by the first bytes of a connection (RFC 9112 section 3).
 *
 * `http` is a promise that the strict parser behind it will take the request line: a method it knows, one space, a
 * target of a form the method allows, one space, `HTTP/1.0` or `HTTP/1.1`, CRLF. All else is `other` and gets relayed,
 * because a relayed request reaches its origin and a rejected one does not.
 */
import { METHODS } from 'node:http';

/** Longest request line that is looked at. */
const MOST_BYTES = 8192;
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
/** RFC 9112 section 2.2: at least one empty line before a request is ignored. */
const MOST_EMPTY_BYTES = 4;
const VERSIONS = ['HTTP/1.1\r\n', 'HTTP/1.0\r\n'];
const SCHEMES = ['http://', 'https://'];

type Verdict = 'http' | 'other' | 'need-more';

/** Compares `text` with one of `candidates`: complete at its start, or what there is so far fits. */
function compare(text: string, candidates: readonly string[]): 'match' | 'prefix' | 'differs' {
  if (candidates.some((candidate) => text.startsWith(candidate))) return 'match';
  return candidates.some((candidate) => candidate.startsWith(text)) ? 'prefix' : 'differs';
}

/** Whether a target may begin like this (RFC 9112 section 3.2). */
function targetFits(method: string, target: string): boolean {
  if (method === 'CONNECT') return /^[A-Za-z0-9._~%[-]/.test(target);
  if (target.startsWith('/')) return true;
  if (target.startsWith('*')) return method === 'OPTIONS' && target.length === 1;
  return compare(target.toLowerCase(), SCHEMES) !== 'differs';
}

function skipEmptyLines(bytes: Uint8Array): number {
  let at = 0;
  while (at < MOST_EMPTY_BYTES && (bytes[at] === CR || bytes[at] === LF)) at++;
  return at;
}

/** The index of the first byte from `from` on that is not printable and not obs-text: a space, a control, or the end. */
function wordEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  for (let byte = bytes[at]; byte !== undefined && byte > SPACE && byte !== 0x7f; byte = bytes[at]) at++;
  return at;
}

function text(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1');
}

/**
 * Classifies what a client has sent so far. Decides as early as is safe: a byte that cannot stand in a request line
 * settles it (TLS and SSH at the first), `http` needs the whole line.
 */
export function classify(bytes: Uint8Array): Verdict {
  const more: Verdict = bytes.length >= MOST_BYTES ? 'other' : 'need-more';
  const start = skipEmptyLines(bytes);
  const methodEnd = wordEnd(bytes, start);
  const method = text(bytes, start, methodEnd);
  if (methodEnd === bytes.length) return METHODS.some((known) => known.startsWith(method)) ? more : 'other';
  if (bytes[methodEnd] !== SPACE || !METHODS.includes(method)) return 'other';

  const targetEnd = wordEnd(bytes, methodEnd + 1);
  const target = text(bytes, methodEnd + 1, targetEnd);
  if (target !== '' && !targetFits(method, target)) return 'other';
  if (targetEnd === bytes.length) return more;
  if (bytes[targetEnd] !== SPACE || target === '') return 'other';

  const versionStart = targetEnd + 1;
  const version = text(bytes, versionStart, Math.min(bytes.length, versionStart + 10));
  const fit = compare(version, VERSIONS);
  return fit === 'match' ? 'http' : fit === 'prefix' ? more : 'other';
}
