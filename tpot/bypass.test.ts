import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatPrefix, ip, parsePrefix, prefixContains, type Prefix } from '../core/address.js';
import { bypasses, compileBypass, mappedPrefix, type BypassEntry } from './bypass.js';

const prefix = (text: string): Prefix => parsePrefix(text) ?? { address: ip('0.0.0.0'), length: 0 };
const entry = (side: BypassEntry['side'], text: string, from = 0, to = 65535): BypassEntry => ({
  side,
  prefix: prefix(text),
  ports: { from, to },
});

describe('compiled bypass lists', () => {
  it('give a prefix the ports of the wider ones around it, of its own side and family', () => {
    const rows = compileBypass([
      entry('destination', '10.1.0.0/16', 22, 22),
      entry('destination', '10.0.0.0/8', 80, 80),
      entry('destination', '10.1.0.0/16', 23, 25),
      entry('source', '10.0.0.0/8', 443, 443),
      entry('destination', '::/0', 53, 53),
    ]);
    const shown = rows.map(({ side, prefix: of, ports }) => [side, formatPrefix(of), ports]);
    expect(shown).toEqual([
      ['destination', '::/0', [{ from: 53, to: 53 }]],
      ['destination', '10.0.0.0/8', [{ from: 80, to: 80 }]],
      ['source', '10.0.0.0/8', [{ from: 443, to: 443 }]],
      [
        'destination',
        '10.1.0.0/16',
        [
          { from: 22, to: 25 },
          { from: 80, to: 80 },
        ],
      ],
    ]);
  });

  it('clear what is beyond the length', () => {
    expect(mappedPrefix(prefix('198.18.255.255/15'))).toEqual({
      bytes: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, 0),
      length: 111,
    });
  });

  it('say by their most specific row what the list says', () => {
    const near = fc
      .tuple(
        fc.constantFrom('10.0.0.0', '10.128.0.0', '10.192.1.0', '10.192.1.1'),
        fc.integer({ min: 0, max: 32 }),
      )
      .map(([address, length]) => prefix(`${address}/${length}`));
    const ports = fc.tuple(fc.nat(9), fc.nat(3)).map(([from, more]) => ({ from, to: from + more }));
    const side = fc.constantFrom<BypassEntry['side']>('source', 'destination');
    const address = fc.constantFrom('10.0.0.1', '10.192.1.1', '10.128.7.7', '11.0.0.0', '10.192.1.9').map(ip);
    fc.assert(
      fc.property(
        fc.array(fc.record({ side, prefix: near, ports }), { maxLength: 12 }),
        fc.record({ source: address, destination: address, destinationPort: fc.nat(12) }),
        (entries, subject) => {
          const rows = compileBypass(entries);
          const found = (['source', 'destination'] as const).some((end) => {
            const matching = rows.filter(
              (row) => row.side === end && prefixContains(row.prefix, subject[end]),
            );
            const best = matching.sort((a, b) => b.prefix.length - a.prefix.length)[0];
            const port = subject.destinationPort;
            return best?.ports.some((range) => range.from <= port && port <= range.to) ?? false;
          });
          expect(found).toBe(bypasses(entries, subject));
        },
      ),
    );
  });
});
