/** Generators for property tests of packets and option areas. */
import fc from 'fast-check';
import { isTunnelUnicast, type Family, type IpAddress } from '../core/address.js';
import { seq } from './seq.js';
import { TCP_FLAG, type TcpFlag } from './tcp.js';
import type { TcpOption } from './tcp-options.js';

export const u8 = fc.integer({ min: 0, max: 0xff });
export const u16 = fc.integer({ min: 0, max: 0xffff });
export const u32 = fc.integer({ min: 0, max: 0xffffffff });
export const sequence = fc.oneof(u32, fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff)).map(seq);

export const bytesUpTo = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const exactly = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

export const address = (family: Family): fc.Arbitrary<IpAddress> =>
  exactly(family === 4 ? 4 : 16).map((bytes) => ({ family, bytes }));

/** Addresses that a tunnel may end at. */
export const unicast = (family: Family): fc.Arbitrary<IpAddress> => address(family).filter(isTunnelUnicast);

export const anyAddress = fc.oneof(address(4), address(6));

/** Options other than `end` and `malformed`, which only stand last. */
export const plainOption: fc.Arbitrary<TcpOption> = fc.oneof(
  fc.constant<TcpOption>({ kind: 'nop' }),
  u16.map((mss): TcpOption => ({ kind: 'mss', mss })),
  u8.map((shift): TcpOption => ({ kind: 'window-scale', shift })),
  fc.constant<TcpOption>({ kind: 'sack-permitted' }),
  fc.record({ kind: fc.constant('timestamps' as const), value: u32, echo: u32 }),
  fc
    .array(fc.record({ left: sequence, right: sequence }), { minLength: 1, maxLength: 3 })
    .map((blocks): TcpOption => ({ kind: 'sack', blocks })),
  fc.record({
    kind: fc.constant('unknown' as const),
    code: fc.integer({ min: 9, max: 255 }),
    data: bytesUpTo(12),
  }),
);

export const flags = fc.uniqueArray(fc.constantFrom(...(Object.keys(TCP_FLAG) as TcpFlag[])));
