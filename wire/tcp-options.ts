/**
 * The TCP option area (RFC 9293 section 3.1): a list of options, each a kind and, but for kinds 0 and 1, a length
 * that counts kind and length too.
 *
 * Reading never fails. What is not known, or is known with a length it should not have, is `unknown` and kept byte
 * for byte; a length that is illegal (below 2, or beyond the area) ends the list as `malformed`, which keeps
 * the rest. So `emit(parse(area))` is `area` for any bytes.
 */
import { concat, writer } from './bytes.js';
import type { Fault } from './codec.js';
import { seq, type Seq } from './seq.js';

/** IANA option kinds that this project reads. */
export const TCP_OPTION = {
  end: 0,
  nop: 1,
  mss: 2,
  windowScale: 3,
  sackPermitted: 4,
  sack: 5,
  timestamps: 8,
  mptcp: 30,
} as const;

interface SackBlock {
  readonly left: Seq;
  readonly right: Seq;
}

export type TcpOption =
  /** End of list; `padding` is all that stands behind it. */
  | { readonly kind: 'end'; readonly padding: Uint8Array }
  | { readonly kind: 'nop' }
  | { readonly kind: 'mss'; readonly mss: number }
  | { readonly kind: 'window-scale'; readonly shift: number }
  | { readonly kind: 'sack-permitted' }
  | { readonly kind: 'sack'; readonly blocks: readonly SackBlock[] }
  | { readonly kind: 'timestamps'; readonly value: number; readonly echo: number }
  /** `data` without kind and length; at most 253 bytes, the rest is not emitted. */
  | { readonly kind: 'unknown'; readonly code: number; readonly data: Uint8Array }
  /** An illegal length: `bytes` run from its kind to the end of the area. */
  | { readonly kind: 'malformed'; readonly bytes: Uint8Array };

const HEADER = 2;
const SACK_BLOCK = 8;
const MAX_DATA = 253;

function parseSack(data: DataView): TcpOption {
  const blocks: SackBlock[] = [];
  for (let offset = 0; offset < data.byteLength; offset += SACK_BLOCK) {
    blocks.push({ left: seq(data.getUint32(offset)), right: seq(data.getUint32(offset + 4)) });
  }
  return { kind: 'sack', blocks };
}

/** One option from its kind and the bytes behind its length; every read is inside the length tested beside it. */
function parseOne(code: number, bytes: Uint8Array): TcpOption {
  const data = writer(bytes);
  const size = bytes.length;
  if (code === TCP_OPTION.mss && size === 2) return { kind: 'mss', mss: data.getUint16(0) };
  if (code === TCP_OPTION.windowScale && size === 1) return { kind: 'window-scale', shift: data.getUint8(0) };
  if (code === TCP_OPTION.sackPermitted && size === 0) return { kind: 'sack-permitted' };
  if (code === TCP_OPTION.sack && size > 0 && size % SACK_BLOCK === 0) return parseSack(data);
  if (code === TCP_OPTION.timestamps && size === 8) {
    return { kind: 'timestamps', value: data.getUint32(0), echo: data.getUint32(4) };
  }
  return { kind: 'unknown', code, data: bytes };
}

/** Walks an option area; `end` and `malformed` come last, at most one of them. */
export function* iterateOptions(area: Uint8Array): Generator<TcpOption, void, undefined> {
  let offset = 0;
  while (offset < area.length) {
    const code = area[offset] ?? 0;
    if (code === TCP_OPTION.end) return yield { kind: 'end', padding: area.subarray(offset + 1) };
    if (code === TCP_OPTION.nop) {
      yield { kind: 'nop' };
      offset += 1;
      continue;
    }
    const length = area[offset + 1] ?? 0;
    if (length < HEADER || offset + length > area.length) {
      return yield { kind: 'malformed', bytes: area.subarray(offset) };
    }
    yield parseOne(code, area.subarray(offset + HEADER, offset + length));
    offset += length;
  }
}

function emitWith(code: number, size: number, fill: (data: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(HEADER + size);
  bytes[0] = code;
  bytes[1] = bytes.length;
  fill(writer(bytes.subarray(HEADER)));
  return bytes;
}

function emitSack(blocks: readonly SackBlock[]): Uint8Array {
  return emitWith(TCP_OPTION.sack, blocks.length * SACK_BLOCK, (data) => {
    for (const [index, block] of blocks.entries()) {
      data.setUint32(index * SACK_BLOCK, block.left);
      data.setUint32(index * SACK_BLOCK + 4, block.right);
    }
  });
}

function emitOne(option: TcpOption): Uint8Array {
  switch (option.kind) {
    case 'end':
      return concat(Uint8Array.of(TCP_OPTION.end), option.padding);
    case 'nop':
      return Uint8Array.of(TCP_OPTION.nop);
    case 'mss':
      return emitWith(TCP_OPTION.mss, 2, (data) => data.setUint16(0, option.mss));
    case 'window-scale':
      return emitWith(TCP_OPTION.windowScale, 1, (data) => data.setUint8(0, option.shift));
    case 'sack-permitted':
      return emitWith(TCP_OPTION.sackPermitted, 0, () => undefined);
    case 'sack':
      return emitSack(option.blocks);
    case 'timestamps':
      return emitWith(TCP_OPTION.timestamps, 8, (data) => {
        data.setUint32(0, option.value);
        data.setUint32(4, option.echo);
      });
    case 'unknown': {
      const data = option.data.subarray(0, MAX_DATA);
      return concat(Uint8Array.of(option.code, HEADER + data.length), data);
    }
    case 'malformed':
      return option.bytes;
  }
}

function formatOne(option: TcpOption): string {
  switch (option.kind) {
    case 'mss':
      return `mss ${option.mss}`;
    case 'window-scale':
      return `wscale ${option.shift}`;
    case 'sack':
      return `sack ${option.blocks.map((block) => `${block.left}:${block.right}`).join(' ')}`;
    case 'timestamps':
      return `ts ${option.value}/${option.echo}`;
    case 'unknown':
      return `unknown-${option.code} 0x${Buffer.from(option.data).toString('hex')}`;
    case 'malformed':
      return `malformed 0x${Buffer.from(option.bytes).toString('hex')}`;
    default:
      return option.kind;
  }
}

/** The verbs of codec.ts over a whole area; `parse` has no fault to return because it keeps what it cannot read. */
export const tcpOptions = {
  /** `bad-option-length` when the list holds an illegal length. */
  check(area: Uint8Array): Fault | undefined {
    for (const option of iterateOptions(area)) if (option.kind === 'malformed') return 'bad-option-length';
    return undefined;
  },
  parse: (area: Uint8Array): TcpOption[] => [...iterateOptions(area)],
  byteLength: (options: readonly TcpOption[]): number => tcpOptions.emit(options).length,
  /** The options one behind the other, not padded: the TCP header's `emit` does that. */
  emit: (options: readonly TcpOption[]): Uint8Array => concat(...options.map(emitOne)),
  format: (options: readonly TcpOption[]): string => options.map(formatOne).join(','),
};
