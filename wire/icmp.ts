/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443), as far as a tunnel meets them: type, code, the four bytes whose meaning
 * depends on them, and the packet an error quotes.
 *
 * ```
 *  0               8              16                           31
 * |     type      |     code      |          checksum            |
 * |                 unused, or the MTU of a "too big"            |
 * |        the packet the error is about, as much as fits        |
 * ```
 */
import type { Family, IpAddress } from '../core/address.js';
import { ByteView, writer } from './bytes.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';
import { ip } from './ip.js';
import { IPV4_MIN_HEADER, Ipv4View } from './ipv4.js';
import { IPV6_HEADER } from './ipv6.js';

const AT = { type: 0, code: 1, checksum: 2, rest: 4 } as const;
const ICMP_HEADER = 8;

export class IcmpView extends ByteView {
  get type(): number {
    return this.u8(AT.type);
  }
  get code(): number {
    return this.u8(AT.code);
  }
  get checksum(): number {
    return this.u16(AT.checksum);
  }
  get rest(): number {
    return this.u32(AT.rest);
  }
  get payload(): Uint8Array {
    return this.range(ICMP_HEADER, this.bytes.length);
  }
}

export interface IcmpRepr {
  readonly type: number;
  readonly code: number;
  /** As in the header: ICMPv6 needs the addresses to compute it. */
  readonly checksum: number;
  /** The second word of the header, unsigned. */
  readonly rest: number;
}

/** The connection an ICMP error is about. Ports are 0 when the quotation ends before them. */
export interface QuotedFlow {
  readonly protocol: number;
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

export type IcmpMeaning =
  | { readonly kind: 'too-big'; /** 0 when a router before RFC 1191 sent it. */ readonly mtu: number }
  | { readonly kind: 'unreachable'; readonly code: number }
  | { readonly kind: 'other' };

function check(view: IcmpView): Fault | undefined {
  return view.bytes.length < ICMP_HEADER ? 'truncated' : undefined;
}

function parse(bytes: Uint8Array): Parsed<IcmpRepr> {
  const view = new IcmpView(bytes);
  const fault = check(view);
  if (fault !== undefined) return { ok: false, fault };
  const { type, code, checksum, rest, payload } = view;
  return { ok: true, value: { type, code, checksum, rest }, payload };
}

function emit(repr: IcmpRepr): Uint8Array {
  const bytes = new Uint8Array(ICMP_HEADER);
  const out = writer(bytes);
  out.setUint8(AT.type, repr.type);
  out.setUint8(AT.code, repr.code);
  out.setUint16(AT.checksum, repr.checksum);
  out.setUint32(AT.rest, repr.rest);
  return bytes;
}

export const icmp: HeaderCodec<IcmpView, IcmpRepr> = {
  view: (bytes) => new IcmpView(bytes),
  check,
  parse,
  byteLength: () => ICMP_HEADER,
  emit,
  format: (repr) => `ICMP type ${repr.type} code ${repr.code}`,
};

/** What an ICMP message says about a path: RFC 792 and 1191 for family 4, RFC 4443 section 3 for family 6. */
export function icmpMeaning(family: Family, repr: IcmpRepr): IcmpMeaning {
  if (family === 6) {
    if (repr.type === 2) return { kind: 'too-big', mtu: repr.rest };
    return repr.type === 1 ? { kind: 'unreachable', code: repr.code } : { kind: 'other' };
  }
  if (repr.type !== 3) return { kind: 'other' };
  return repr.code === 4
    ? { kind: 'too-big', mtu: repr.rest & 0xffff }
    : { kind: 'unreachable', code: repr.code };
}

/**
 * The flow of the packet an ICMP error quotes, `undefined` when not even its IP header is whole. The quotation is
 * usually cut short, so its stated length is not held against it.
 */
export function quotedFlow(quotation: Uint8Array): QuotedFlow | undefined {
  const view = ip.view(quotation);
  const isIpv4 = view instanceof Ipv4View;
  const headerLength = isIpv4 ? view.headerLength : IPV6_HEADER;
  const minimum = isIpv4 ? IPV4_MIN_HEADER : IPV6_HEADER;
  if (view.version !== (isIpv4 ? 4 : 6) || headerLength < minimum) return undefined;
  if (quotation.length < headerLength) return undefined;
  const ports = new ByteView(quotation.subarray(headerLength));
  return {
    protocol: isIpv4 ? view.protocol : view.nextHeader,
    source: view.source,
    sourcePort: ports.u16(0),
    destination: view.destination,
    destinationPort: ports.u16(2),
  };
}
