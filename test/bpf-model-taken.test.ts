/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what a node does with the segments of
 * connections it has taken (rules 8 and 9). What comes out of a tunnel is in bpf-model-decap.test.ts.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Family } from '../core/address.js';
import { TpotState } from '../bpf/generated/maps.js';
import { advertisedMss, rewriteMss } from '../tpot/mss.js';
import { stepTaken, type TakenState } from '../tpot/node.js';
import { bytesUpTo, plainOption, sequence, u16 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { add, seq } from '../wire/seq.js';
import type { TcpFlag } from '../wire/tcp.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import { ends, endsInUdp, entry, NodeUnderTest, phases } from './bpf-node.js';
import {
  ETHERNET_HEADER,
  expectOnlyMssChanged,
  flows,
  frameOf,
  mapFlow,
  reversed,
  segmentOf,
  type ProgramsUnderTest,
} from './bpf-programs.js';

const family = fc.constantFrom<Family>(4, 6);
const mss: TcpOption = { kind: 'mss', mss: 1460 };
let node: NodeUnderTest;
let kernel: ProgramsUnderTest;

beforeAll(() => {
  node = new NodeUnderTest();
  ({ kernel } = node);
});
afterAll(() => node.close());

const take = (of: Family, state: number, synMss = 0): void => node.take(of, state, synMss);
const forget = (of: Family): unknown => node.forget(of);
const stateOf = (of: Family): number | undefined => node.stateOf(of);

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
  const segment = (
    of: Family,
    tunnelled: boolean,
    flags: TcpFlag[],
    ack: number,
    udp: boolean = false,
  ): Uint8Array => {
    const tunnel = udp ? endsInUdp[of] : ends[of];
    return frameOf(buildTcp({ ...flows[of], flags, ack, ...(tunnelled ? { tunnel } : {}) }), of);
  };

  it('decides as the model does, whatever comes and in whatever order', () => {
    const isn = fc.constantFrom(100, 0xffffffff).map(seq);
    const event = fc.oneof(
      isn.map((value) => ({ type: 'syn-ack-sent' as const, isn: value })),
      fc.record({
        type: fc.constant('segment' as const),
        tunnelled: fc.boolean(),
        udp: fc.boolean(),
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
            const reason = one.udp && step.reason === 'decap-ok' ? 'decap-udp-ok' : step.reason;
            const packet = plain.subarray(ETHERNET_HEADER);
            kernel.expect('tpot_ingress', segment(of, one.tunnelled, one.flags, one.ack, one.udp), {
              verdict: step.verdict === 'pass' ? 'untouched' : step.verdict!,
              reason,
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
