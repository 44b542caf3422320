/**
 * Return tunnels of spliced connections: the BPF programs against tpot/return.ts, event by event (BPF_PROG_TEST_RUN), and
 * what the table of tunnels holds then.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { toMapped, type Family } from '../core/address.js';
import type { TpotTunnel } from '../bpf/generated/maps.js';
import { forget } from '../node/hand-over.js';
import { spliceEntry } from '../node/splice-entry.js';
import { mapPacket, reverse, type Mapping } from '../splice/mapping.js';
import { startReturn, stepReturn, type ReturnEvent, type ReturnState } from '../tpot/return.js';
import { buildTcp } from '../wire/build.js';
import { encapsulate, TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { add, seq } from '../wire/seq.js';
import { encapsulateInUdp, UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import { expectBytes, flows, frameOf, mapFlow, nodeAddresses } from './bpf-programs.js';
import { legs, nextNodes, tunnelEntry } from './bpf-returns.js';
import { OUT, SplicingPrograms, UNMAPPED } from './splicing-programs.js';

const FAMILIES = [4, 6] as const;
const MAX_TUNNELS = 1000;
const SIZE = 100;
/** Of the first byte that the server sends, by its own numbers; they come round. */
const START = seq(0xffffff80);
const DELTA = 12345;

let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms();
  kernel.programs.configure({ udpPort: UDP_TUNNEL_PORT });
});
afterAll(() => kernel.close());
afterEach(() => kernel.programs.configure({ maxTunnels: MAX_TUNNELS }));

const back = (of: Family): Mapping => ({
  ...UNMAPPED,
  out: reverse(flows[of]),
  base: START,
  sequenceDelta: DELTA,
});

interface Kind {
  readonly udp: boolean;
  readonly returns: boolean;
}

/** Both directions of a spliced connection, whose client takes return tunnels. */
function enter(of: Family, { udp, returns }: Kind): void {
  const facts = { outerSource: undefined, bytes: 0n, now: 1n, startedAt: 1n };
  const splices = kernel.programs.map('tpotSplices');
  const there = { ...UNMAPPED, out: OUT[of], acknowledged: add(START, DELTA) };
  splices.set(mapFlow(flows[of]), spliceEntry(there, { ...facts, fromClient: true, udp }));
  splices.set(mapFlow(reverse(OUT[of])), spliceEntry(back(of), { ...facts, fromClient: false, returns }));
}

const tunnelOf = (of: Family): TpotTunnel | undefined =>
  kernel.programs.map('tpotTunnels').get(mapFlow(reverse(flows[of])));
const address = (of: Family) => ({ address: toMapped(flows[of].source) });
const isRemembered = (of: Family): boolean =>
  kernel.programs.map('tpotReturnSources').get(address(of)) !== undefined;
const gauge = (): bigint => kernel.programs.map('tpotGauges').get(0)?.tunnels ?? 0n;
function leave(of: Family): void {
  forget(kernel.programs, mapFlow(flows[of]));
  kernel.programs.map('tpotReturnSources').delete(address(of));
}

/** A spliced connection: what its server and its client send is numbered in segments. */
class Spliced {
  readonly of: Family;
  sent = 0;
  acknowledged = 0;
  /** Where the last segment of the server ended. */
  #end = 0;

  constructor(of: Family) {
    this.of = of;
  }

  /** The reasons that are counted when the server sends this segment, beside that it is forwarded. */
  serve(at: number): { counted: Record<string, number>; again: boolean } {
    const { of } = this;
    const data = { flags: ['ack'] as const, ack: 9, payload: new Uint8Array(SIZE).fill(at) };
    const packet = buildTcp({ ...reverse(OUT[of]), ...data, seq: add(START, at * SIZE) });
    const outcome = kernel.run('tpot_ingress', frameOf(packet, of));
    const { 'splice-forwarded': forwarded, ...counted } = outcome.counted;
    expect(forwarded).toBe(1);
    const mapped = mapPacket(packet, back(of));
    if (mapped.verdict === 'forward') expectBytes(outcome.packet, mapped.packet);
    const again = at < this.#end && at === this.acknowledged;
    this.sent = Math.max(this.sent, at + 1);
    this.#end = at + 1;
    return { counted, again };
  }

  /** What it sends leaves by the interface towards the client. */
  egress(payload: number): Record<string, number> {
    const spec = { ...reverse(flows[this.of]), flags: ['ack'] as const, payload: new Uint8Array(payload) };
    return kernel.run('tpot_egress', frameOf(buildTcp(spec), this.of), { ingressIfindex: 1 }).counted;
  }

  acknowledge(upTo: number): void {
    this.acknowledged = upTo;
    const ack = add(START, DELTA + upTo * SIZE);
    kernel.run(
      'tpot_ingress',
      frameOf(buildTcp({ ...flows[this.of], flags: ['ack'], seq: 1, ack }), this.of),
    );
  }
}

function expectState(of: Family, { opened, way, segments }: ReturnState, { udp }: Kind): void {
  const entry = opened
    ? tunnelEntry(flows[of].source, {
        back: 1,
        plain: way === 'plain' ? 1 : 0,
        udp: Number(udp),
        udpPort: UDP_TUNNEL_PORT,
        repeats: segments,
      })
    : undefined;
  expect(tunnelOf(of)).toEqual(entry);
}

/** What happens next; `which` chooses among the segments that are on their way. */
const anyMove = fc.record({
  type: fc.constantFrom('new', 'first', 'first', 'first', 'other', 'ack', 'egress', 'egress', 'bare'),
  which: fc.nat(),
  room: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, fc.constant(false)),
});
type Move = typeof anyMove extends fc.Arbitrary<infer T> ? T : never;

/** Makes the programs do it; what that is in the model, and what is counted. */
function move(one: Spliced, { type, which, room }: Move): [ReturnEvent | undefined, Record<string, number>] {
  const flight = one.sent - one.acknowledged;
  if (type === 'egress' || type === 'bare') {
    const { 'encap-ok': ok, 'encap-udp-ok': inUdp, ...counted } = one.egress(type === 'bare' ? 0 : SIZE);
    const left = (ok ?? inUdp) !== undefined && type === 'egress';
    return [left ? { type: 'sent' } : undefined, counted];
  }
  if (type === 'ack') {
    one.acknowledge(one.acknowledged + (which % (flight + 1)));
    return [undefined, {}];
  }
  const first = type === 'first' ? one.acknowledged : one.acknowledged + (which % Math.max(1, flight));
  const at = type === 'new' || flight === 0 ? one.sent : first;
  const { counted, again } = one.serve(at);
  const unacknowledged = seq(one.acknowledged);
  return [again ? { type: 'sent-again', unacknowledged, room } : undefined, counted];
}

describe('the return tunnel of a spliced connection', () => {
  it('begins, changes, is proven and given up as in the model', () => {
    const seen = new Set<string>();
    const property = fc.property(
      fc.constantFrom(...FAMILIES),
      fc.boolean(),
      fc.array(anyMove, { minLength: 1, maxLength: 60 }),
      (of, udp, moves) => {
        const kind = { udp, returns: true };
        enter(of, kind);
        const one = new Spliced(of);
        one.serve(0);
        let { state } = startReturn(undefined, 0, true);
        let remembered = false;
        for (const each of moves) {
          kernel.programs.configure({ maxTunnels: each.room ? MAX_TUNNELS : 0 });
          const [event, counted] = move(one, each);
          const step = event && stepReturn(state, event);
          expect(Object.keys(counted)).toEqual(step?.reasons ?? []);
          for (const said of [...(step?.reasons ?? []), ...(step?.actions ?? [])]) seen.add(said);
          if (step?.actions.length === 1) remembered = step.actions[0] === 'remember-source';
          state = step?.state ?? state;
          expectState(of, state, kind);
          expect([isRemembered(of), gauge()]).toEqual([remembered, state.opened ? 1n : 0n]);
        }
        leave(of);
        expect([tunnelOf(of), gauge()]).toEqual([undefined, 0n]);
      },
    );
    const again = (count: number, type: Move['type']): Move[] =>
      Array.from({ length: count }, () => ({ type, which: 0, room: true }));
    const proven = [...again(3, 'first'), ...again(7, 'egress'), ...again(9, 'bare'), ...again(2, 'egress')];
    const examples = FAMILIES.map((of): [Family, boolean, Move[]] => [of, of === 6, proven]);
    fc.assert(property, { numRuns: 100, examples });
    expect([...seen].sort()).toEqual([
      'forget-source',
      'remember-source',
      'return-given-up',
      'return-tunnel',
      'table-full',
    ]);
  });

  it('is none of a client that takes none', () => {
    for (const of of FAMILIES) {
      enter(of, { udp: false, returns: false });
      const one = new Spliced(of);
      for (let time = 0; time < 20; time++) expect(one.serve(0).counted).toEqual({});
      expect(tunnelOf(of)).toBeUndefined();
      leave(of);
    }
  });

  it('is none of what a client sends again to its server', () => {
    for (const of of FAMILIES) {
      enter(of, { udp: false, returns: true });
      const packet = buildTcp({
        ...flows[of],
        flags: ['ack'],
        seq: 1,
        ack: add(START, DELTA),
        payload: new Uint8Array(9),
      });
      for (let time = 0; time < 20; time++) kernel.run('tpot_ingress', frameOf(packet, of));
      expect([...kernel.programs.map('tpotTunnels').keys()]).toEqual([]);
      leave(of);
    }
  });
});

describe('from the return tunnel of the next node into the one of the client', () => {
  const cases = FAMILIES.flatMap((of) => [false, true].map((udp): [Family, boolean] => [of, udp]));

  it.each(cases)('a segment goes with its outer header renewed, and proves it: IPv%i, UDP %s', (of, udp) => {
    enter(of, { udp, returns: true });
    const tunnels = kernel.programs.map('tpotTunnels');
    const kind = { udp: Number(udp), udpPort: UDP_TUNNEL_PORT };
    tunnels.set(mapFlow(legs[of]), tunnelEntry(nextNodes[of], kind));
    tunnels.set(mapFlow(reverse(flows[of])), tunnelEntry(flows[of].source, { ...kind, back: 1 }));
    kernel.programs.configure({ capabilities: 0x4000 });
    const port = { port: UDP_TUNNEL_PORT, back: true };
    const wrap = (
      inner: Uint8Array,
      ends: { source: (typeof nextNodes)[4]; destination: (typeof nextNodes)[4] },
    ): Uint8Array => (udp ? encapsulateInUdp(inner, { ...ends, ...port }) : encapsulate(inner, ends));
    for (let at = 0; at < 8; at++) {
      expect(isRemembered(of)).toBe(false);
      const payload = new Uint8Array(SIZE).fill(at);
      const inner = buildTcp({
        ...reverse(OUT[of]),
        flags: ['ack'],
        seq: add(START, at * SIZE),
        ack: 9,
        payload,
      });
      const arriving = wrap(inner, { source: nextNodes[of], destination: nodeAddresses[of] });
      const outcome = kernel.run('tpot_ingress', frameOf(arriving, of));
      expect(outcome.counted).toEqual({ [udp ? 'decap-udp-ok' : 'decap-ok']: 1, 'splice-forwarded': 1 });
      const mapped = mapPacket(inner, back(of));
      if (mapped.verdict !== 'forward') throw new Error(mapped.reason);
      const leaving = wrap(mapped.packet, { source: nodeAddresses[of], destination: flows[of].source });
      expectBytes(outcome.packet, leaving);
      expect(leaving.length).toBeGreaterThan(2 * TUNNEL_OVERHEAD[of] + SIZE);
    }
    expect(isRemembered(of)).toBe(true);
    leave(of);
    kernel.programs.map('tpotGauges').set(0, { taken: 0n, tunnels: 0n, unused: 0, padding: 0 });
  });
});
