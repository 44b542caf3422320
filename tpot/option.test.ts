import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { address, bytesUpTo, plainOption, u16, u8 } from '../wire/arbitraries.props.js';
import { concat } from '../wire/bytes.js';
import { tcpOptions } from '../wire/tcp-options.js';
import {
  decodeOption,
  DEFAULT_NUMBERS,
  encodeOption,
  findOption,
  lowerHops,
  optionLength,
  type ReplyOption,
  type TpotOption,
} from './option.js';

const request = fc.record({ type: fc.constant('request' as const), hops: u8, capabilities: u16 });
const replyIpv4: fc.Arbitrary<ReplyOption> = fc.record(
  { type: fc.constant('reply' as const), address: address(4), flags: u8, capabilities: u16, udpPort: u16 },
  { requiredKeys: ['type', 'address', 'flags', 'capabilities'] },
);
const replyIpv6: fc.Arbitrary<ReplyOption> = fc.record({
  type: fc.constant('reply' as const),
  address: address(6),
  flags: fc.constant(0),
  capabilities: fc.integer({ min: 0, max: 0x7f }),
});
const reply = fc.oneof(replyIpv4, replyIpv6);
const option: fc.Arbitrary<TpotOption> = fc.oneof(request, reply);

const bytesOf = (value: TpotOption): Uint8Array => tcpOptions.emit([encodeOption(value)]);
const hex = (value: TpotOption): string => Buffer.from(bytesOf(value)).toString('hex');

describe('the forms on the wire', () => {
  it('are those of docs/protocol.md', () => {
    const node = ip('198.18.1.1');
    expect(hex({ type: 'request', hops: 8, capabilities: 0x0102 })).toBe('fd08545011080102');
    expect(hex({ type: 'reply', address: node, flags: 0, capabilities: 3 })).toBe('fd0c545012000003c6120101');
    expect(hex({ type: 'reply', address: node, flags: 1, capabilities: 3, udpPort: 6080 })).toBe(
      'fd0e545012010003c612010117c0',
    );
    expect(hex({ type: 'reply', address: ip('2001:db8::9'), flags: 0, capabilities: 0 })).toBe(
      'fd14545620010db8000000000000000000000009',
    );
  });

  it('leave room beside the 20 option bytes of a Linux SYN and SYN-ACK', () => {
    fc.assert(fc.property(option, (value) => optionLength(value) <= 20));
  });
});

describe('findOption', () => {
  it('finds what was put in, among other options and before a torn tail', () => {
    const others = fc.array(plainOption, { maxLength: 4 });
    fc.assert(
      fc.property(option, others, others, bytesUpTo(10), (value, before, after, tail) => {
        const area = concat(tcpOptions.emit([...before, encodeOption(value), ...after]), tail);
        expect(bytesOf(value).length).toBe(optionLength(value));
        expect(findOption(area, value.type)).toEqual(value);
      }),
    );
  });

  it('is never misled by the other type, so an echoed request is no reply', () => {
    fc.assert(
      fc.property(request, reply, (asked, answered) => {
        expect(findOption(bytesOf(asked), 'reply')).toBeUndefined();
        expect(findOption(bytesOf(answered), 'request')).toBeUndefined();
        expect(findOption(concat(bytesOf(asked), bytesOf(answered)), 'reply')).toEqual(answered);
      }),
    );
  });

  it('takes the first of several', () => {
    fc.assert(
      fc.property(request, request, (first, second) => {
        expect(findOption(concat(bytesOf(first), bytesOf(second)), 'request')).toEqual(first);
      }),
    );
  });

  it('never throws, and finds only what would be written the same way', () => {
    const disguised = fc
      .tuple(fc.constantFrom(4, 5, 8, 12, 14, 20), fc.constantFrom(0x50, 0x56), bytesUpTo(18))
      .map(([length, low, rest]) => Uint8Array.of(253, length, 0x54, low, 0x12, ...rest));
    fc.assert(
      fc.property(fc.oneof(bytesUpTo(44), disguised), (area) => {
        for (const type of ['request', 'reply'] as const) {
          const found = findOption(area, type);
          if (found === undefined) continue;
          const written = Buffer.from(bytesOf(found));
          expect(Buffer.from(area).includes(written)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['another version', 'fd08545021080000'],
    ['another type', 'fd08545013080000'],
    ['a request of reply length', 'fd0e545011080000000000000000'],
    ['a reply of request length', 'fd08545012080000'],
    ['a length that no form has', 'fd0954501108000000'],
    ['another ExID', 'fd08545111080000'],
    ['no ExID at all', 'fd02'],
    ['half an ExID', 'fd0354'],
    ['another kind', 'fe08545011080000'],
    ['an IPv6 reply that is too short', 'fd085456' + '20010db8'],
    ['an illegal length before it', '0301' + 'fd08545011080000'],
    ['the end of the list before it', '00' + 'fd08545011080000'],
  ])('ignores %s', (_name, text) => {
    const area = new Uint8Array(Buffer.from(text, 'hex'));
    expect(findOption(area, 'request')).toBeUndefined();
    expect(findOption(area, 'reply')).toBeUndefined();
  });

  it('skips an unusable option and goes on to a good one', () => {
    const area = new Uint8Array(Buffer.from('fd08545021080000' + 'fd08545011050000', 'hex'));
    expect(findOption(area, 'request')).toEqual({ type: 'request', hops: 5, capabilities: 0 });
  });
});

describe('configured numbers', () => {
  it('separate networks that must not hear each other', () => {
    const numbers = { kind: 254, exId: 0xf989, exIdIpv6: 0xf98a };
    fc.assert(
      fc.property(option, (value) => {
        const encoded = encodeOption(value, numbers);
        expect(decodeOption(encoded, numbers)).toEqual(value);
        expect(decodeOption(encoded, DEFAULT_NUMBERS)).toBeUndefined();
        expect(findOption(bytesOf(value), value.type, numbers)).toBeUndefined();
      }),
    );
  });
});

describe('lowerHops', () => {
  it('changes one byte: the hops of the request that counts', () => {
    const others = fc.array(plainOption, { maxLength: 3 });
    fc.assert(
      fc.property(request, others, others, bytesUpTo(6), (asked, before, after, tail) => {
        fc.pre(asked.hops > 0);
        const area = (value: TpotOption): Uint8Array =>
          concat(tcpOptions.emit([...before, encodeOption(value), ...after]), tail);
        expect(lowerHops(area(asked))).toEqual(area({ ...asked, hops: asked.hops - 1 }));
      }),
    );
  });

  it('leaves an area without a request as it is', () => {
    fc.assert(
      fc.property(reply, (value) => {
        expect(lowerHops(bytesOf(value))).toEqual(bytesOf(value));
      }),
    );
  });
});
