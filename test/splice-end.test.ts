/**
 * How spliced connections end (bpf/tpot_end.h): by the RSTs and FINs of their ends, and by those of nobody who has seen
 * none of their packets and guesses addresses and ports.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TpotSpliceFlag } from '../bpf/generated/maps.js';
import { noteFin } from '../node/held-segments.js';
import { spliceEntry } from '../node/splice-entry.js';
import { reverse, type FlowEnds, type Mapping } from '../splice/mapping.js';
import type { TcpFlag } from '../wire/tcp.js';
import { buildTcp } from '../wire/build.js';
import { add, seq } from '../wire/seq.js';
import { flows, frameOf, mapFlow } from './bpf-programs.js';
import { OUT, SplicingPrograms, UNMAPPED } from './splicing-programs.js';

const { RESET, DOUBTFUL, PEER_FIN, PEER_DONE } = TpotSpliceFlag;
const ENDS = RESET | DOUBTFUL | PEER_FIN | PEER_DONE;
const DELTA = 0x7000_0000;
let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms(9100);
});
afterAll(() => kernel.close());

/** Where A and B begin: the number of the next byte, as the node sees it arrive. Close to where the numbers come round. */
const A = seq(0xffff_ff00);
const B = seq(0x1234_5678);
const arrivingFromB = reverse(OUT[4]);

beforeEach(() => {
  const facts = { outerSource: undefined, bytes: 0n, now: 1n, startedAt: 1n };
  const fromA: Mapping = {
    ...UNMAPPED,
    out: OUT[4],
    base: A,
    acknowledged: seq(B - 7),
    sequenceDelta: DELTA,
    acknowledgmentDelta: 7,
  };
  const fromB: Mapping = {
    ...UNMAPPED,
    out: reverse(flows[4]),
    base: B,
    acknowledged: add(A, DELTA),
    sequenceDelta: seq(-7),
    acknowledgmentDelta: seq(-DELTA),
  };
  const table = kernel.programs.map('tpotSplices');
  table.set(mapFlow(flows[4]), spliceEntry(fromA, { ...facts, fromClient: true }));
  table.set(mapFlow(arrivingFromB), spliceEntry(fromB, { ...facts, fromClient: false }));
});

type Segment = { readonly at: number; readonly ack?: number; readonly bytes?: number };

function send(flow: FlowEnds, flags: readonly TcpFlag[], { at, ack = 0, bytes = 0 }: Segment): void {
  const packet = buildTcp({ ...flow, flags, seq: seq(at), ack: seq(ack), payload: new Uint8Array(bytes) });
  expect(kernel.run('tpot_ingress', frameOf(packet, 4)).counted).toMatchObject({ 'splice-forwarded': 1 });
}
/** `at`: bytes behind the first one of A; `got`: bytes of B that it acknowledges. */
const fromA = (flags: readonly TcpFlag[], at: number, got = 0, bytes = 0): void =>
  send(flows[4], flags, { at: A + at, ack: B - 7 + got, bytes });
const fromB = (flags: readonly TcpFlag[], at: number, got = 0, bytes = 0): void =>
  send(arrivingFromB, flags, { at: B + at, ack: A + DELTA + got, bytes });

/** What is noted in the entry of A's segments, and in that of B's. */
const noted = (): number[] =>
  [flows[4], arrivingFromB].map(
    (flow) => (kernel.programs.map('tpotSplices').get(mapFlow(flow))?.flags ?? 0) & ENDS,
  );

/** Whether a SYN on the ports of the client begins a new connection. */
function givesWay(): boolean {
  const syn = buildTcp({ ...flows[4], flags: ['syn'], seq: 5 });
  return kernel.run('tpot_ingress', frameOf(syn, 4)).counted['splice-forgotten'] === 1;
}

describe('a RST', () => {
  it('at the very next number is the end, whoever sends it', () => {
    fromA(['rst'], 0);
    expect(noted()).toEqual([0, RESET]);
    expect(givesWay()).toBe(true);
  });

  it('that answers a segment is', () => {
    fromA(['ack'], 0, 0, 1000);
    fromB(['ack'], 0, 500);
    fromB(['rst'], 0);
    fromA(['rst'], 500);
    expect(noted()).toEqual([RESET, RESET]);
  });

  it.each([1, 1000, -1, -1000, 2 ** 22, 2 ** 30, 2 ** 31])('of a guess that is %i off is not', (off) => {
    fromA(['rst'], off === 1 ? 2 : off); // one more than what was sent can be behind a FIN
    fromB(['rst'], off === 1 ? 2 : off);
    expect(noted()).toEqual([0, 0]);
    expect(givesWay()).toBe(false);
  });

  it('behind what is on its way is, as long as its receiver sends nothing but a RST', () => {
    fromA(['ack'], 0, 0, 1000);
    fromA(['rst'], 1000);
    expect(noted()).toEqual([0, RESET | DOUBTFUL]);
    fromB(['rst', 'ack'], 0, 0);
    expect(noted()).toEqual([RESET, RESET | DOUBTFUL]);
  });

  it('that its receiver answers (RFC 5961) has ended nothing; the one that follows has', () => {
    fromA(['ack'], 0, 0, 1000);
    fromA(['rst'], 800);
    expect(noted()).toEqual([0, RESET | DOUBTFUL]);
    fromB(['ack'], 0, 0);
    expect(noted()).toEqual([0, 0]);
    fromA(['rst'], 0);
    expect(noted()).toEqual([0, RESET]);
    fromB(['ack'], 0, 0); // was on its way
    expect(noted()).toEqual([0, RESET]);
  });

  it('behind data that nobody could have sent is none', () => {
    fromA(['ack'], 2 ** 30, 0, 8); // of the attacker's, too
    fromA(['rst'], 2 ** 30 + 8);
    expect(noted()).toEqual([0, 0]);
  });
});

describe('a FIN', () => {
  it('counts once it is acknowledged, both ways', () => {
    fromA(['fin', 'ack'], 0, 0, 10);
    expect(noted()).toEqual([0, PEER_FIN]);
    fromB(['ack'], 0, 10);
    expect(noted()).toEqual([0, PEER_FIN]);
    fromB(['fin', 'ack'], 0, 11);
    expect(noted()).toEqual([PEER_FIN, PEER_FIN | PEER_DONE]);
    fromA(['ack'], 11, 1);
    expect(noted()).toEqual([PEER_FIN | PEER_DONE, PEER_FIN | PEER_DONE]);
    expect(givesWay()).toBe(true);
  });

  it.each([-1, -1000, 2 ** 30 + 1, 2 ** 31])('of a guess that is %i off is none, kept or not', (off) => {
    fromA(['fin', 'ack'], off);
    noteFin(kernel.programs, flows[4], add(A, off + 1));
    expect(noted()).toEqual([0, 0]);
  });

  it('that was forged and lies ahead is not acknowledged by more than it, and the real one counts', () => {
    fromA(['fin', 'ack'], 100, 0);
    fromA(['ack'], 0, 0, 1000);
    fromB(['ack'], 0, 1000);
    expect(noted()).toEqual([0, PEER_FIN]);
    fromA(['fin', 'ack'], 1000, 0);
    fromB(['ack'], 0, 1001);
    expect(noted()).toEqual([0, PEER_FIN | PEER_DONE]);
  });
});
