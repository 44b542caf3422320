/**
 * IP addresses and prefixes of both families.
 *
 * Inside maps and tables every address is 16 bytes, IPv4 in its IPv4-mapped form (RFC 4291 section 2.5.5.2), so
 * that one table serves both families.
 */

export type Family = 4 | 6;

export interface IpAddress {
  readonly family: Family;
  /** 4 or 16 bytes in network order. */
  readonly bytes: Uint8Array;
}

export interface Prefix {
  readonly address: IpAddress;
  /** 0 to 32 for IPv4, 0 to 128 for IPv6. */
  readonly length: number;
}

const MAPPED_OFFSET = 12;

const DOT = 0x2e;
const ZERO = 0x30;

/** Character by character: every accepted connection comes through here twice. */
function parseIpv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = -1; // of the part so far; -1: no digit yet
  for (let index = 0; index < text.length; index++) {
    const character = text.charCodeAt(index);
    const digit = character - ZERO;
    if (character === DOT) {
      if (value < 0 || part === 3) return undefined;
      bytes[part++] = value;
      value = -1;
    } else if (digit < 0 || digit > 9 || value === 0) {
      return undefined; // a leading zero could mean octal
    } else {
      value = value < 0 ? digit : value * 10 + digit;
      if (value > 255) return undefined;
    }
  }
  if (part !== 3 || value < 0) return undefined;
  bytes[3] = value;
  return bytes;
}

/** Groups of one side of `::` as 16-bit values; a trailing dotted quad counts as two. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1 && part.includes('.')) {
      const quad = parseIpv4(part);
      if (quad === undefined) return undefined;
      const [a = 0, b = 0, c = 0, d = 0] = quad;
      groups.push((a << 8) | b, (c << 8) | d);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  // A dotted quad may only end an address (RFC 4291 section 2.2), so never the half before `::`.
  if (halves.length === 2 && halves[0]?.includes('.')) return undefined;
  const head = parseGroups(halves[0] ?? '');
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  for (const [index, group] of groups.entries()) {
    bytes[2 * index] = group >> 8;
    bytes[2 * index + 1] = group & 0xff;
  }
  return bytes;
}

/** Parses a dotted quad or an RFC 4291 text form; `undefined` when it is neither. */
export function parseIp(text: string): IpAddress | undefined {
  const four = parseIpv4(text);
  if (four !== undefined) return { family: 4, bytes: four };
  const six = text.includes(':') ? parseIpv6(text) : undefined;
  return six === undefined ? undefined : { family: 6, bytes: six };
}

/** The longest run of two or more zero groups, which RFC 5952 writes as `::`. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: -1, length: 1 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** Canonical text: dotted quad, or RFC 5952 for IPv6. */
export function formatIp(address: IpAddress): string {
  if (address.family === 4) return address.bytes.join('.');
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push(((address.bytes[index] ?? 0) << 8) | (address.bytes[index + 1] ?? 0));
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  const run = longestZeroRun(groups);
  if (run.start < 0) return hex(groups);
  return `${hex(groups.slice(0, run.start))}::${hex(groups.slice(run.start + run.length))}`;
}

/** The 16-byte form used in every table. */
export function toMapped(address: IpAddress): Uint8Array {
  if (address.family === 6) return address.bytes;
  const mapped = new Uint8Array(16);
  mapped[10] = 0xff;
  mapped[11] = 0xff;
  mapped.set(address.bytes, MAPPED_OFFSET);
  return mapped;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** The inverse of {@link toMapped}; an IPv4-mapped address comes back as IPv4. */
export function fromMapped(bytes: Uint8Array): IpAddress {
  return isMapped(bytes)
    ? { family: 4, bytes: bytes.slice(MAPPED_OFFSET, 16) }
    : { family: 6, bytes: bytes.slice(0, 16) };
}

/** Parses text that is known to be an address (a literal, a value the kernel gave); throws RangeError otherwise. */
export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new RangeError(`not an IP address: ${text}`);
  // Node prints IPv4 peers of dual-stack sockets as ::ffff:a.b.c.d.
  return address.family === 6 ? fromMapped(address.bytes) : address;
}

export function sameIp(a: IpAddress, b: IpAddress): boolean {
  return a.family === b.family && a.bytes.every((byte, index) => byte === b.bytes[index]);
}

/** Parses `address/length`; a bare address is a host prefix. `undefined` when malformed or out of range. */
export function parsePrefix(text: string): Prefix | undefined {
  const [addressText = '', lengthText, ...rest] = text.split('/');
  const address = parseIp(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const bits = address.bytes.length * 8;
  if (lengthText === undefined) return { address, length: bits };
  if (!/^\d{1,3}$/.test(lengthText) || Number(lengthText) > bits) return undefined;
  return { address, length: Number(lengthText) };
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatIp(prefix.address)}/${prefix.length}`;
}

/** Whether `address` lies in `prefix`; families never match each other. */
export function prefixContains(prefix: Prefix, address: IpAddress): boolean {
  if (prefix.address.family !== address.family) return false;
  for (let index = 0, left = prefix.length; left > 0; index++, left -= 8) {
    const mask = left >= 8 ? 0xff : (0xff << (8 - left)) & 0xff;
    if (((prefix.address.bytes[index] ?? 0) & mask) !== ((address.bytes[index] ?? 0) & mask)) return false;
  }
  return true;
}

/**
 * Whether a packet may have this address as the far end of a tunnel: unicast, not loopback, not unspecified,
 * not link-local broadcast (protocol rule 2).
 */
export function isTunnelUnicast(address: IpAddress): boolean {
  const first = address.bytes[0] ?? 0;
  if (address.family === 4) return first !== 0 && first !== 127 && first < 224;
  if (first === 0xff) return false;
  if (isMapped(address.bytes)) return false;
  const loopbackOrUnspecified =
    address.bytes.subarray(0, 15).every((byte) => byte === 0) && (address.bytes[15] ?? 0) <= 1;
  return !loopbackOrUnspecified;
}
