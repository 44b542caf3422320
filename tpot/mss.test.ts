import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesUpTo, plainOption, u16 } from '../wire/arbitraries.props.js';
import { concat } from '../wire/bytes.js';
import { tcpOptions } from '../wire/tcp-options.js';
import { advertisedMss, clampedMss, rewriteMss } from './mss.js';

describe('room for the outer header', () => {
  it('is taken off what the node advertises', () => {
    expect([advertisedMss(1460, 4), advertisedMss(1440, 6)]).toEqual([1432, 1392]);
    expect(advertisedMss(20, 4)).toBe(20);
    // What a router has set in the SYN, it sets in the SYN-ACK: behind it the tunnel's header must fit, too.
    expect([advertisedMss(1460, 4, 1452), advertisedMss(1440, 6, 1432)]).toEqual([1424, 1384]);
    expect([advertisedMss(1460, 4, 8960), advertisedMss(1460, 4, 10)]).toEqual([1432, 1432]);
  });

  it('is found on the interface of the source', () => {
    expect([clampedMss(1432, 4, 1500), clampedMss(8920, 4, 1500)]).toEqual([1432, 1432]);
    expect([clampedMss(1392, 6, 1500), clampedMss(1392, 6, 1270)]).toEqual([1172, 1162]);
    expect(clampedMss(1440, 4, 60)).toBe(1440);
  });

  it('lets every segment fit the link, in its tunnel', () => {
    const mtu = fc.integer({ min: 576, max: 65535 });
    fc.assert(fc.property(u16, mtu, (mss, link) => clampedMss(mss, 4, link) + 28 + 20 + 20 <= link));
    fc.assert(fc.property(u16, mtu, (mss, link) => clampedMss(mss, 6, link) + 48 + 40 + 20 <= link));
  });
});

describe('rewriteMss', () => {
  it('changes the first MSS option and nothing else', () => {
    const others = fc.array(
      plainOption.filter((option) => option.kind !== 'mss'),
      { maxLength: 3 },
    );
    fc.assert(
      fc.property(others, others, u16, bytesUpTo(8), (before, after, mss, tail) => {
        const area = (value: number): Uint8Array =>
          concat(
            tcpOptions.emit([...before, { kind: 'mss', mss: value }, ...after, { kind: 'mss', mss: 9 }]),
            tail,
          );
        expect(rewriteMss(area(mss), (value) => advertisedMss(value, 4))).toEqual(
          area(advertisedMss(mss, 4)),
        );
      }),
    );
  });

  it('leaves any area without one byte for byte', () => {
    fc.assert(
      fc.property(bytesUpTo(40), (area) => {
        expect(rewriteMss(area, (mss) => mss)).toEqual(area);
      }),
    );
  });
});
