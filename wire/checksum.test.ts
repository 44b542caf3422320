import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { bytesUpTo, u16 } from './arbitraries.props.js';
import { concat } from './bytes.js';
import { checksum, isValid, pseudoHeaderSum, sum, update, updateWord } from './checksum.js';

/** A non-zero word in front: every real header has one, and all-zero data has two representations of its sum. */
const evenBytes = fc
  .array(u16, { minLength: 1, maxLength: 40 })
  .map((words) => Uint8Array.from([0x45, 0, ...words.flatMap((word) => [word >> 8, word & 0xff])]));

describe('checksum', () => {
  it('gives the sum of the example in RFC 1071 section 3', () => {
    expect(sum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7))).toBe(0xddf2);
  });

  it('gives the checksum of a captured IPv4 header', () => {
    const header = Buffer.from('45000073000040004011' + '0000' + 'c0a80001c0a800c7', 'hex');
    expect(checksum(header)).toBe(0xb861);
  });

  it('makes data followed by its checksum valid, whatever the data', () => {
    fc.assert(
      fc.property(evenBytes, u16, (data, initial) => {
        const value = checksum(data, initial);
        expect(isValid(concat(data, Uint8Array.of(value >> 8, value & 0xff)), initial)).toBe(true);
      }),
    );
  });

  it('is the same for data in one piece and in two even ones', () => {
    fc.assert(
      fc.property(evenBytes, bytesUpTo(41), (head, tail) => {
        expect(sum(tail, sum(head))).toBe(sum(concat(head, tail)));
      }),
    );
  });
});

describe('incremental update', () => {
  it('follows the example of RFC 1624 section 4, where RFC 1141 gives the wrong zero', () => {
    expect(updateWord(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it('equals the full computation after one word changed', () => {
    fc.assert(
      fc.property(evenBytes, fc.nat(), u16, (data, pick, word) => {
        const offset = 2 + 2 * (pick % (data.length / 2 - 1));
        const changed = data.slice();
        changed.set([word >> 8, word & 0xff], offset);
        const before = (data[offset]! << 8) | data[offset + 1]!;
        expect(updateWord(checksum(data), before, word)).toBe(checksum(changed));
      }),
    );
  });

  it('equals the full computation after an address changed', () => {
    fc.assert(
      fc.property(
        evenBytes,
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        bytesUpTo(16),
        (head, from, other) => {
          const to = from.slice();
          to.set(other);
          expect(update(checksum(concat(head, from)), from, to)).toBe(checksum(concat(head, to)));
        },
      ),
    );
  });
});

describe('pseudoHeaderSum', () => {
  it('equals the sum of the IPv4 pseudo header laid out in RFC 9293 section 3.1', () => {
    const laidOut = Uint8Array.of(198, 18, 0, 1, 192, 0, 2, 9, 0, 6, 0x12, 0x34);
    expect(pseudoHeaderSum(ip('198.18.0.1'), ip('192.0.2.9'), 6, 0x1234)).toBe(sum(laidOut));
  });

  it('equals the sum of the IPv6 pseudo header laid out in RFC 8200 section 8.1', () => {
    const [source, destination] = [ip('2001:db8::1'), ip('2001:db8:ffff::2')];
    const laidOut = concat(source.bytes, destination.bytes, Uint8Array.of(0, 1, 0x11, 0x70, 0, 0, 0, 6));
    expect(pseudoHeaderSum(source, destination, 6, 0x11170)).toBe(sum(laidOut));
  });
});
