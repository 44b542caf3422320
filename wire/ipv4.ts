/**
 * The IPv4 header (RFC 791 section 3.1), options kept as raw bytes.
 *
 * ```
 *  0       4       8              16    19                     31
 * | ver 4 |  IHL  |  type of serv. |       total length          |
 * |        identification          |flags|   fragment offset     |
 * |  time to live |   protocol     |      header checksum        |
 * |                       source address                         |
 * |                    destination address                       |
 * |                 options, 0 to 40 bytes                       |
 * ```
 */
import { formatIp, type IpAddress } from '../core/address.js';
import { addressBytes, ByteView, writer } from './bytes.js';
import { checksum, isValid } from './checksum.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';

const AT = {
  versionIhl: 0,
  tos: 1,
  totalLength: 2,
  identification: 4,
  flagsFragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  options: 20,
} as const;

export const IPV4_MIN_HEADER = 20;
export const IPV4_CHECKSUM_OFFSET = AT.checksum;
const MAX_OPTIONS = 40;

/** Bits of {@link Ipv4Repr.flags}. */
export const IPV4_FLAG = { moreFragments: 1, dontFragment: 2 } as const;

export class Ipv4View extends ByteView {
  get version(): number {
    return this.u8(AT.versionIhl) >> 4;
  }
  get headerLength(): number {
    return (this.u8(AT.versionIhl) & 0xf) * 4;
  }
  get tos(): number {
    return this.u8(AT.tos);
  }
  get totalLength(): number {
    return this.u16(AT.totalLength);
  }
  get identification(): number {
    return this.u16(AT.identification);
  }
  get flags(): number {
    return this.u16(AT.flagsFragment) >> 13;
  }
  /** In units of 8 bytes. */
  get fragmentOffset(): number {
    return this.u16(AT.flagsFragment) & 0x1fff;
  }
  get ttl(): number {
    return this.u8(AT.ttl);
  }
  get protocol(): number {
    return this.u8(AT.protocol);
  }
  get source(): IpAddress {
    return this.address(AT.source, 4);
  }
  get destination(): IpAddress {
    return this.address(AT.destination, 4);
  }
  get options(): Uint8Array {
    return this.range(AT.options, this.headerLength);
  }
  get payload(): Uint8Array {
    return this.range(this.headerLength, this.totalLength);
  }
  get checksumValid(): boolean {
    return isValid(this.range(0, this.headerLength));
  }
}

export interface Ipv4Repr {
  readonly family: 4;
  /** DSCP and ECN (RFC 2474, 3168). */
  readonly tos: number;
  /** Header and payload, in bytes. */
  readonly totalLength: number;
  readonly identification: number;
  /** Three bits, the reserved one included: see {@link IPV4_FLAG}. */
  readonly flags: number;
  /** In units of 8 bytes. */
  readonly fragmentOffset: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Raw option area; `emit` pads it to a multiple of 4 with zeros and cuts it at 40 bytes. */
  readonly options: Uint8Array;
}

function check(view: Ipv4View): Fault | undefined {
  const available = view.bytes.length;
  if (available < IPV4_MIN_HEADER) return 'truncated';
  if (view.version !== 4) return 'bad-version';
  if (view.headerLength < IPV4_MIN_HEADER) return 'bad-header-length';
  if (view.headerLength > available) return 'truncated';
  if (view.totalLength < view.headerLength) return 'bad-total-length';
  return view.totalLength > available ? 'truncated' : undefined;
}

function parse(bytes: Uint8Array): Parsed<Ipv4Repr> {
  const view = new Ipv4View(bytes);
  const fault = check(view);
  if (fault !== undefined) return { ok: false, fault };
  const value: Ipv4Repr = {
    family: 4,
    tos: view.tos,
    totalLength: view.totalLength,
    identification: view.identification,
    flags: view.flags,
    fragmentOffset: view.fragmentOffset,
    ttl: view.ttl,
    protocol: view.protocol,
    source: view.source,
    destination: view.destination,
    options: view.options,
  };
  return { ok: true, value, payload: view.payload };
}

function byteLength(repr: Ipv4Repr): number {
  return IPV4_MIN_HEADER + Math.ceil(Math.min(repr.options.length, MAX_OPTIONS) / 4) * 4;
}

/** The header with its checksum. */
function emit(repr: Ipv4Repr): Uint8Array {
  const length = byteLength(repr);
  const bytes = new Uint8Array(length);
  const out = writer(bytes);
  out.setUint8(AT.versionIhl, (4 << 4) | (length / 4));
  out.setUint8(AT.tos, repr.tos);
  out.setUint16(AT.totalLength, repr.totalLength);
  out.setUint16(AT.identification, repr.identification);
  out.setUint16(AT.flagsFragment, ((repr.flags & 7) << 13) | (repr.fragmentOffset & 0x1fff));
  out.setUint8(AT.ttl, repr.ttl);
  out.setUint8(AT.protocol, repr.protocol);
  bytes.set(addressBytes(repr.source, 4), AT.source);
  bytes.set(addressBytes(repr.destination, 4), AT.destination);
  bytes.set(repr.options.subarray(0, MAX_OPTIONS), AT.options);
  out.setUint16(AT.checksum, checksum(bytes));
  return bytes;
}

function format(repr: Ipv4Repr): string {
  const options = repr.options.length === 0 ? '' : ` options ${repr.options.length}`;
  const fragment = repr.fragmentOffset === 0 ? '' : ` fragment at ${repr.fragmentOffset * 8}`;
  return (
    `IP ${formatIp(repr.source)} > ${formatIp(repr.destination)} ` +
    `proto ${repr.protocol} length ${repr.totalLength} ttl ${repr.ttl}${fragment}${options}`
  );
}

export const ipv4: HeaderCodec<Ipv4View, Ipv4Repr> = {
  view: (bytes) => new Ipv4View(bytes),
  check,
  parse,
  byteLength,
  emit,
  format,
};
