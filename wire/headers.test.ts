import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip as address } from '../core/address.js';
import { address as anAddress, bytesUpTo, sequence, u16, u32, u8 } from './arbitraries.props.js';
import { concat } from './bytes.js';
import type { HeaderCodec } from './codec.js';
import { icmp, icmpMeaning, quotedFlow } from './icmp.js';
import { ip, isFragment } from './ip.js';
import { ipv4, type Ipv4Repr } from './ipv4.js';
import { ipv6, type Ipv6Repr } from './ipv6.js';
import { ipip } from './ipip.js';
import { tcp, type TcpRepr } from './tcp.js';
import { buildTcp } from './build.js';

const optionArea = fc
  .integer({ min: 0, max: 10 })
  .chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 }));

const ipv4Header: fc.Arbitrary<Ipv4Repr> = fc
  .record({
    family: fc.constant(4 as const),
    tos: u8,
    identification: u16,
    flags: fc.integer({ min: 0, max: 7 }),
    fragmentOffset: fc.integer({ min: 0, max: 0x1fff }),
    ttl: u8,
    protocol: u8,
    source: anAddress(4),
    destination: anAddress(4),
    options: optionArea,
  })
  .map((header) => ({ ...header, totalLength: 20 + header.options.length }));

const ipv6Header: fc.Arbitrary<Ipv6Repr> = fc.record({
  family: fc.constant(6 as const),
  trafficClass: u8,
  flowLabel: fc.integer({ min: 0, max: 0xfffff }),
  payloadLength: fc.constant(0),
  nextHeader: u8,
  hopLimit: u8,
  source: anAddress(6),
  destination: anAddress(6),
});

const tcpHeader: fc.Arbitrary<TcpRepr> = fc.record({
  sourcePort: u16,
  destinationPort: u16,
  seq: sequence,
  ack: sequence,
  flags: fc.integer({ min: 0, max: 0xfff }),
  window: u16,
  checksum: u16,
  urgent: u16,
  options: optionArea,
});

const icmpHeader = fc.record({ type: u8, code: u8, checksum: u16, rest: u32 });

function identity<View, Repr>(codec: HeaderCodec<View, Repr>, reprs: fc.Arbitrary<Repr>): void {
  fc.assert(
    fc.property(reprs, (repr) => {
      const bytes = codec.emit(repr);
      expect(bytes.length).toBe(codec.byteLength(repr));
      expect(codec.check(codec.view(bytes))).toBeUndefined();
      expect(codec.parse(bytes)).toEqual({ ok: true, value: repr, payload: new Uint8Array() });
    }),
  );
}

/** Random bytes, and random bytes that get past the version test. */
const anyBytes = fc.oneof(
  bytesUpTo(120),
  fc
    .tuple(fc.constantFrom(0x45, 0x46, 0x4f, 0x44, 0x60), bytesUpTo(120))
    .map(([first, rest]) => Uint8Array.of(first, ...rest)),
);

/** Reads every accessor of a view. */
function touch(view: object): void {
  for (const [name, property] of Object.entries(
    Object.getOwnPropertyDescriptors(Object.getPrototypeOf(view)),
  )) {
    if (property.get !== undefined) expect((view as Record<string, unknown>)[name]).toBeDefined();
  }
}

function total<View extends object, Repr>(codec: HeaderCodec<View, Repr>): void {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const view = codec.view(bytes);
      touch(view);
      const parsed = codec.parse(bytes);
      expect(parsed.ok).toBe(codec.check(view) === undefined);
      if (parsed.ok) expect(codec.format(parsed.value)).not.toBe('');
    }),
  );
}

describe('parse undoes emit', () => {
  it('IPv4', () => identity(ipv4, ipv4Header));
  it('IPv6', () => identity(ipv6, ipv6Header));
  it('either IP', () => identity(ip, fc.oneof(ipv4Header, ipv6Header)));
  it('TCP', () => identity(tcp, tcpHeader));
  it('ICMP', () => identity(icmp, icmpHeader));
});

describe('no bytes throw', () => {
  it('IPv4', () => total(ipv4));
  it('IPv6', () => total(ipv6));
  it('either IP', () => total(ip));
  it('IP in IP', () => total(ipip));
  it('TCP', () => total(tcp));
  it('ICMP', () => total(icmp));
});

describe('emit undoes parse on whatever parses', () => {
  it('TCP, byte for byte', () => {
    fc.assert(
      fc.property(tcpHeader, bytesUpTo(40), (repr, payload) => {
        const bytes = concat(tcp.emit(repr), payload);
        const parsed = tcp.parse(bytes);
        expect(parsed.ok && concat(tcp.emit(parsed.value), parsed.payload)).toEqual(bytes);
      }),
    );
  });

  it('IPv4 with a valid checksum, byte for byte', () => {
    fc.assert(
      fc.property(ipv4Header, (repr) => {
        const bytes = ipv4.emit(repr);
        expect(ipv4.view(bytes).checksumValid).toBe(true);
        const parsed = ipv4.parse(bytes);
        expect(parsed.ok && ipv4.emit(parsed.value)).toEqual(bytes);
      }),
    );
  });
});

describe('faults', () => {
  const packet = buildTcp({
    source: address('198.18.0.1'),
    sourcePort: 1000,
    destination: address('198.18.0.2'),
    destinationPort: 80,
    flags: ['syn'],
  });
  const with_ = (offset: number, ...values: number[]): Uint8Array => {
    const bytes = packet.slice();
    bytes.set(values, offset);
    return bytes;
  };

  it.each([
    ['cut in the header', packet.subarray(0, 19), 'truncated'],
    ['cut behind it', packet.subarray(0, 39), 'truncated'],
    ['version 5', with_(0, 0x55), 'bad-version'],
    ['header length below 20', with_(0, 0x44), 'bad-header-length'],
    ['total length below the header', with_(2, 0, 19), 'bad-total-length'],
    ['total length beyond the packet', with_(2, 0, 41), 'truncated'],
  ])('IPv4: %s', (_name, bytes, fault) => {
    expect(ipv4.parse(bytes)).toEqual({ ok: false, fault });
  });

  it.each([
    ['cut', packet.subarray(20, 39), 'truncated'],
    ['data offset below 5', with_(32, 0x40).subarray(20), 'bad-data-offset'],
    ['data offset beyond the segment', with_(32, 0x60).subarray(20), 'truncated'],
  ])('TCP: %s', (_name, bytes, fault) => {
    expect(tcp.parse(bytes)).toEqual({ ok: false, fault });
  });

  it('leaves link-layer padding out of the payload', () => {
    const parsed = ipv4.parse(concat(packet, new Uint8Array(6)));
    expect(parsed.ok && parsed.payload.length).toBe(20);
  });
});

describe('isFragment', () => {
  const base = ipv4.parse(
    ipv4.emit({
      ...{
        family: 4,
        tos: 0,
        totalLength: 20,
        identification: 0,
        flags: 0,
        fragmentOffset: 0,
        ttl: 1,
        protocol: 6,
      },
      ...{ source: address('192.0.2.1'), destination: address('192.0.2.2'), options: new Uint8Array() },
    }),
  );

  it('counts the first piece and the last', () => {
    if (!base.ok) throw new Error('unreachable');
    expect(isFragment(base.value)).toBe(false);
    expect(isFragment({ ...base.value, flags: 1 })).toBe(true);
    expect(isFragment({ ...base.value, fragmentOffset: 5 })).toBe(true);
  });
});

describe('ICMP errors', () => {
  const flow = {
    source: address('198.18.0.1'),
    sourcePort: 4242,
    destination: address('198.18.0.2'),
    destinationPort: 80,
  };
  const six = {
    source: address('2001:db8::1'),
    sourcePort: 4242,
    destination: address('2001:db8::2'),
    destinationPort: 80,
  };

  it.each([
    ['IPv4', flow, 28],
    ['IPv6', six, 48],
  ])('names the flow of a quotation that is cut short: %s', (_name, ends, kept) => {
    const packet = buildTcp({ ...ends, flags: ['ack'], payload: new Uint8Array(1000) });
    expect(quotedFlow(packet.subarray(0, kept))).toEqual({ ...ends, protocol: 6 });
    expect(quotedFlow(packet.subarray(0, kept - 28))).toBeUndefined();
  });

  it('never throws on a quotation', () => {
    fc.assert(fc.property(anyBytes, (bytes) => void quotedFlow(bytes)));
  });

  it('reads too-big and unreachable of both families', () => {
    const message = (type: number, code: number, rest = 1480): Parameters<typeof icmpMeaning>[1] => ({
      type,
      code,
      checksum: 0,
      rest,
    });
    expect(icmpMeaning(4, message(3, 4))).toEqual({ kind: 'too-big', mtu: 1480 });
    expect(icmpMeaning(6, message(2, 0))).toEqual({ kind: 'too-big', mtu: 1480 });
    expect(icmpMeaning(4, message(3, 2))).toEqual({ kind: 'unreachable', code: 2 });
    expect(icmpMeaning(6, message(1, 4))).toEqual({ kind: 'unreachable', code: 4 });
    expect(icmpMeaning(4, message(8, 0))).toEqual({ kind: 'other' });
    expect(icmpMeaning(6, message(128, 0))).toEqual({ kind: 'other' });
  });
});
