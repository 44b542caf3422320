/**
 * The TCP header (RFC 9293 section 3.1). Options are raw bytes here; tcp-options.ts reads them.
 *
 * ```
 *  0       4       8              16                           31
 * |         source port            |      destination port       |
 * |                       sequence number                        |
 * |                    acknowledgment number                     |
 * | offset | reserved |    flags   |           window            |
 * |           checksum             |       urgent pointer        |
 * |                 options, 0 to 40 bytes                       |
 * ```
 */
import { ByteView, writer } from './bytes.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';
import { seq, type Seq } from './seq.js';

const AT = {
  sourcePort: 0,
  destinationPort: 2,
  seq: 4,
  ack: 8,
  offsetFlags: 12,
  window: 14,
  checksum: 16,
  urgent: 18,
  options: 20,
} as const;

export const TCP_MIN_HEADER = 20;
/** Room for options: a data offset of 15 words less the fixed header. */
export const TCP_MAX_OPTIONS = 40;
export const TCP_CHECKSUM_OFFSET = AT.checksum;

export const TCP_FLAG = {
  fin: 0x01,
  syn: 0x02,
  rst: 0x04,
  psh: 0x08,
  ack: 0x10,
  urg: 0x20,
  ece: 0x40,
  cwr: 0x80,
} as const;
export type TcpFlag = keyof typeof TCP_FLAG;

export class TcpView extends ByteView {
  get sourcePort(): number {
    return this.u16(AT.sourcePort);
  }
  get destinationPort(): number {
    return this.u16(AT.destinationPort);
  }
  get seq(): Seq {
    return seq(this.u32(AT.seq));
  }
  get ack(): Seq {
    return seq(this.u32(AT.ack));
  }
  get headerLength(): number {
    return (this.u8(AT.offsetFlags) >> 4) * 4;
  }
  get flags(): number {
    return this.u16(AT.offsetFlags) & 0xfff;
  }
  get window(): number {
    return this.u16(AT.window);
  }
  get checksum(): number {
    return this.u16(AT.checksum);
  }
  get urgent(): number {
    return this.u16(AT.urgent);
  }
  get options(): Uint8Array {
    return this.range(AT.options, this.headerLength);
  }
  get payload(): Uint8Array {
    return this.range(this.headerLength, this.bytes.length);
  }
}

export interface TcpRepr {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly seq: Seq;
  readonly ack: Seq;
  /** Twelve bits: {@link TCP_FLAG} and, above them, the four reserved ones, so that nothing is lost. */
  readonly flags: number;
  /** As in the header, not scaled. */
  readonly window: number;
  /** As in the header. `emit` writes it as it is: only who knows the addresses can compute it. */
  readonly checksum: number;
  readonly urgent: number;
  /** Raw option area; `emit` pads it to a multiple of 4 with zeros (end of list) and cuts it at 40 bytes. */
  readonly options: Uint8Array;
}

function check(view: TcpView): Fault | undefined {
  if (view.bytes.length < TCP_MIN_HEADER) return 'truncated';
  if (view.headerLength < TCP_MIN_HEADER) return 'bad-data-offset';
  return view.headerLength > view.bytes.length ? 'truncated' : undefined;
}

function parse(bytes: Uint8Array): Parsed<TcpRepr> {
  const view = new TcpView(bytes);
  const fault = check(view);
  if (fault !== undefined) return { ok: false, fault };
  const value: TcpRepr = {
    sourcePort: view.sourcePort,
    destinationPort: view.destinationPort,
    seq: view.seq,
    ack: view.ack,
    flags: view.flags,
    window: view.window,
    checksum: view.checksum,
    urgent: view.urgent,
    options: view.options,
  };
  return { ok: true, value, payload: view.payload };
}

function byteLength(repr: TcpRepr): number {
  return TCP_MIN_HEADER + Math.ceil(Math.min(repr.options.length, TCP_MAX_OPTIONS) / 4) * 4;
}

function emit(repr: TcpRepr): Uint8Array {
  const length = byteLength(repr);
  const bytes = new Uint8Array(length);
  const out = writer(bytes);
  out.setUint16(AT.sourcePort, repr.sourcePort);
  out.setUint16(AT.destinationPort, repr.destinationPort);
  out.setUint32(AT.seq, repr.seq);
  out.setUint32(AT.ack, repr.ack);
  out.setUint16(AT.offsetFlags, ((length / 4) << 12) | (repr.flags & 0xfff));
  out.setUint16(AT.window, repr.window);
  out.setUint16(AT.checksum, repr.checksum);
  out.setUint16(AT.urgent, repr.urgent);
  bytes.set(repr.options.subarray(0, TCP_MAX_OPTIONS), AT.options);
  return bytes;
}

/** Whether all of the named flags are set. */
export function hasFlags(repr: { readonly flags: number }, ...names: readonly TcpFlag[]): boolean {
  return names.every((name) => (repr.flags & TCP_FLAG[name]) !== 0);
}

function format(repr: TcpRepr): string {
  const names = (Object.keys(TCP_FLAG) as TcpFlag[]).filter((name) => hasFlags(repr, name));
  return (
    `TCP ${repr.sourcePort} > ${repr.destinationPort} [${names.join(',')}] ` +
    `seq ${repr.seq} ack ${repr.ack} win ${repr.window}`
  );
}

export const tcp: HeaderCodec<TcpView, TcpRepr> = {
  view: (bytes) => new TcpView(bytes),
  check,
  parse,
  byteLength,
  emit,
  format,
};
