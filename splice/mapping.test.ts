import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { sequence, u16, u32 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { ip as anyIp } from '../wire/ip.js';
import { add, diff, seq } from '../wire/seq.js';
import { tcp, type TcpRepr } from '../wire/tcp.js';
import { tcpOptions } from '../wire/tcp-options.js';
import { joinLegs, type LegState } from './join.js';
import { mapOptions, mapPacket, mapWindow, type FlowEnds, type Mapping } from './mapping.js';

const flowA: FlowEnds = {
  source: ip('198.18.0.7'),
  sourcePort: 40000,
  destination: ip('192.0.2.80'),
  destinationPort: 80,
};
const flowB: FlowEnds = {
  source: ip('192.0.2.80'),
  sourcePort: 80,
  destination: ip('198.18.1.1'),
  destinationPort: 51000,
};

const leg = (flow: FlowEnds): fc.Arbitrary<LegState> =>
  fc.record({
    flow: fc.constant(flow),
    sendNext: sequence,
    receiveNext: sequence,
    timestamps: fc.record({ sent: u32, received: u32 }),
    sack: fc.constant(true),
    ecn: fc.constant(false),
    theirScale: fc.integer({ min: 0, max: 14 }),
    ourScale: fc.integer({ min: 0, max: 14 }),
    sendMss: fc.constant(1448),
  });
const pair = fc.record({ a: leg(flowA), b: leg(flowB) });

function mappings(a: LegState, b: LegState): { fromA: Mapping; fromB: Mapping } {
  const joined = joinLegs(a, b);
  if (!joined.ok) throw new Error(joined.reason);
  return joined;
}

interface Sent {
  readonly seq: number;
  readonly ack: number;
  readonly payload?: Uint8Array;
  readonly value?: number;
  readonly echo?: number;
}

function pass(
  from: FlowEnds,
  mapping: Mapping,
  { value = 0, echo = 0, ...sent }: Sent,
): TcpRepr & { length: number } {
  const options = [{ kind: 'timestamps' as const, value, echo }];
  const mapped = mapPacket(buildTcp({ ...from, flags: ['ack'], ...sent, options }), mapping);
  if (mapped.verdict !== 'forward') throw new Error(mapped.reason);
  const packet = anyIp.parse(mapped.packet);
  const segment = packet.ok ? tcp.parse(packet.payload) : packet;
  if (!segment.ok) throw new Error(segment.fault);
  return { ...segment.value, length: segment.payload.length };
}

function stampsOf(segment: TcpRepr): { value: number; echo: number } {
  const found = tcpOptions.parse(segment.options).find((option) => option.kind === 'timestamps');
  return found ?? { value: -1, echo: -1 };
}

describe('a splice', () => {
  it('carries byte base + n of one side as byte n of the other, across the end of the numbers', () => {
    fc.assert(
      fc.property(pair, fc.integer({ min: 0, max: 0x7fffffff }), ({ a, b }, n) => {
        const { fromA } = mappings(a, b);
        expect(pass(flowA, fromA, { seq: add(a.receiveNext, n), ack: a.sendNext }).seq).toBe(
          add(b.sendNext, n),
        );
      }),
    );
  });

  it('lets every acknowledgment of a mapped byte come back as one of the byte that was sent', () => {
    fc.assert(
      fc.property(pair, fc.integer({ min: 0, max: 0x3fffffff }), ({ a, b }, n) => {
        const { fromA, fromB } = mappings(a, b);
        const sent = add(a.receiveNext, n);
        const seen = pass(flowA, fromA, { seq: sent, ack: a.sendNext }).seq;
        expect(pass(flowB, fromB, { seq: b.receiveNext, ack: seen }).ack).toBe(sent);
        const edges = { left: seen, right: add(seen, 10) };
        const area = mapOptions(tcpOptions.emit([{ kind: 'sack', blocks: [edges] }]), fromB, true);
        expect(tcpOptions.parse(area)).toEqual([
          { kind: 'sack', blocks: [{ left: sent, right: add(sent, 10) }] },
        ]);
      }),
    );
  });

  it('shows each side an echo of its own clock, and a clock that never goes back', () => {
    fc.assert(
      fc.property(pair, fc.integer({ min: 0, max: 1_000_000 }), ({ a, b }, later) => {
        const { fromA, fromB } = mappings(a, b);
        const value = seq((a.timestamps?.received ?? 0) + later);
        const seen = stampsOf(pass(flowA, fromA, { seq: a.receiveNext, ack: a.sendNext, value }));
        expect(diff(seq(seen.value), seq(b.timestamps?.sent ?? 0))).toBe(later);
        const echoed = pass(flowB, fromB, { seq: b.receiveNext, ack: b.sendNext, echo: seen.value });
        expect(stampsOf(echoed).echo).toBe(value);
      }),
    );
  });

  it('carries nothing from below the base, and asks for what is above', () => {
    const below = fc.integer({ min: 1, max: 4000 });
    fc.assert(
      fc.property(pair, below, fc.integer({ min: 1, max: 1400 }), ({ a, b }, n, length) => {
        const { fromA } = mappings(a, b);
        const start = add(a.receiveNext, -n);
        const seen = pass(flowA, fromA, { seq: start, ack: a.sendNext, payload: new Uint8Array(length) });
        expect(seen.length).toBe(0);
        expect(diff(seen.seq, b.sendNext)).toBe(-n);
      }),
    );
  });

  it('never shows more window than there is, nor less than the scales can say', () => {
    const shift = fc.integer({ min: 0, max: 14 });
    fc.assert(
      fc.property(u16, shift, shift, (window, up, down) => {
        const mapped = mapWindow(window, up, down);
        expect(mapped * 2 ** down).toBeLessThanOrEqual(window * 2 ** up);
        if (mapped < 0xffff) expect((mapped + 1) * 2 ** down).toBeGreaterThan(window * 2 ** up);
      }),
    );
  });
});

describe('options', () => {
  const mapping = mappings(
    { ...fc.sample(leg(flowA), 1)[0]!, sack: false },
    fc.sample(leg(flowB), 1)[0]!,
  ).fromB;

  it('that one side alone negotiated become NOPs of the same length', () => {
    const area = tcpOptions.emit([
      { kind: 'sack', blocks: [{ left: seq(1), right: seq(2) }] },
      { kind: 'nop' },
    ]);
    expect(mapOptions(area, mapping, true)).toEqual(new Uint8Array(11).fill(1));
  });

  it('of illegal length end the list', () => {
    expect(mapOptions(Uint8Array.of(1, 9, 1, 7), mapping, true)).toEqual(Uint8Array.of(1, 0, 1, 7));
  });
});

describe('two legs', () => {
  it('of which one alone has timestamps are not joined', () => {
    const [a] = fc.sample(leg(flowA), 1);
    const [b] = fc.sample(leg(flowB), 1);
    expect(joinLegs({ ...a!, timestamps: undefined }, b!)).toEqual({
      ok: false,
      reason: 'relayed-timestamps',
    });
  });
});
