/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what a node does with the segments of
 * connections it has taken (rules 7 to 9), and with everything else that comes to its end of a tunnel.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, sameIp, toMapped, type Family } from '../core/address.js';
import { TpotFlag, TpotState, type TpotTaken } from '../bpf/generated/maps.js';
import { ipv4Number } from '../bpf/programs.js';
import { decideTunnelled, type Flow, type TakenConnection } from '../tpot/decap.js';
import { advertisedMss, rewriteMss } from '../tpot/mss.js';
import { stepTaken, type TakenState } from '../tpot/node.js';
import { bytesUpTo, plainOption, sequence, u16, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { ip as anyIp } from '../wire/ip.js';
import { encapsulate, type TunnelEnds } from '../wire/ipip.js';
import { ipv4 } from '../wire/ipv4.js';
import { add, seq } from '../wire/seq.js';
import type { TcpFlag } from '../wire/tcp.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  ETHERNET_HEADER,
  expectOnlyMssChanged,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  reversed,
  segmentOf,
  type Expected,
} from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const family = fc.constantFrom<Family>(4, 6);
const mss: TcpOption = { kind: 'mss', mss: 1460 };
const ends: Record<Family, TunnelEnds> = {
  4: { source: flows[4].source, destination: nodeAddresses[4] },
  6: { source: flows[6].source, destination: nodeAddresses[6] },
};
const phases = {
  'syn-received': TpotState.SYN_RECEIVED,
  'syn-answered': TpotState.SYN_ANSWERED,
  tunnelled: TpotState.TUNNELLED,
  plain: TpotState.PLAIN,
  edge: TpotState.EDGE,
} as const;

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({
    flags: TpotFlag.NODE,
    address4: ipv4Number(nodeAddresses[4]),
    address6: nodeAddresses[6].bytes,
  });
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

const entry = (of: Family, state: number): TpotTaken => ({
  outerSource: toMapped(flows[of].source),
  isn: 0,
  state,
  capabilities: 5,
  hops: 8,
  unused: 0,
  mss: 0,
  unused2: 0,
});
/** Where the kernel keeps a connection until it is established. */
function take(of: Family, state: number, synMss = 0): void {
  kernel.programs.map('tpotTransient').set(mapFlow(flows[of]), { ...entry(of, state), mss: synMss });
}
const forget = (of: Family): unknown => kernel.programs.map('tpotTransient').delete(mapFlow(flows[of]));
const stateOf = (of: Family): number | undefined =>
  kernel.programs.map('tpotTransient').get(mapFlow(flows[of]))?.state;

const synAck = (of: Family, isn: number, options: TcpOption[] | Uint8Array = [mss]): Uint8Array =>
  frameOf(buildTcp({ ...reversed(flows[of]), flags: ['syn', 'ack'], seq: isn, options }), of);

/** Sends the SYN-ACK out: its MSS leaves room for the tunnel, and nothing else changes. */
function answer(of: Family, isn: number, options: TcpOption[] | Uint8Array = [mss], synMss = 0): void {
  const frame = synAck(of, isn, options);
  const outcome = kernel.run('tpot_egress', frame);
  expect(outcome).toMatchObject({ verdict: -1, mark: 0, counted: {} });
  const area = segmentOf(frame)!.tcp.options;
  expectOnlyMssChanged(
    frame,
    outcome,
    rewriteMss(area, (value) => advertisedMss(value, of, synMss)),
  );
}

describe('our SYN-ACK (rule 9)', () => {
  it.each([4, 6] as const)('gets a lower MSS, wherever it stands, and nothing else: IPv%i', (of) => {
    const around = fc.array(plainOption, { maxLength: 3 });
    const area = fc.tuple(around, u16, around).map(([before, value, after]) => {
      const options: TcpOption[] = [...before, { kind: 'mss', mss: value }, ...after];
      return tcpOptions.emit(options).subarray(0, 40);
    });
    fc.assert(
      fc.property(fc.oneof(area, bytesUpTo(40)), sequence, u16, (options, isn, synMss) => {
        take(of, TpotState.SYN_RECEIVED, synMss);
        answer(of, isn, options, synMss);
        const noted = kernel.programs.map('tpotTransient').get(mapFlow(flows[of]));
        expect(noted).toEqual({ ...entry(of, TpotState.SYN_ANSWERED), isn, mss: synMss });
      }),
      { numRuns: 250 },
    );
  });

  it('stays as it is where no tunnel was offered, and where it is not ours', () => {
    for (const state of [TpotState.EDGE, TpotState.PLAIN]) {
      take(4, state);
      kernel.expect('tpot_egress', synAck(4, 1), { verdict: 'untouched' });
    }
    forget(4);
    kernel.expect('tpot_egress', synAck(4, 1), { verdict: 'untouched' });
  });

  it("is not confused with the destination's, which passes through when the source went on without us", () => {
    take(4, TpotState.SYN_RECEIVED);
    answer(4, 100);
    const theirs = synAck(4, 7000);
    const { packet, counted } = kernel.run('tpot_egress', theirs, { ingressIfindex: 1 });
    expect([Buffer.from(packet), counted]).toEqual([Buffer.from(theirs.subarray(ETHERNET_HEADER)), {}]);
    const noted = kernel.programs.map('tpotTransient').get(mapFlow(flows[4]));
    expect(noted).toMatchObject({ state: TpotState.SYN_ANSWERED, isn: 100 });
  });
});

describe('the first segment after the SYN-ACK (rule 8)', () => {
  const segment = (of: Family, tunnelled: boolean, flags: TcpFlag[], ack: number): Uint8Array =>
    frameOf(buildTcp({ ...flows[of], flags, ack, ...(tunnelled ? { tunnel: ends[of] } : {}) }), of);

  it('decides as the model does, whatever comes and in whatever order', () => {
    const isn = fc.constantFrom(100, 0xffffffff).map(seq);
    const event = fc.oneof(
      isn.map((value) => ({ type: 'syn-ack-sent' as const, isn: value })),
      fc.record({
        type: fc.constant('segment' as const),
        tunnelled: fc.boolean(),
        flags: fc.constantFrom<TcpFlag[]>(['ack'], ['rst'], ['rst', 'ack'], ['fin', 'ack'], ['psh', 'ack']),
        ack: isn.chain((value) => fc.constantFrom(add(value, 1), value, seq(7))),
      }),
    );
    fc.assert(
      fc.property(family, fc.boolean(), fc.array(event, { maxLength: 8 }), (of, edge, events) => {
        let state: TakenState = { phase: edge ? 'edge' : 'syn-received' };
        take(of, phases[state.phase]);
        for (const one of events) {
          if (one.type === 'syn-ack-sent') {
            if (state.phase !== 'edge' && state.phase !== 'plain') answer(of, one.isn);
            state = stepTaken(state, one).state;
          } else {
            const plain = segment(of, false, one.flags, one.ack);
            const step = stepTaken(state, { ...one, tcp: segmentOf(plain)!.tcp });
            const packet = plain.subarray(ETHERNET_HEADER);
            kernel.expect('tpot_ingress', segment(of, one.tunnelled, one.flags, one.ack), {
              verdict: step.verdict === 'pass' ? 'untouched' : step.verdict!,
              reason: step.reason,
              packet,
            });
            state = step.state;
          }
          expect(stateOf(of)).toBe(phases[state.phase]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('has decided for connections in the table that is never evicted', () => {
    forget(4);
    const table = kernel.programs.map('tpotTaken');
    table.set(mapFlow(flows[4]), entry(4, TpotState.TUNNELLED));
    const plain = segment(4, false, ['ack'], 101);
    kernel.expect('tpot_ingress', plain, { verdict: 'untouched', reason: 'pass-plain-of-tunnelled' });
    const packet = plain.subarray(ETHERNET_HEADER);
    kernel.expect('tpot_ingress', segment(4, true, ['ack'], 101), {
      verdict: 'deliver',
      reason: 'decap-ok',
      packet,
    });
    table.delete(mapFlow(flows[4]));
    kernel.expect('tpot_ingress', plain, { verdict: 'untouched' });
  });
});

describe('what comes to our end of a tunnel (rule 7)', () => {
  const inside = (of: Family): TcpPacketSpec => ({
    ...flows[of],
    flags: ['ack', 'psh'],
    seq: 7,
    ack: 9,
    options: [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 1, echo: 2 }],
    payload: Uint8Array.of(1, 2, 3, 4, 5),
  });
  const tunnelled = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
    buildTcp({ ...inside(of), tunnel: ends[of], ...changes });
  const own = Object.values(nodeAddresses);
  const isFlow = (a: Flow, b: Flow): boolean =>
    sameIp(a.source, b.source) &&
    sameIp(a.destination, b.destination) &&
    a.sourcePort === b.sourcePort &&
    a.destinationPort === b.destinationPort;
  const known =
    (state: TakenState) =>
    (flow: Flow): TakenConnection | undefined => {
      const of = flow.source.family;
      return isFlow(flow, flows[of]) ? { outerSource: flows[of].source, state } : undefined;
    };

  /** What the model says; `untouched` for packets that IP itself throws away before a tunnel could see them. */
  function expectedOf(packet: Uint8Array, of: Family, state: TakenState): Expected {
    if ((packet[0] ?? 0) >> 4 !== of) return { verdict: 'untouched' };
    const decision = decideTunnelled(packet, own, known(state));
    if (decision.verdict === 'pass') return { verdict: 'untouched' };
    if (decision.verdict === 'drop') return decision;
    const outer = anyIp.parse(packet);
    const length = outer.ok ? packet.length - outer.payload.length : 0;
    const outerHeader = of === 4 ? ipv4.view(packet).headerLength : 40;
    // Padding of the frame stays where it is: behind what the packet says is its end.
    const padding = packet.subarray(packet.length - (length - outerHeader));
    return { verdict: 'deliver', reason: decision.reason, packet: concat(decision.packet, padding) };
  }

  function check(
    packet: Uint8Array,
    of: Family,
    phase: 'tunnelled' | 'plain' | 'edge' = 'tunnelled',
  ): Expected {
    take(of, phases[phase]);
    const expected = expectedOf(packet, of, { phase });
    kernel.expect('tpot_ingress', frameOf(packet, of), expected);
    return expected;
  }
  const patched = (packet: Uint8Array, offset: number, ...values: number[]): Uint8Array => {
    const bytes = packet.slice();
    bytes.set(values, offset);
    return bytes;
  };

  const four = tunnelled(4);
  const six = tunnelled(6);
  const stranger = { 4: ip('198.18.0.8'), 6: ip('2001:db8::8') };
  /** The outer header with 4 bytes of options. */
  const withOuterOptions = (): Uint8Array => {
    const parsed = ipv4.parse(four);
    if (!parsed.ok) throw new Error(parsed.fault);
    const outer = { ...parsed.value, totalLength: four.length + 4, options: Uint8Array.of(1, 1, 1, 0) };
    return concat(ipv4.emit(outer), parsed.payload);
  };

  it.each<[string, string, Family, Uint8Array]>([
    ['decap-ok', 'what was sent', 4, four],
    ['decap-ok', 'what was sent', 6, six],
    ['decap-ok', 'outer IP options', 4, withOuterOptions()],
    ['decap-ok', 'inner IP options', 4, tunnelled(4, { ipOptions: Uint8Array.of(1, 1, 1, 0) })],
    ['decap-ok', 'frame padding', 4, concat(four, new Uint8Array(6))],
    ['decap-ok', 'padding inside', 4, encapsulate(concat(buildTcp(inside(4)), new Uint8Array(6)), ends[4])],
    ['drop-decap-unknown', 'another port', 4, tunnelled(4, { sourcePort: 40001 })],
    ['drop-decap-unknown', 'another destination', 6, tunnelled(6, { destination: stranger[6] })],
    ['drop-decap-unknown', 'a SYN', 4, tunnelled(4, { flags: ['syn'] })],
    ['drop-decap-unknown', 'a SYN-ACK', 6, tunnelled(6, { flags: ['syn', 'ack'] })],
    ['drop-decap-source', 'another source', 4, tunnelled(4, { tunnel: { ...ends[4], source: stranger[4] } })],
    ['drop-decap-source', 'another source', 6, tunnelled(6, { tunnel: { ...ends[6], source: stranger[6] } })],
    ['drop-decap-malformed', 'cut', 4, four.subarray(0, four.length - 1)],
    ['drop-decap-malformed', 'cut', 6, six.subarray(0, six.length - 1)],
    ['drop-decap-malformed', 'cut behind the outer header', 4, four.subarray(0, 20)],
    ['drop-decap-malformed', 'nothing inside', 4, encapsulate(new Uint8Array(), ends[4])],
    ['drop-decap-malformed', 'nothing inside', 6, encapsulate(new Uint8Array(), ends[6])],
    ['drop-decap-malformed', 'the first fragment of a tunnel packet', 4, patched(four, 6, 0x20, 0)],
    ['drop-decap-malformed', 'a later fragment of one', 4, patched(four, 6, 0, 5)],
    ['drop-decap-malformed', 'outer header length of 16', 4, patched(four, 0, 0x44)],
    ['drop-decap-malformed', 'outer header beyond the packet', 4, patched(four.subarray(0, 50), 0, 0x4f)],
    ['drop-decap-malformed', 'the first fragment inside', 4, patched(four, 26, 0x20, 0)],
    ['drop-decap-malformed', 'a later fragment inside', 4, patched(four, 26, 0, 5)],
    ['drop-decap-malformed', 'inner version 6', 4, patched(four, 20, 0x65)],
    ['drop-decap-malformed', 'inner version 4', 6, patched(six, 40, 0x45)],
    ['drop-decap-malformed', 'inner header length of 16', 4, patched(four, 20, 0x44)],
    ['drop-decap-malformed', 'inner length beyond the outer one', 4, patched(four, 22, 0, four.length - 19)],
    ['drop-decap-malformed', 'inner length beyond the outer one', 6, patched(six, 44, 0, six.length - 79)],
    ['drop-decap-malformed', 'inner length of less than TCP', 4, patched(four, 22, 0, 39)],
    ['drop-decap-malformed', 'inner length of less than IP', 4, patched(four, 22, 0, 19)],
    ['drop-decap-malformed', 'inner length that ends in the options', 4, patched(four, 22, 0, 50)],
    ['drop-decap-malformed', 'data offset of 4', 4, patched(four, 52, 0x40)],
    ['drop-decap-malformed', 'data offset beyond the segment', 6, patched(six, 92, 0xf0)],
    ['drop-decap-options', 'an option of length 0', 4, patched(four, 62, 8, 0)],
    ['drop-decap-options', 'an option of length 1', 6, patched(six, 102, 8, 1)],
    ['drop-decap-options', 'an option beyond the area', 4, patched(four, 62, 8, 11)],
    ['drop-decap-not-tcp', 'UDP inside', 4, patched(four, 29, 17)],
    ['drop-decap-not-tcp', 'UDP inside', 6, patched(six, 46, 17)],
    ['drop-decap-not-tcp', 'a fragment inside', 6, patched(six, 46, 44)],
    ['drop-decap-not-tcp', 'a tunnel inside', 4, encapsulate(four, ends[4])],
    ['drop-decap-malformed', 'IPv6 in protocol 4', 4, encapsulate(buildTcp(inside(6)), ends[4])],
  ])('%s: %s (IPv%i)', (reason, _what, of, packet) => {
    expect(check(packet, of)).toMatchObject({ reason });
  });

  it('passes when it is for somebody else, or is no tunnel of ours', () => {
    const elsewhere = tunnelled(4, { tunnel: { ...ends[4], destination: ip('198.18.1.2') } });
    const cases: [Family, Uint8Array][] = [
      [4, elsewhere],
      [4, patched(four, 9, 41)], // IPv6 in IPv4
      [6, patched(six, 6, 4)],
      [4, patched(four, 0, 0x65)], // IP throws this away
    ];
    for (const [of, packet] of cases) expect(check(packet, of)).toEqual({ verdict: 'untouched' });
    kernel.programs.configure({ flags: TpotFlag.SOURCE });
    kernel.expect('tpot_ingress', frameOf(four, 4), { verdict: 'untouched' });
    kernel.programs.configure({ flags: TpotFlag.NODE });
  });

  it('is unknown when the connection has no tunnel', () => {
    for (const of of [4, 6] as const) {
      expect(check(tunnelled(of), of, 'plain')).toMatchObject({ reason: 'drop-decap-unknown' });
      expect(check(tunnelled(of), of, 'edge')).toMatchObject({ reason: 'drop-decap-unknown' });
    }
  });

  it('is not taken for IPv4 when IPv6 addresses are mapped ones', () => {
    take(4, TpotState.TUNNELLED);
    const mapped = (address: Flow['source']): Flow['source'] => ({ family: 6, bytes: toMapped(address) });
    const packet = tunnelled(6, {
      source: mapped(flows[4].source),
      destination: mapped(flows[4].destination),
      tunnel: { ...ends[6], source: mapped(flows[4].source) },
    });
    const { verdict, counted } = kernel.run('tpot_ingress', frameOf(packet, 6));
    expect([verdict, Object.values(counted)]).toEqual([2, [1]]);
    const inner = tunnelled(6, {
      source: mapped(flows[4].source),
      destination: mapped(flows[4].destination),
    });
    expect(check(inner, 6)).toMatchObject({ reason: 'drop-decap-unknown' });
  });

  it.each([4, 6] as const)('keeps what the path said about congestion: IPv%i', (of) => {
    for (const innerEcn of [0, 1, 2, 3]) {
      for (const outerEcn of [0, 1, 2, 3]) {
        const inner = buildTcp({ ...inside(of), tos: 0xb8 | innerEcn });
        const packet = encapsulate(inner, ends[of]);
        const marked =
          of === 4 ? patched(packet, 1, 0xb8 | outerEcn) : patched(packet, 1, 0x80 | (outerEcn << 4));
        check(marked, of);
      }
    }
  });

  it('is delivered or dropped as the model does, however it was spoilt', () => {
    const verdicts = new Set<string>();
    const value = fc.oneof(u8, fc.constantFrom(0, 1, 4, 6, 17, 41, 0x45, 0x60));
    // Three of four behind the outer header, or few packets would still be for us.
    const edit = fc.record({ outer: fc.integer({ min: 0, max: 3 }), at: fc.nat(), value });
    const spoilt = fc.record({
      of: family,
      tos: fc.constantFrom(0, 1),
      outerCe: fc.boolean(),
      edits: fc.array(edit, { maxLength: 3 }),
      cut: fc.option(fc.nat(), { nil: undefined, freq: 3 }),
      padding: fc.oneof(fc.constant(new Uint8Array()), bytesUpTo(8)),
    });
    fc.assert(
      fc.property(spoilt, ({ of, tos, outerCe, edits, cut, padding }) => {
        const header = of === 4 ? 20 : 40;
        const packet = tunnelled(of, { tos });
        if (outerCe) packet.set(of === 4 ? [3] : [0x30], 1);
        for (const { outer, at, value } of edits) {
          packet[outer === 0 ? at % packet.length : header + (at % (packet.length - header))] = value;
        }
        // Where an update could give either zero of ones' complement, the kernel's choice is the other one.
        fc.pre(!(of === 4 && packet[header + 10] === 0 && packet[header + 11] === 2));
        const length = cut === undefined ? packet.length : header + (cut % (packet.length - header));
        const { verdict } = check(concat(packet.subarray(0, length), padding), of);
        verdicts.add(verdict);
      }),
      { numRuns: 2000 },
    );
    expect(verdicts.size).toBe(3);
  });
});
