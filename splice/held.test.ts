import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip, type Family } from '../core/address.js';
import { bytesUpTo, sequence } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat, writer } from '../wire/bytes.js';
import { pseudoHeaderSum } from '../wire/checksum.js';
import { dissect, type TcpDissection } from '../wire/dissect.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add } from '../wire/seq.js';
import { TCP_CHECKSUM_OFFSET, TCP_FLAG } from '../wire/tcp.js';
import { heldFin, heldFlow, mapHeld, wholeAgain } from './held.js';
import { mapPacket, type FlowEnds, type Mapping } from './mapping.js';

const IP_HEADER: Record<Family, number> = { 4: 20, 6: 40 };
const FLOWS: Record<Family, { in: FlowEnds; out: FlowEnds }> = {
  4: {
    in: { source: ip('198.18.1.2'), sourcePort: 40_000, destination: ip('192.0.2.80'), destinationPort: 80 },
    out: { source: ip('192.0.2.1'), sourcePort: 51_000, destination: ip('192.0.2.80'), destinationPort: 80 },
  },
  6: {
    in: {
      source: ip('2001:db8::2'),
      sourcePort: 40_000,
      destination: ip('2001:db8::80'),
      destinationPort: 80,
    },
    out: {
      source: ip('2001:db8::1'),
      sourcePort: 51_000,
      destination: ip('2001:db8::80'),
      destinationPort: 80,
    },
  },
};
const STAMPS = { kind: 'timestamps', value: 7, echo: 9 } as const;

const heldCase = fc
  .record({
    family: fc.constantFrom<Family>(4, 6),
    seq: sequence,
    sequenceDelta: sequence,
    maxSegment: fc.integer({ min: 53, max: 1480 }),
    payload: fc.oneof(
      bytesUpTo(100),
      fc.integer({ min: 0, max: 9000 }).map((length) => new Uint8Array(length).map((_, at) => at * 31)),
    ),
    flags: fc.constantFrom<TcpPacketSpec['flags']>(['ack'], ['ack', 'psh'], ['ack', 'fin', 'psh']),
  })
  .map(({ family, seq, sequenceDelta, maxSegment, payload, flags }) => {
    const mapping: Mapping = {
      out: FLOWS[family].out,
      base: seq,
      acknowledged: seq,
      sequenceDelta,
      acknowledgmentDelta: 3,
      timestampDelta: 5,
      echoDelta: 6,
      scaleUp: 7,
      scaleDown: 2,
      maxSegment,
      timestamps: true,
      sack: true,
      ecn: true,
    };
    const options = [{ kind: 'nop' }, { kind: 'nop' }, STAMPS] as TcpPacketSpec['options'] & object;
    return {
      family,
      mapping,
      packet: buildTcp({ ...FLOWS[family].in, flags, seq, ack: 1, payload, options }),
    };
  });

const segmentOf = (packet: Uint8Array): TcpDissection => {
  const found = dissect(packet);
  if (found.kind !== 'tcp') throw new Error(`a packet is ${found.kind}`);
  return found;
};

/** As a sender leaves it for its card: the checksum field holds the sum of the pseudo header. */
function unfinished(packet: Uint8Array, family: Family): Uint8Array {
  const copy = Uint8Array.from(packet);
  const { source, destination } = FLOWS[family].in;
  const length = packet.length - IP_HEADER[family];
  writer(copy).setUint16(
    IP_HEADER[family] + TCP_CHECKSUM_OFFSET,
    pseudoHeaderSum(source, destination, PROTOCOL.tcp, length),
  );
  return copy;
}

describe('mapHeld', () => {
  it('makes of a segment what the mapping makes of it, in pieces that fit', () => {
    fc.assert(
      fc.property(heldCase, fc.boolean(), ({ family, mapping, packet }, finished) => {
        const pieces = mapHeld(finished ? packet : unfinished(packet, family), mapping).map(segmentOf);
        const whole = mapPacket(packet, { ...mapping, maxSegment: 0x10000 });
        if (whole.verdict !== 'forward') throw new Error('nothing is wrong with this packet');
        const expected = segmentOf(whole.packet);
        expect(concat(...pieces.map(({ payload }) => payload))).toEqual(expected.payload);
        let at = expected.tcp.seq;
        for (const [index, piece] of pieces.entries()) {
          const last = index === pieces.length - 1;
          const flags = last ? expected.tcp.flags : expected.tcp.flags & ~(TCP_FLAG.fin | TCP_FLAG.psh);
          expect(piece.checksumsValid).toBe(true);
          expect(piece.tcp).toEqual({ ...expected.tcp, seq: at, flags, checksum: piece.tcp.checksum });
          expect(20 + piece.tcp.options.length + piece.payload.length).toBeLessThanOrEqual(
            mapping.maxSegment,
          );
          at = add(at, piece.payload.length);
        }
      }),
    );
  });

  it('makes nothing of a damaged one, and nothing ever throws', () => {
    fc.assert(
      fc.property(
        heldCase,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        ({ family, mapping, packet }, where, bits) => {
          const at = IP_HEADER[family] + (where % (packet.length - IP_HEADER[family]));
          const damaged = packet.with(at, (packet[at] ?? 0) ^ bits);
          expect(mapHeld(damaged, mapping)).toEqual([]);
          expect(wholeAgain(damaged)).toBeUndefined();
          expect(heldFlow(damaged)).toBeUndefined();
        },
      ),
    );
    fc.assert(
      fc.property(heldCase, bytesUpTo(200), ({ mapping }, bytes) => mapHeld(bytes, mapping).length === 0),
    );
  });
});

describe('heldFin', () => {
  it('is the number behind the FIN, of segments that have one', () => {
    fc.assert(
      fc.property(heldCase, fc.boolean(), ({ family, packet }, finished) => {
        const { tcp, payload } = segmentOf(packet);
        const expected = (tcp.flags & TCP_FLAG.fin) === 0 ? undefined : add(tcp.seq, payload.length + 1);
        expect(heldFin(finished ? packet : unfinished(packet, family))).toBe(expected);
      }),
    );
  });
});

describe('wholeAgain', () => {
  it('is the same segment with its checksums right', () => {
    fc.assert(
      fc.property(heldCase, ({ family, packet }) => {
        const again = wholeAgain(unfinished(packet, family));
        const [got, expected] = [segmentOf(again ?? new Uint8Array()), segmentOf(packet)];
        expect(got.checksumsValid).toBe(true);
        expect(got.tcp).toEqual(expected.tcp);
        expect(got.payload).toEqual(expected.payload);
        expect(heldFlow(packet)).toEqual(FLOWS[family].in);
      }),
    );
  });
});
