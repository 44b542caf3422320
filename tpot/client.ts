/** Of whom a connection counts where the connections of one client are limited: the reference of bpf/tpot_client.h. */
import type { IpAddress } from '../core/address.js';

const INTERFACE_IDENTIFIER = 8;

/** An IPv4 address, or the /64 of an IPv6 one: a host has all addresses of it (RFC 4291 section 2.5.1). */
export function clientOf({ family, bytes }: IpAddress): IpAddress {
  if (family === 4) return { family, bytes };
  return { family, bytes: Uint8Array.from(bytes).fill(0, INTERFACE_IDENTIFIER) };
}
