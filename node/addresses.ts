/** Addresses of this machine, as seen from the current network namespace. */
import { networkInterfaces } from 'node:os';
import {
  ip,
  isTunnelUnicast,
  parsePrefix,
  prefixContains,
  sameIp,
  type Family,
  type IpAddress,
} from '../core/address.js';

const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'].flatMap((text) => parsePrefix(text) ?? []);

function isGlobal(address: IpAddress): boolean {
  return isTunnelUnicast(address) && !LINK_LOCAL.some((prefix) => prefixContains(prefix, address));
}

/** Per family, the first global address of the first interface (of those named, or of all but loopback) that has one. */
export function globalAddresses(
  interfaces: readonly string[] | undefined,
): Partial<Record<Family, IpAddress>> {
  const found: Partial<Record<Family, IpAddress>> = {};
  const present = networkInterfaces();
  for (const name of interfaces ?? Object.keys(present)) {
    for (const { address, internal } of present[name] ?? []) {
      if (internal) continue;
      const candidate = ip(address);
      if (isGlobal(candidate)) found[candidate.family] ??= candidate;
    }
  }
  return found;
}

/** Whether the machine has this address, on whatever interface. */
export function isOwnAddress(address: IpAddress): boolean {
  return Object.values(networkInterfaces()).some((entries = []) =>
    entries.some((entry) => sameIp(ip(entry.address), address)),
  );
}
