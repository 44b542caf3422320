/**
 * Bypass lists: connections that are never taken, whatever the rules say. Thousands of prefixes, so data paths look the
 * most specific one up instead of trying each.
 */
import { prefixContains, toMapped, type Prefix } from '../core/address.js';
import type { PolicySubject, PortRange } from './policy.js';

export interface BypassEntry {
  /** Which end of the connection the prefix is about. */
  readonly side: 'source' | 'destination';
  readonly prefix: Prefix;
  /** Destination ports. */
  readonly ports: PortRange;
}

/** What a data path holds of one prefix: the ports of every entry about it, and about the wider prefixes around it. */
export interface BypassRow {
  readonly side: BypassEntry['side'];
  readonly prefix: Prefix;
  /** Sorted, disjoint, not adjacent. */
  readonly ports: readonly PortRange[];
}

/** Whether a connection is never taken: the reference for what data paths do with the rows. */
export function bypasses(entries: readonly BypassEntry[], subject: PolicySubject): boolean {
  const port = subject.destinationPort;
  return entries.some(
    ({ side, prefix, ports }) =>
      ports.from <= port && port <= ports.to && prefixContains(prefix, subject[side]),
  );
}

function merge(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last === undefined || range.from > last.to + 1) merged.push(range);
    else if (range.to > last.to) merged[merged.length - 1] = { from: last.from, to: range.to };
  }
  return merged;
}

/** The first `length` bits of the prefix's address, with side and family, as a key. */
function keyOf({ side, prefix }: Pick<BypassEntry, 'side' | 'prefix'>, length: number): string {
  const { family, bytes } = prefix.address;
  const whole = length >> 3;
  const rest = (bytes[whole] ?? 0) & (0xff00 >> (length & 7)) & 0xff;
  const head = String.fromCharCode(...bytes.subarray(0, whole));
  return `${side[0] ?? ''}${family}/${length}/${head}${(length & 7) === 0 ? '' : String.fromCharCode(rest)}`;
}

/** One row for each different prefix, so that the most specific row of an address knows all that holds for it. */
export function compileBypass(entries: readonly BypassEntry[]): BypassRow[] {
  const own = new Map<string, { readonly entry: BypassEntry; readonly ports: PortRange[] }>();
  for (const entry of entries) {
    const key = keyOf(entry, entry.prefix.length);
    const known = own.get(key);
    if (known === undefined) own.set(key, { entry, ports: [entry.ports] });
    else known.ports.push(entry.ports);
  }
  const byLength = [...own.values()].sort((a, b) => a.entry.prefix.length - b.entry.prefix.length);
  const lengths = [...new Set(byLength.map(({ entry }) => entry.prefix.length))].reverse();
  const rows = new Map<string, BypassRow>();
  for (const { entry, ports } of byLength) {
    const { side, prefix } = entry;
    // The nearest wider one is enough: it has been given what the ones around it have.
    const wider = lengths.filter((length) => length < prefix.length);
    const around = wider.map((length) => rows.get(keyOf(entry, length))).find((row) => row !== undefined);
    rows.set(keyOf(entry, prefix.length), {
      side,
      prefix,
      ports: merge([...ports, ...(around?.ports ?? [])]),
    });
  }
  return [...rows.values()];
}

/** The address of a prefix as the tables hold it, bits beyond its length cleared; length in bits of that. */
export function mappedPrefix({ address, length }: Prefix): {
  readonly bytes: Uint8Array;
  readonly length: number;
} {
  const bits = length + (address.family === 4 ? 96 : 0);
  const bytes = toMapped(address).map(
    (byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * index))),
  );
  return { bytes, length: bits };
}
