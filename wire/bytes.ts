import { toMapped, type Family, type IpAddress } from '../core/address.js';

/**
 * Total big-endian reads over one buffer, through one `DataView` that lives as long as the view does.
 * A field that does not lie wholly inside the bytes reads as zero.
 */
export class ByteView {
  readonly bytes: Uint8Array;
  readonly #data: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(offset: number): number {
    return offset + 1 > this.bytes.length ? 0 : this.#data.getUint8(offset);
  }

  u16(offset: number): number {
    return offset + 2 > this.bytes.length ? 0 : this.#data.getUint16(offset);
  }

  u32(offset: number): number {
    return offset + 4 > this.bytes.length ? 0 : this.#data.getUint32(offset);
  }

  /** A sub-array, cut at the end of the bytes; empty when it starts beyond it. */
  range(from: number, to: number): Uint8Array {
    return this.bytes.subarray(Math.min(from, this.bytes.length), Math.max(from, to));
  }

  /** A copy of an address; bytes that are missing are zero. */
  address(offset: number, family: Family): IpAddress {
    const size = family === 4 ? 4 : 16;
    const bytes = new Uint8Array(size);
    bytes.set(this.range(offset, offset + size));
    return { family, bytes };
  }
}

/** The bytes of an address in a header of the given family; a stranger of the other family goes in mapped form. */
export function addressBytes(address: IpAddress, family: Family): Uint8Array {
  return family === 4 ? toMapped(address).subarray(12) : toMapped(address);
}

/** A `DataView` over all of `bytes`, for writing. */
export function writer(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}
