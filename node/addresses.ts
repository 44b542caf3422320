/** Addresses of this machine, as seen from the current network namespace. */
import {
  isTunnelUnicast,
  parsePrefix,
  prefixContains,
  sameIp,
  type Family,
  type IpAddress,
} from '../core/address.js';
import { listInterfaces } from '../host/interfaces.js';

const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'].flatMap((text) => parsePrefix(text) ?? []);

function isGlobal(address: IpAddress): boolean {
  return isTunnelUnicast(address) && !LINK_LOCAL.some((prefix) => prefixContains(prefix, address));
}

/** Per family, the first global address of the first interface (of those named, or of all but loopback) that has one. */
export function globalAddresses(
  interfaces: readonly string[] | undefined,
): Partial<Record<Family, IpAddress>> {
  const present = listInterfaces().filter(({ loopback }) => !loopback);
  const considered =
    interfaces?.flatMap((name) => present.find((found) => found.name === name) ?? []) ?? present;
  const candidates = considered.flatMap(({ addresses }) => addresses).filter(isGlobal);
  const found: Partial<Record<Family, IpAddress>> = {};
  for (const candidate of candidates) found[candidate.family] ??= candidate;
  return found;
}

/** Those of the given addresses that this machine has on no interface. */
export function addressesOfOthers(addresses: readonly IpAddress[]): IpAddress[] {
  const own = listInterfaces().flatMap((present) => present.addresses);
  return addresses.filter((address) => !own.some((candidate) => sameIp(candidate, address)));
}
