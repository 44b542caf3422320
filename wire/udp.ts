/**
 * The UDP header (RFC 768).
 *
 * ```
 *  0                             16                           31
 * |         source port            |      destination port       |
 * |            length              |          checksum           |
 * ```
 */
import { ByteView, writer } from './bytes.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';

const AT = { sourcePort: 0, destinationPort: 2, length: 4, checksum: 6 } as const;
export const UDP_HEADER = 8;

export class UdpView extends ByteView {
  get sourcePort(): number {
    return this.u16(AT.sourcePort);
  }
  get destinationPort(): number {
    return this.u16(AT.destinationPort);
  }
  /** Header and payload. */
  get length(): number {
    return this.u16(AT.length);
  }
  get checksum(): number {
    return this.u16(AT.checksum);
  }
  get payload(): Uint8Array {
    return this.range(UDP_HEADER, this.length);
  }
}

export interface UdpRepr {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Header and payload. */
  readonly length: number;
  /** As in the header; 0 means that there is none. */
  readonly checksum: number;
}

function check(view: UdpView): Fault | undefined {
  if (view.bytes.length < UDP_HEADER) return 'truncated';
  return view.length < UDP_HEADER || view.length > view.bytes.length ? 'bad-total-length' : undefined;
}

function parse(bytes: Uint8Array): Parsed<UdpRepr> {
  const view = new UdpView(bytes);
  const fault = check(view);
  if (fault !== undefined) return { ok: false, fault };
  const { sourcePort, destinationPort, length, checksum, payload } = view;
  return { ok: true, value: { sourcePort, destinationPort, length, checksum }, payload };
}

function emit(repr: UdpRepr): Uint8Array {
  const bytes = new Uint8Array(UDP_HEADER);
  const out = writer(bytes);
  out.setUint16(AT.sourcePort, repr.sourcePort);
  out.setUint16(AT.destinationPort, repr.destinationPort);
  out.setUint16(AT.length, repr.length);
  out.setUint16(AT.checksum, repr.checksum);
  return bytes;
}

export const udp: HeaderCodec<UdpView, UdpRepr> = {
  view: (bytes) => new UdpView(bytes),
  check,
  parse,
  byteLength: () => UDP_HEADER,
  emit,
  format: (repr) => `UDP ${repr.sourcePort} > ${repr.destinationPort} length ${repr.length}`,
};
