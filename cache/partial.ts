/**
 * Ranges and partial responses (RFC 9110 section 14, RFC 9111 sections 3.3 and 3.4): what a client asked for, what an origin
 * has sent of a representation, and putting the pieces together.
 */
import { listMembers, single, type Fields } from './fields.js';

/** Positions of bytes, both included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/** A piece of a representation: its place, and its bytes in blocks. */
export interface Piece extends ByteRange {
  readonly blocks: readonly Buffer[];
}

/** What is there of a representation that is not complete: in order, apart from each other. */
export interface Pieces {
  readonly pieces: readonly Piece[];
  /** Bytes of the whole representation, as the origin said. */
  readonly total: number;
}

/** Ranges answered in one response; more are a sign of an attack (RFC 9110 section 14.2). */
const MOST_RANGES = 16;
const DIGITS = 15;

/** One range as written: `5-9`, `5-`, or `-5` for the last five. */
export type RangeSpec =
  { readonly first: number; readonly last: number | undefined } | { readonly suffix: number };

/** The ranges of a `Range: bytes=…`; `undefined` when there is none that this cache can answer. */
export function readRange(fields: Fields): readonly RangeSpec[] | undefined {
  const value = single(fields, 'range');
  const [, text] = (typeof value === 'string' && /^bytes=(.*)$/i.exec(value)) || [];
  if (text === undefined) return undefined;
  const members = listMembers([text]) ?? [];
  if (members.length === 0 || members.length > MOST_RANGES) return undefined;
  const specs: RangeSpec[] = [];
  for (const member of members) {
    const [, first, last] = /^(\d*)-(\d*)$/.exec(member) ?? [];
    if (first === undefined || last === undefined || first.length > DIGITS || last.length > DIGITS)
      return undefined;
    if (first === '' && last === '') return undefined;
    if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined;
    if (first === '') specs.push({ suffix: Number(last) });
    else specs.push({ first: Number(first), last: last === '' ? undefined : Number(last) });
  }
  return specs;
}

/** The satisfiable ranges among `specs` of a representation of `total` bytes. */
export function resolveRanges(specs: readonly RangeSpec[], total: number): ByteRange[] {
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    const first = 'suffix' in spec ? Math.max(0, total - spec.suffix) : spec.first;
    const last = 'suffix' in spec ? total - 1 : Math.min(spec.last ?? total - 1, total - 1);
    if (first <= last) ranges.push({ first, last });
  }
  return ranges;
}

export interface ContentRange extends ByteRange {
  readonly total: number;
}

/** `bytes 0-4/10` (RFC 9110 section 14.4); `undefined` for what is invalid, and for an unknown total. */
export function readContentRange(fields: Fields): ContentRange | undefined {
  const value = single(fields, 'content-range');
  const [, ...parts] =
    (typeof value === 'string' && /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(value)) || [];
  const [first, last, total] = parts.map(Number);
  if (first === undefined || last === undefined || total === undefined) return undefined;
  return first <= last && last < total ? { first, last, total } : undefined;
}

/** The blocks that hold the bytes from `from` on, `length` of them; no byte is copied. */
export function cut(blocks: readonly Buffer[], from: number, length: number): Buffer[] {
  const result: Buffer[] = [];
  let skip = from;
  let left = length;
  for (const block of blocks) {
    if (left === 0) break;
    if (skip >= block.length) {
      skip -= block.length;
      continue;
    }
    const part = block.subarray(skip, skip + left);
    result.push(part);
    left -= part.length;
    skip = 0;
  }
  return result;
}

const lengthOf = ({ first, last }: ByteRange): number => last - first + 1;

function sub(piece: Piece, first: number, last: number): Piece {
  if (first === piece.first && last === piece.last) return piece;
  return { first, last, blocks: cut(piece.blocks, first - piece.first, last - first + 1) };
}

/** Adds a piece to others of the same representation; where they overlap, the new bytes count (RFC 9111 section 3.4). */
export function combine(pieces: readonly Piece[], added: Piece): Piece[] {
  const parts: Piece[] = [added];
  for (const piece of pieces) {
    if (piece.first < added.first) parts.push(sub(piece, piece.first, Math.min(piece.last, added.first - 1)));
    if (piece.last > added.last) parts.push(sub(piece, Math.max(piece.first, added.last + 1), piece.last));
  }
  parts.sort((one, other) => one.first - other.first);
  const joined: Piece[] = [];
  for (const part of parts) {
    const before = joined.at(-1);
    if (before !== undefined && before.last + 1 === part.first) {
      joined[joined.length - 1] = {
        first: before.first,
        last: part.last,
        blocks: [...before.blocks, ...part.blocks],
      };
    } else {
      joined.push(part);
    }
  }
  return joined;
}

/** The blocks of `range`, if they are all there. */
export function extract({ pieces }: Pick<Pieces, 'pieces'>, range: ByteRange): Buffer[] | undefined {
  const piece = pieces.find(({ first, last }) => first <= range.first && range.last <= last);
  return piece && cut(piece.blocks, range.first - piece.first, lengthOf(range));
}

/** What is missing between the pieces, when that is one stretch. */
export function onlyGap({ pieces, total }: Pieces): ByteRange | undefined {
  const gaps: ByteRange[] = [];
  let next = 0;
  for (const { first, last } of pieces) {
    if (first > next) gaps.push({ first: next, last: first - 1 });
    next = last + 1;
  }
  if (next < total) gaps.push({ first: next, last: total - 1 });
  return gaps.length === 1 ? gaps[0] : undefined;
}

/** `Range` for a gap; up to the end it needs no last position. */
export function formatGap({ first, last }: ByteRange, total: number): string {
  return last === total - 1 ? `bytes=${first}-` : `bytes=${first}-${last}`;
}

export function formatContentRange({ first, last }: ByteRange, total: number): string {
  return `bytes ${first}-${last}/${total}`;
}
