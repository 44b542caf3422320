/** Rules and bypass lists as the kernel's tables hold them. */
import { toMapped, type Prefix } from '../core/address.js';
import { TpotRow, type TpotPolicyRow } from '../bpf/generated/maps.js';
import type { BypassPrefix } from '../bpf/programs.js';
import { compileBypass, mappedPrefix, type BypassEntry } from '../tpot/bypass.js';
import type { PolicyRow } from '../tpot/policy.js';

const NO_ADDRESS = new Uint8Array(16);

function maskOf(prefix: Prefix): Uint8Array {
  const bits = prefix.length + (prefix.address.family === 4 ? 96 : 0);
  return Uint8Array.from(
    { length: 16 },
    (_, index) => 0xff & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * index))),
  );
}

function maskedPrefix(prefix: Prefix | undefined): { value: Uint8Array; mask: Uint8Array } {
  if (prefix === undefined) return { value: NO_ADDRESS, mask: NO_ADDRESS };
  const mask = maskOf(prefix);
  return { value: toMapped(prefix.address).map((byte, index) => byte & (mask[index] ?? 0)), mask };
}

function takes({ take, yields }: PolicyRow): number {
  if (!take) return TpotRow.PASSES;
  return yields === true ? TpotRow.YIELDS : TpotRow.TAKES;
}

/** A row as the kernel evaluates it: masks over mapped addresses, and the family they are of. */
export function kernelRow(row: PolicyRow): TpotPolicyRow {
  const source = maskedPrefix(row.source);
  const destination = maskedPrefix(row.destination);
  return {
    source: source.value,
    sourceMask: source.mask,
    destination: destination.value,
    destinationMask: destination.mask,
    portFrom: row.portFrom,
    portTo: row.portTo,
    take: takes(row),
    family: (row.source ?? row.destination)?.address.family ?? 0,
    capabilities: row.capabilities ?? 0xffff,
    unused: 0,
  };
}

/** TPOT_BYPASS_RANGES: as many ranges of ports as the table holds for a prefix. */
const BYPASS_RANGES = 8;

/** Bypass lists as the kernel looks them up. */
export function bypassPrefixes(entries: readonly BypassEntry[]): BypassPrefix[] {
  return compileBypass(entries).map(({ side, prefix, ports }) => {
    const { bytes, length } = mappedPrefix(prefix);
    const ranges = Buffer.alloc(4 * BYPASS_RANGES);
    for (let index = 0; index < BYPASS_RANGES; index++) {
      const { from, to } = ports[index] ?? { from: 1, to: 0 };
      ranges.writeUInt16LE(from, 4 * index);
      ranges.writeUInt16LE(to, 4 * index + 2);
    }
    return {
      family: prefix.address.family,
      source: side === 'source',
      address: bytes,
      length,
      ports: ranges,
    };
  });
}
