import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatIp,
  formatPrefix,
  fromMapped,
  ip,
  isTunnelUnicast,
  parseIp,
  parsePrefix,
  prefixContains,
  sameIp,
  toMapped,
  type Family,
  type IpAddress,
  type Prefix,
} from './address.js';

const byte = fc.oneof(fc.constantFrom(0, 255), fc.integer({ min: 0, max: 255 }));
const addressOf = (family: Family): fc.Arbitrary<IpAddress> => {
  const length = family === 4 ? 4 : 16;
  return fc
    .array(byte, { minLength: length, maxLength: length })
    .map((bytes) => ({ family, bytes: Uint8Array.from(bytes) }));
};
const address = fc.oneof(addressOf(4), addressOf(6));
const prefix: fc.Arbitrary<Prefix> = address.chain((one) =>
  fc.integer({ min: 0, max: one.bytes.length * 8 }).map((length) => ({ address: one, length })),
);
const bitsOf = ({ bytes }: IpAddress): string =>
  [...bytes].map((one) => one.toString(2).padStart(8, '0')).join('');

describe('text of an address', () => {
  it('comes back as the address it was made from', () => {
    fc.assert(
      fc.property(address, (one) => {
        const text = formatIp(one);
        expect(parseIp(text)).toEqual(one);
        expect(isIP(text)).toBe(one.family);
      }),
    );
  });

  it.each([
    ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:DB8::AbCd', '2001:db8::abcd'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('is canonical by RFC 5952 section 4: %s', (text, canonical) => {
    expect(formatIp(parseIp(text)!)).toBe(canonical);
  });

  it('is read exactly when Node reads it, zones aside', () => {
    const part = fc.oneof(
      fc.constantFrom('', '0', 'ffff', '12345', '1.2.3.4', '255', '256', '01', 'g'),
      fc.string({ maxLength: 3 }),
    );
    const text = fc
      .tuple(fc.array(part, { maxLength: 9 }), fc.constantFrom(':', '.', '::'))
      .map(([parts, separator]) => parts.join(separator).replaceAll('%', ''));
    const mixed = fc
      .array(fc.constantFrom(':', '::', '1', 'ab', '1.2.3.4', '.'), { maxLength: 10 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(text, mixed), (candidate) => {
        expect(parseIp(candidate)?.family ?? 0).toBe(isIP(candidate));
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    '1.2.3.4::',
    '1.2.3.4::1',
    '::1.2.3.4:5',
    ':::',
    '1::2::3',
    '',
    '1.2.3',
    '1.2.3.04',
    'fe80::1%eth0',
  ])('is refused: %s', (text) => expect(parseIp(text)).toBeUndefined());

  it('of a peer, as Node prints it on a dual-stack socket, is the IPv4 address', () => {
    expect(ip('::ffff:192.0.2.1')).toEqual(ip('192.0.2.1'));
    expect(() => ip('not an address')).toThrow(RangeError);
  });
});

describe('the mapped form', () => {
  it('gives the address back', () => {
    fc.assert(
      fc.property(address, (one) => {
        expect(toMapped(one)).toHaveLength(16);
        const back = fromMapped(toMapped(one));
        expect(toMapped(back)).toEqual(toMapped(one));
        if (one.family === 4) expect(back).toEqual(one);
      }),
    );
  });

  it('keeps different addresses of one family apart', () => {
    fc.assert(
      fc.property(addressOf(4), addressOf(4), (a, b) => sameIp(a, b) === (formatIp(a) === formatIp(b))),
    );
    expect(sameIp(ip('0.0.0.0'), ip('::'))).toBe(false);
  });
});

describe('a prefix', () => {
  it('comes back from its text', () => {
    fc.assert(
      fc.property(prefix, (one) => {
        expect(parsePrefix(formatPrefix(one))).toEqual(one);
      }),
    );
  });

  it('of a bare address is that host alone', () => {
    expect(parsePrefix('192.0.2.1')?.length).toBe(32);
    expect(parsePrefix('2001:db8::1')?.length).toBe(128);
  });

  it.each([
    '192.0.2.0/33',
    '2001:db8::/129',
    '192.0.2.0/',
    '192.0.2.0/-1',
    '192.0.2.0/8/8',
    '192.0.2.0/x',
    '/8',
    '',
  ])('is refused: %s', (text) => expect(parsePrefix(text)).toBeUndefined());

  it('contains the addresses whose first bits are its own, of its family only', () => {
    const close = prefix.chain((one) =>
      fc.tuple(fc.constant(one), fc.nat(127), address).map(([within, bit, other]): [Prefix, IpAddress] => {
        if (bit % 3 === 0) return [within, other];
        const bytes = within.address.bytes.slice();
        const at = bit % (bytes.length * 8);
        bytes[at >> 3]! ^= 0x80 >> (at & 7);
        return [within, { family: within.address.family, bytes }];
      }),
    );
    fc.assert(
      fc.property(close, ([within, candidate]) => {
        const expected =
          within.address.family === candidate.family &&
          bitsOf(within.address).slice(0, within.length) === bitsOf(candidate).slice(0, within.length);
        expect(prefixContains(within, candidate)).toBe(expected);
      }),
    );
  });
});

describe('isTunnelUnicast', () => {
  it.each(['198.18.0.1', '1.0.0.0', '223.255.255.255', '2001:db8::1', 'fd00::1', '::2'])(
    'holds for %s',
    (text) => {
      expect(isTunnelUnicast(parseIp(text)!)).toBe(true);
    },
  );

  it.each([
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'ff02::1',
    '::ffff:1.2.3.4',
  ])('does not hold for %s', (text) => {
    expect(isTunnelUnicast(parseIp(text)!)).toBe(false);
  });
});
