import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Prospects } from './prospects.js';

const MIB = 1024 * 1024;

describe('Prospects', () => {
  it.each([
    ['a ClientHello', '16030102000100', true],
    ['a ServerHello', '160303007a0200', true],
    ['an alert', '15030300020228', false],
    ['a record of another version', '16050100050100', false],
    ['SSH', Buffer.from('SSH-2.0-x').toString('hex'), true],
    ['HTTP', Buffer.from('GET / HTTP/1.1').toString('hex'), false],
  ])('knows %s however it is cut', (_what, hex, poor) => {
    const bytes = Buffer.from(hex, 'hex');
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5 })), (cuts) => {
        const prospects = new Prospects(0);
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          prospects.begins(bytes.subarray(at, at + cut));
          at += cut;
        }
        prospects.begins(Buffer.from('more'));
        expect(prospects.poor).toBe(poor);
      }),
    );
  });

  it('gives a direction up that has not become smaller for long, and longer than the store can hold', () => {
    for (const [store, most] of [
      [0, 64],
      [256 * MIB, 256],
    ] as const) {
      const prospects = new Prospects(store);
      for (let sent = 1; sent < most; sent++) prospects.sent(MIB, MIB + 8);
      expect(prospects.poor).toBe(false);
      prospects.sent(MIB, MIB / 2);
      for (let sent = 1; sent < most; sent++) prospects.sent(MIB, MIB + 8);
      expect(prospects.poor).toBe(false);
      prospects.sent(MIB, MIB);
      expect(prospects.poor).toBe(true);
    }
  });
});
