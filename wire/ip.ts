/** Either IP header, told apart by the version nibble. */
import type { Fault, HeaderCodec, Parsed } from './codec.js';
import { Ipv4View, ipv4, IPV4_FLAG, type Ipv4Repr } from './ipv4.js';
import { Ipv6View, ipv6, type Ipv6Repr } from './ipv6.js';
import { PROTOCOL } from './protocols.js';

export type IpRepr = Ipv4Repr | Ipv6Repr;
type IpView = Ipv4View | Ipv6View;

/** What a header says follows it: the IPv4 protocol or the IPv6 next header. */
export function protocolOf(repr: IpRepr): number {
  return repr.family === 4 ? repr.protocol : repr.nextHeader;
}

/** Whether the packet is one piece of a larger one, the first piece included. */
export function isFragment(repr: IpRepr): boolean {
  if (repr.family === 6) return repr.nextHeader === PROTOCOL.ipv6Fragment;
  return repr.fragmentOffset !== 0 || (repr.flags & IPV4_FLAG.moreFragments) !== 0;
}

function view(bytes: Uint8Array): IpView {
  return (bytes[0] ?? 0) >> 4 === 6 ? new Ipv6View(bytes) : new Ipv4View(bytes);
}

function check(header: IpView): Fault | undefined {
  return header instanceof Ipv6View ? ipv6.check(header) : ipv4.check(header);
}

function parse(bytes: Uint8Array): Parsed<IpRepr> {
  return (bytes[0] ?? 0) >> 4 === 6 ? ipv6.parse(bytes) : ipv4.parse(bytes);
}

export const ip: HeaderCodec<IpView, IpRepr> = {
  view,
  check,
  parse,
  byteLength: (repr) => (repr.family === 4 ? ipv4.byteLength(repr) : ipv6.byteLength(repr)),
  emit: (repr) => (repr.family === 4 ? ipv4.emit(repr) : ipv6.emit(repr)),
  format: (repr) => (repr.family === 4 ? ipv4.format(repr) : ipv6.format(repr)),
};
