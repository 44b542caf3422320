/**
 * The IPv6 fixed header (RFC 8200 section 3). Extension headers are not walked: they are the payload, named by
 * `nextHeader`.
 *
 * ```
 *  0       4              12      16             24            31
 * | ver 6 | traffic class |            flow label               |
 * |        payload length         | next header  |  hop limit    |
 * |                  source address, 16 bytes                    |
 * |                destination address, 16 bytes                 |
 * ```
 */
import { formatIp, type IpAddress } from '../core/address.js';
import { addressBytes, ByteView, writer } from './bytes.js';
import type { Fault, HeaderCodec, Parsed } from './codec.js';

const AT = {
  versionFlow: 0,
  payloadLength: 4,
  nextHeader: 6,
  hopLimit: 7,
  source: 8,
  destination: 24,
} as const;

export const IPV6_HEADER = 40;

export class Ipv6View extends ByteView {
  get version(): number {
    return this.u8(AT.versionFlow) >> 4;
  }
  get trafficClass(): number {
    return (this.u16(AT.versionFlow) >> 4) & 0xff;
  }
  get flowLabel(): number {
    return this.u32(AT.versionFlow) & 0xfffff;
  }
  get payloadLength(): number {
    return this.u16(AT.payloadLength);
  }
  get nextHeader(): number {
    return this.u8(AT.nextHeader);
  }
  get hopLimit(): number {
    return this.u8(AT.hopLimit);
  }
  get source(): IpAddress {
    return this.address(AT.source, 6);
  }
  get destination(): IpAddress {
    return this.address(AT.destination, 6);
  }
  get payload(): Uint8Array {
    return this.range(IPV6_HEADER, IPV6_HEADER + this.payloadLength);
  }
}

export interface Ipv6Repr {
  readonly family: 6;
  readonly trafficClass: number;
  /** 20 bits. */
  readonly flowLabel: number;
  /** Everything after the fixed header, in bytes. */
  readonly payloadLength: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
}

function check(view: Ipv6View): Fault | undefined {
  if (view.bytes.length < IPV6_HEADER) return 'truncated';
  if (view.version !== 6) return 'bad-version';
  return IPV6_HEADER + view.payloadLength > view.bytes.length ? 'truncated' : undefined;
}

function parse(bytes: Uint8Array): Parsed<Ipv6Repr> {
  const view = new Ipv6View(bytes);
  const fault = check(view);
  if (fault !== undefined) return { ok: false, fault };
  const value: Ipv6Repr = {
    family: 6,
    trafficClass: view.trafficClass,
    flowLabel: view.flowLabel,
    payloadLength: view.payloadLength,
    nextHeader: view.nextHeader,
    hopLimit: view.hopLimit,
    source: view.source,
    destination: view.destination,
  };
  return { ok: true, value, payload: view.payload };
}

function emit(repr: Ipv6Repr): Uint8Array {
  const bytes = new Uint8Array(IPV6_HEADER);
  const out = writer(bytes);
  out.setUint32(AT.versionFlow, (6 << 28) | ((repr.trafficClass & 0xff) << 20) | (repr.flowLabel & 0xfffff));
  out.setUint16(AT.payloadLength, repr.payloadLength);
  out.setUint8(AT.nextHeader, repr.nextHeader);
  out.setUint8(AT.hopLimit, repr.hopLimit);
  bytes.set(addressBytes(repr.source, 6), AT.source);
  bytes.set(addressBytes(repr.destination, 6), AT.destination);
  return bytes;
}

function format(repr: Ipv6Repr): string {
  return (
    `IP6 ${formatIp(repr.source)} > ${formatIp(repr.destination)} ` +
    `next ${repr.nextHeader} length ${repr.payloadLength} hlim ${repr.hopLimit}`
  );
}

export const ipv6: HeaderCodec<Ipv6View, Ipv6Repr> = {
  view: (bytes) => new Ipv6View(bytes),
  check,
  parse,
  byteLength: () => IPV6_HEADER,
  emit,
  format,
};
