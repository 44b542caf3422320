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
import { instant, justNow, legs, nextNodes, tunnelEntry } from './bpf-returns.js';
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
const there = (of: Family): Mapping => ({ ...UNMAPPED, out: OUT[of], acknowledged: add(START, DELTA) });

interface Kind {
  readonly udp: boolean;
  readonly returns: boolean;
}

/** Both directions of a spliced connection, whose client takes return tunnels. */
function enter(of: Family, { udp, returns }: Kind): void {
  const facts = { outerSource: undefined, bytes: 0n, now: 1n, startedAt: 1n, returns };
  const splices = kernel.programs.map('tpotSplices');
  splices.set(mapFlow(flows[of]), spliceEntry(there(of), { ...facts, fromClient: true, udp }));
  splices.set(mapFlow(reverse(OUT[of])), spliceEntry(back(of), { ...facts, fromClient: false }));
}

const tunnelOf = (of: Family): TpotTunnel | undefined =>
  kernel.programs.map('tpotTunnels').get(mapFlow(reverse(flows[of])));
const gauge = (): bigint => kernel.programs.map('tpotGauges').get(0)?.tunnels ?? 0n;
const leave = (of: Family): void => forget(kernel.programs, mapFlow(flows[of]));
const isRemembered = (of: Family): boolean =>
  kernel.programs.map('tpotReturnSources').get({ address: toMapped(flows[of].source) }) !== undefined;

/** What one end sends, numbered in segments. */
interface Side {
  sent: number;
  acknowledged: number;
  /** Where its last segment ended. */
  end: number;
}

/** A spliced connection. */
class Spliced {
  readonly of: Family;
  readonly server: Side = { sent: 0, acknowledged: 0, end: 0 };
  readonly client: Side = { sent: 0, acknowledged: 0, end: 0 };
  /** The client has sent nothing for long. */
  silent = true;

  constructor(of: Family) {
    this.of = of;
  }

  /** Sends a segment; what is counted beside that it is forwarded, and whether it is one that ended earlier already. */
  send(from: 'client' | 'server', at: number): { counted: Record<string, number>; again: boolean } {
    const { of, client, server } = this;
    const side = this[from];
    const payload = new Uint8Array(SIZE).fill(at);
    const numbers =
      from === 'server'
        ? { ...reverse(OUT[of]), seq: add(START, at * SIZE), ack: client.acknowledged * SIZE }
        : { ...flows[of], seq: at * SIZE, ack: add(START, DELTA + server.acknowledged * SIZE) };
    const packet = buildTcp({ ...numbers, flags: ['ack'], payload });
    const { counted, packet: leaving } = kernel.run('tpot_ingress', frameOf(packet, of));
    const { 'splice-forwarded': forwarded, ...rest } = counted;
    expect(forwarded).toBe(1);
    const mapped = mapPacket(packet, from === 'server' ? back(of) : there(of));
    if (mapped.verdict === 'forward') expectBytes(leaving, mapped.packet);
    const again = at < side.end;
    side.sent = Math.max(side.sent, at + 1);
    side.end = at + 1;
    if (from === 'client') this.silent = false;
    return { counted: rest, again };
  }

  /** One end acknowledges what the other has sent, up to there. */
  acknowledge(of: 'client' | 'server', upTo: number): void {
    const { client, server } = this;
    const other = of === 'server' ? client : server;
    this[of].acknowledged = upTo;
    other.end = other.sent;
    const numbers =
      of === 'server'
        ? { ...flows[this.of], seq: client.sent * SIZE, ack: add(START, DELTA + upTo * SIZE) }
        : { ...reverse(OUT[this.of]), seq: add(START, server.sent * SIZE), ack: upTo * SIZE };
    kernel.run('tpot_ingress', frameOf(buildTcp({ ...numbers, flags: ['ack'] }), this.of));
    if (of === 'server') this.silent = false;
  }

  /** What the server sends leaves by the interface towards the client. */
  egress(): Record<string, number> {
    const packet = buildTcp({ ...reverse(flows[this.of]), flags: ['ack'] });
    return kernel.run('tpot_egress', frameOf(packet, this.of), { ingressIfindex: 1 }).counted;
  }

  /** The programs' notes are as old as they should be, however long this test has been kept waiting: `long` ago, or new. */
  setClock(long: boolean): void {
    const splices = kernel.programs.map('tpotSplices');
    const seenNs = this.silent ? 1n : justNow();
    const client = splices.get(mapFlow(flows[this.of]));
    if (client !== undefined) splices.set(mapFlow(flows[this.of]), { ...client, seenNs });
    const tunnel = tunnelOf(this.of);
    const key = mapFlow(reverse(flows[this.of]));
    if (tunnel !== undefined)
      kernel.programs.map('tpotTunnels').set(key, { ...tunnel, answered: instant(long) });
  }
}

function expectState(of: Family, { opened, way, moves, signs }: ReturnState): void {
  const entry = opened
    ? { back: 1, plain: way === 'plain' ? 1 : 0, repeats: moves, stalls: signs }
    : undefined;
  if (entry === undefined) expect(tunnelOf(of)).toBeUndefined();
  else expect(tunnelOf(of)).toMatchObject({ ...entry, udpPort: UDP_TUNNEL_PORT });
}

const MOVES = [
  'data',
  'stall',
  'stall',
  'stall',
  'upload',
  'upload again',
  'upload again',
  'other',
  'acks',
  'wait',
  'wait',
  'egress',
] as const;
/** What happens next; `which` chooses among the segments that are on their way. */
const anyMove = fc.record({
  type: fc.constantFrom(...MOVES),
  which: fc.nat(),
  room: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
});
type Move = typeof anyMove extends fc.Arbitrary<infer T> ? T : never;
type Told = readonly [ReturnEvent | undefined, Record<string, number>];

function fromServer(one: Spliced, { type, which, room }: Move, now: number): Told {
  const { sent, acknowledged } = one.server;
  const flight = sent - acknowledged;
  const chosen = type === 'stall' ? acknowledged : acknowledged + (which % Math.max(1, flight));
  const { silent } = one;
  const at = type === 'data' || flight === 0 ? sent : chosen;
  const { counted, again } = one.send('server', at);
  const stalls = again && at === acknowledged;
  return [
    stalls ? { type: 'again', from: 'server', mark: seq(acknowledged), silent, room, now } : undefined,
    counted,
  ];
}

function fromClient(one: Spliced, { type, which, room }: Move, now: number): Told {
  const { sent, acknowledged } = one.client;
  const at = type === 'upload' || sent === 0 ? sent : which % sent;
  const { counted, again } = one.send('client', at);
  const heard = again && at < acknowledged;
  return [
    heard ? { type: 'again', from: 'client', mark: seq(at), silent: true, room, now } : undefined,
    counted,
  ];
}

/** Makes the programs do it; what that is in the model, and what is counted. */
function move(one: Spliced, each: Move, now: number): Told {
  const { type, which, room } = each;
  if (type === 'wait') {
    one.silent = true;
    return [undefined, {}];
  }
  if (type === 'acks') {
    const of = which % 3 === 0 ? 'server' : 'client';
    const { sent, acknowledged } = one[of];
    one.acknowledge(of, acknowledged + (which % (sent - acknowledged + 1)));
    return [undefined, {}];
  }
  if (type === 'egress') {
    const { 'encap-ok': ok, 'encap-udp-ok': inUdp, ...counted } = one.egress();
    expect((ok ?? inUdp) === 1).toBe(tunnelOf(one.of)?.plain === 0);
    return [{ type: 'sent', room, now }, counted];
  }
  return type.startsWith('upload') ? fromClient(one, each, now) : fromServer(one, each, now);
}

describe('the return tunnel of a spliced connection', () => {
  it('begins, is left, and is taken up again as in the model', () => {
    const seen = new Map<string, number>();
    const property = fc.property(
      fc.constantFrom(...FAMILIES),
      fc.boolean(),
      fc.array(anyMove, { minLength: 1, maxLength: 80 }),
      (of, udp, moves) => {
        leave(of); // of a run that failed
        enter(of, { udp, returns: true });
        const one = new Spliced(of);
        let { state } = startReturn(undefined, 0, true);
        let now = 0;
        for (const each of moves) {
          kernel.programs.configure({ maxTunnels: each.room ? MAX_TUNNELS : 0 });
          if (each.type === 'wait') now += 4000;
          one.setClock(now - state.signAt >= 1000);
          const [event, counted] = move(one, each, now);
          const step = event && stepReturn(state, event);
          expect(Object.keys(counted)).toEqual(step?.reasons ?? []);
          const taken = step?.state.way === 'tunnel' && state.opened && state.way === 'plain';
          for (const said of [...(step?.reasons ?? []), ...(taken ? ['taken up again'] : [])])
            seen.set(said, (seen.get(said) ?? 0) + 1);
          state = step?.state ?? state;
          expectState(of, state);
          expect(gauge()).toBe(state.opened ? 1n : 0n);
        }
        // Nothing is remembered of a spliced one: every node of a chain sees the same.
        expect(isRemembered(of)).toBe(false);
        leave(of);
        expect([tunnelOf(of), gauge()]).toEqual([undefined, 0n]);
      },
    );
    const repeat = (count: number, ...types: Move['type'][]): Move[] =>
      Array.from({ length: count }, () => types)
        .flat()
        .map((type) => ({ type, which: 0, room: true }));
    const stalls = [
      ...repeat(3, 'stall'),
      ...repeat(4, 'wait', 'stall'),
      ...repeat(4, 'wait', 'stall'),
      ...repeat(2, 'egress'),
    ];
    const noRoom = stalls.map((one, index) => ({ ...one, room: index > 4 }));
    const examples = FAMILIES.map((of): [Family, boolean, Move[]] => [
      of,
      of === 6,
      of === 6 ? noRoom : stalls,
    ]);
    fc.assert(property, { numRuns: 150, examples });
    expect([...seen.keys()].sort()).toEqual([
      'return-given-up',
      'return-tunnel',
      'table-full',
      'taken up again',
    ]);
  });

  it.each(FAMILIES)('is of the kind by which its client sends: IPv%i', (of) => {
    for (const udp of [false, true]) {
      enter(of, { udp, returns: true });
      const one = new Spliced(of);
      for (let time = 0; time < 4; time++) one.send('server', 0);
      expect(tunnelOf(of)).toMatchObject({ udp: Number(udp), remote: toMapped(flows[of].source) });
      expect(one.egress()).toEqual({ [udp ? 'encap-udp-ok' : 'encap-ok']: 1 });
      leave(of);
    }
  });

  it('begins with nothing that somebody makes up who has not seen the connection', () => {
    for (const of of FAMILIES) {
      enter(of, { udp: false, returns: true });
      const one = new Spliced(of);
      const last = 50_000;
      one.send('client', last);
      one.acknowledge('client', last + 1);
      const end = (last + 1) * SIZE;
      for (const far of [end, 2 ** 22 + SIZE + 1, 2 ** 22 + SIZE]) {
        const from = { ...flows[of], flags: ['ack'] as const, payload: new Uint8Array(SIZE) };
        const made = buildTcp({ ...from, seq: end - far, ack: add(START, DELTA) });
        one.send('client', last);
        for (let time = 0; time < 4; time++) kernel.run('tpot_ingress', frameOf(made, of));
        expect(tunnelOf(of) !== undefined).toBe(far === 2 ** 22 + SIZE);
      }
      leave(of);
    }
  });

  it('is none of a client that takes none', () => {
    for (const of of FAMILIES) {
      enter(of, { udp: false, returns: false });
      const one = new Spliced(of);
      for (let time = 0; time < 20; time++) expect(one.send('server', 0).counted).toEqual({});
      expect(tunnelOf(of)).toBeUndefined();
      leave(of);
    }
  });
});

describe('from the return tunnel of the next node into the one of the client', () => {
  const cases = FAMILIES.flatMap((of) => [false, true].map((udp): [Family, boolean] => [of, udp]));

  it.each(cases)('a segment goes with its outer header renewed, and counts: IPv%i, UDP %s', (of, udp) => {
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
      expect(tunnelOf(of)?.repeats).toBe(at);
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
    leave(of);
    kernel.programs.map('tpotGauges').set(0, { taken: 0n, tunnels: 0n, unused: 0, padding: 0 });
  });
});
