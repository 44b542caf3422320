import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip as address } from '../core/address.js';
import { address as anAddress, bytesUpTo, flags, plainOption, u16, u32, u8 } from './arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from './build.js';
import { concat } from './bytes.js';
import { dissect, formatDissection } from './dissect.js';
import { ip, protocolOf } from './ip.js';
import { decapsulate, encapsulate, ipip } from './ipip.js';
import { ipv4 } from './ipv4.js';
import { ipv6 } from './ipv6.js';
import { hasFlags } from './tcp.js';
import { tcpOptions } from './tcp-options.js';

const spec = (family: 4 | 6): fc.Arbitrary<TcpPacketSpec> =>
  fc.record({
    source: anAddress(family),
    sourcePort: u16,
    destination: anAddress(family),
    destinationPort: u16,
    flags,
    seq: u32,
    ack: u32,
    window: u16,
    options: fc
      .array(plainOption, { maxLength: 3 })
      .filter((options) => tcpOptions.byteLength(options) <= 40),
    payload: bytesUpTo(60),
    ttl: u8,
    tos: u8,
  });
const anySpec = fc.oneof(spec(4), spec(6));
const ends = {
  4: { source: address('198.18.0.1'), destination: address('198.18.1.1') },
  6: { source: address('2001:db8::1'), destination: address('2001:db8:1::1') },
};

describe('buildTcp and dissect', () => {
  it('agree on every part, with valid checksums', () => {
    fc.assert(
      fc.property(anySpec, (wanted) => {
        const seen = dissect(buildTcp(wanted));
        if (seen.kind !== 'tcp') throw new Error(seen.kind);
        expect(seen).toMatchObject({
          ...{ outer: undefined, checksumsValid: true, payload: wanted.payload },
          ip: { source: wanted.source, destination: wanted.destination },
          tcp: { sourcePort: wanted.sourcePort, destinationPort: wanted.destinationPort },
        });
        expect([seen.tcp.seq, seen.tcp.ack, seen.tcp.window]).toEqual([
          wanted.seq,
          wanted.ack,
          wanted.window,
        ]);
        expect(wanted.flags.every((flag) => hasFlags(seen.tcp, flag))).toBe(true);
        expect(seen.options.filter((option) => option.kind !== 'end')).toEqual(wanted.options);
      }),
    );
  });

  it('agree through a tunnel of the same family', () => {
    fc.assert(
      fc.property(anySpec, (wanted) => {
        const tunnel = ends[wanted.destination.family];
        const inside = dissect(buildTcp(wanted));
        const seen = dissect(buildTcp({ ...wanted, tunnel }));
        expect(seen).toEqual({ ...inside, outer: seen.outer });
        expect(seen.outer).toMatchObject(tunnel);
      }),
    );
  });

  it('keep IPv4 options', () => {
    const packet = buildTcp({
      ...{
        ...ends[4],
        sourcePort: 1,
        destinationPort: 2,
        flags: ['ack'],
        ipOptions: Uint8Array.of(148, 4, 0, 0),
      },
    });
    expect(dissect(packet)).toMatchObject({
      kind: 'tcp',
      ip: { options: Uint8Array.of(148, 4, 0, 0) },
      checksumsValid: true,
    });
  });

  it('notice a flipped bit anywhere in an IPv4 packet', () => {
    fc.assert(
      fc.property(spec(4), fc.nat(), (wanted, pick) => {
        const packet = buildTcp(wanted);
        packet[pick % packet.length]! ^= 0x10;
        const seen = dissect(packet);
        expect(seen.kind === 'tcp' && seen.checksumsValid).toBe(false);
      }),
    );
  });

  it('dissect and format whatever comes', () => {
    const torn = fc
      .tuple(anySpec, fc.boolean(), fc.nat(), fc.nat(), u8)
      .map(([wanted, tunnelled, cut, at, value]) => {
        const tunnel = ends[wanted.destination.family];
        const packet = buildTcp(tunnelled ? { ...wanted, tunnel } : wanted);
        packet[at % packet.length] = value;
        return packet.subarray(0, (cut % packet.length) + 1);
      });
    fc.assert(
      fc.property(fc.oneof(bytesUpTo(100), torn), (bytes) => {
        expect(formatDissection(dissect(bytes))).not.toBe('');
      }),
      { numRuns: 1000 },
    );
  });

  it('print a packet on one line', () => {
    const packet = buildTcp({
      ...{ ...ends[4], sourcePort: 40000, destinationPort: 80, flags: ['syn'], seq: 7, tunnel: ends[4] },
      options: [
        { kind: 'mss', mss: 1460 },
        { kind: 'unknown', code: 253, data: Uint8Array.of(0x54, 0x50) },
      ],
    });
    expect(formatDissection(dissect(packet))).toBe(
      '[IP 198.18.0.1 > 198.18.1.1 proto 4 length 68 ttl 64] IP 198.18.0.1 > 198.18.1.1 proto 6 length 48 ttl 64 ' +
        'TCP 40000 > 80 [syn] seq 7 ack 0 win 65535 <mss 1460,unknown-253 0x5450> data 0',
    );
  });

  it('name the flow an ICMP error is about', () => {
    const about = buildTcp({ ...ends[4], sourcePort: 5, destinationPort: 6, flags: ['ack'] });
    const message = concat(Uint8Array.of(3, 4, 0, 0, 0, 0, 5, 0xc8), about.subarray(0, 28));
    const header = ipv4.parse(about);
    if (!header.ok) throw new Error(header.fault);
    const packet = concat(
      ipv4.emit({ ...header.value, protocol: 1, totalLength: 20 + message.length }),
      message,
    );
    expect(dissect(packet)).toMatchObject({
      kind: 'icmp',
      meaning: { kind: 'too-big', mtu: 1480 },
      quoted: { sourcePort: 5, destinationPort: 6, protocol: 6 },
    });
  });
});

describe('encapsulate', () => {
  it('adds a header and changes nothing inside; decapsulate takes it off again', () => {
    fc.assert(
      fc.property(anySpec, (wanted) => {
        const inner = buildTcp(wanted);
        const { family } = wanted.destination;
        const packet = encapsulate(inner, ends[family]);
        const parsed = ipip.parse(packet);
        if (!parsed.ok) throw new Error(parsed.fault);
        expect(packet.length).toBe(inner.length + (family === 4 ? 20 : 40));
        expect(ipip.emit(parsed.value)).toEqual(packet);
        expect(protocolOf(parsed.value.outer)).toBe(family === 4 ? 4 : 41);
        expect(parsed.value.inner).toEqual(inner);
        expect(decapsulate(parsed.value)).toEqual(inner);
        const outer = parsed.value.outer;
        expect(outer.family === 4 ? outer.tos : outer.trafficClass).toBe(wanted.tos);
      }),
    );
  });

  it('carries a congestion mark inwards only to packets that can take it (RFC 6040 section 4.2)', () => {
    for (const family of [4, 6] as const) {
      for (const [inside, expected] of [
        [0, 0],
        [1, 3],
        [2, 3],
        [3, 3],
      ] as const) {
        const inner = buildTcp({
          ...ends[family],
          sourcePort: 1,
          destinationPort: 2,
          flags: ['ack'],
          tos: 0x28 | inside,
        });
        const parsed = ipip.parse(encapsulate(inner, ends[family]));
        if (!parsed.ok) throw new Error(parsed.fault);
        const { outer } = parsed.value;
        const marked = outer.family === 4 ? { ...outer, tos: 3 } : { ...outer, trafficClass: 3 };
        const result = decapsulate({ outer: marked, inner: parsed.value.inner });
        const seen = dissect(result);
        if (seen.kind !== 'tcp') throw new Error(seen.kind);
        expect(seen.checksumsValid).toBe(true);
        expect(seen.ip.family === 4 ? seen.ip.tos : seen.ip.trafficClass).toBe(0x28 | expected);
      }
    }
  });

  it('does not mend a wrong checksum when it marks congestion', () => {
    const inner = buildTcp({
      ...{ source: ends[4].source, sourcePort: 1, destination: ends[4].destination, destinationPort: 2 },
      flags: ['ack'],
      tos: 2,
    });
    inner[10]! ^= 0xff;
    const parsed = ipip.parse(encapsulate(inner, ends[4]));
    if (!parsed.ok || parsed.value.outer.family !== 4) throw new Error('not parsed');
    const marked = decapsulate({ outer: { ...parsed.value.outer, tos: 3 }, inner });
    expect(ipv4.view(marked).tos).toBe(3);
    expect(ipv4.view(marked).checksumValid).toBe(false);
  });

  it('never throws on an inner packet that is none', () => {
    fc.assert(
      fc.property(bytesUpTo(60), fc.constantFrom(4 as const, 6 as const), (inner, family) => {
        const parsed = ipip.parse(encapsulate(inner, ends[family]));
        expect(parsed.ok && parsed.value.inner).toEqual(inner);
        if (parsed.ok) expect(decapsulate(parsed.value)).toEqual(inner);
      }),
    );
  });

  it('is not what a plain packet is', () => {
    const plain = buildTcp({ ...ends[6], sourcePort: 1, destinationPort: 2, flags: ['ack'] });
    expect(ipip.parse(plain)).toEqual({ ok: false, fault: 'not-encapsulated' });
    expect(ipv6.parse(plain).ok && ip.parse(plain).ok).toBe(true);
  });
});
