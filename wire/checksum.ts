/**
 * The Internet checksum: RFC 1071 (computation), RFC 1624 (incremental update), and the pseudo headers of RFC 9293
 * section 3.1 (IPv4) and RFC 8200 section 8.1 (IPv6).
 *
 * A *sum* here is a ones' complement sum that has not been complemented; a *checksum* is what stands in a header.
 */
import type { IpAddress } from '../core/address.js';

/** Adds the carries back in until 16 bits are left. */
function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

/** The folded sum of `bytes`, continued from `initial`; an odd last byte is padded with zero (RFC 1071 section 1). */
export function sum(bytes: Uint8Array, initial = 0): number {
  let total = initial;
  const even = bytes.length & ~1;
  for (let offset = 0; offset < even; offset += 2) {
    total += ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
  }
  if (even !== bytes.length) total += (bytes[even] ?? 0) << 8;
  return fold(total);
}

/** The checksum of `bytes`, their own checksum field taken as zero or as part of a previous `initial` sum. */
export function checksum(bytes: Uint8Array, initial = 0): number {
  return ~sum(bytes, initial) & 0xffff;
}

/** The sum of the pseudo header. `length` is that of the upper-layer header and data. */
export function pseudoHeaderSum(
  source: IpAddress,
  destination: IpAddress,
  protocol: number,
  length: number,
): number {
  const addresses = sum(destination.bytes, sum(source.bytes));
  return fold(addresses + protocol + (length & 0xffff) + Math.floor(length / 0x10000));
}

/** Whether `segment`, checksum field included, adds up (the sum of valid data is all ones). */
export function isValid(segment: Uint8Array, pseudoSum = 0): boolean {
  return sum(segment, pseudoSum) === 0xffff;
}

/** The checksum after one 16-bit word changed: `HC' = ~(~HC + ~m + m')`, RFC 1624 equation 3. */
export function updateWord(old: number, from: number, to: number): number {
  return ~fold((~old & 0xffff) + (~from & 0xffff) + (to & 0xffff)) & 0xffff;
}

/** {@link updateWord} for a run of words. Both ranges have the same even length and stood at an even offset. */
export function update(old: number, from: Uint8Array, to: Uint8Array): number {
  let result = old;
  const length = Math.min(from.length, to.length);
  for (let offset = 0; offset < length; offset += 2) {
    const before = ((from[offset] ?? 0) << 8) | (from[offset + 1] ?? 0);
    const after = ((to[offset] ?? 0) << 8) | (to[offset + 1] ?? 0);
    result = updateWord(result, before, after);
  }
  return result;
}
