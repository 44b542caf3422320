/**
 * What comes to a node's end of a tunnel, and to a source in a return tunnel, by IP in IP and in UDP, spoilt in every place:
 * programs and model do the same.
 * FUZZ_CASES and FUZZ_SEED say how many cases, and which.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Family } from '../core/address.js';
import { DELIVERY_MARK } from '../bpf/programs.js';
import type { TakenState } from '../tpot/node.js';
import { buildTcp } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { seq } from '../wire/seq.js';
import type { TcpFlag } from '../wire/tcp.js';
import { UDP_HEADER } from '../wire/udp.js';
import { ends, endsInUdp, NodeUnderTest, phases } from './bpf-node.js';
import { expectedOfTunnelled } from './bpf-expected.js';
import { flows, frameOf, reversed } from './bpf-programs.js';
import {
  become,
  endOf,
  legs,
  NEXT_PORT,
  pinLegs,
  returnEnds,
  unpinLegs,
  type Machine,
} from './bpf-returns.js';
import { Comparison, expectFrame } from './fuzz/comparison.js';
import { optionArea, spoil } from './fuzz/mutate.js';
import { countIn, fuzzRun, type Random } from './fuzz/random.js';

const ACTION = { untouched: -1, deliver: 0, drop: 2 } as const;
const IP_HEADER = { 4: 20, 6: 40 } as const;
/** Version and lengths, what comes next, fragments, the last bytes of both addresses. */
const IP_FIELDS = { 4: [0, 2, 3, 6, 7, 9, 15, 19], 6: [0, 4, 5, 6, 23, 39] } as const;
const UDP_FIELDS = [0, 1, 2, 3, 4, 5] as const;
/** Ports, data offset, flags. */
const TCP_FIELDS = [0, 1, 2, 3, 12, 13] as const;
const VARIANTS = 8;
const STATES: readonly TakenState[] = [
  { phase: 'tunnelled' },
  { phase: 'tunnelled' },
  { phase: 'tunnelled' },
  { phase: 'syn-answered', isn: seq(0) },
  { phase: 'plain' },
  { phase: 'edge' },
];
const FLAGS: readonly TcpFlag[][] = [['ack'], ['ack', 'psh'], ['fin', 'ack'], ['rst'], ['syn'], []];

let node: NodeUnderTest;
beforeAll(() => {
  node = new NodeUnderTest();
});
afterAll(() => {
  unpinLegs(node.kernel);
  node.close();
});

const within = (header: number, fields: readonly number[]): number[] => fields.map((field) => header + field);

/** Where a length, a kind or a flag stands in a tunnel packet with headers of the usual lengths. */
function fieldsOf(of: Family, udp: boolean): number[] {
  const inner = IP_HEADER[of] + (udp ? UDP_HEADER : 0);
  return [
    ...IP_FIELDS[of],
    ...(udp ? within(IP_HEADER[of], UDP_FIELDS) : []),
    ...within(inner, IP_FIELDS[of]),
    ...within(inner + IP_HEADER[of], TCP_FIELDS),
  ];
}

/** A good packet, and where in it a length, a kind or a flag stands. */
interface Base {
  readonly of: Family;
  /** Where it arrives, with a leg pinned to its next node. */
  readonly machine: Machine;
  /** The tunnel of that leg was given up. */
  readonly plain: boolean;
  readonly packet: Uint8Array;
  readonly header: number;
  readonly fields: readonly number[];
}

function basePacket(random: Random): Base {
  const of = random.pick<Family>([4, 6]);
  const udp = random.once(2);
  const machine = random.pick<Machine>(['node', 'node', 'source']);
  const returned = machine === 'source' ? !random.once(8) : random.once(2);
  const back = udp ? { ...returnEnds[of], port: NEXT_PORT, back: true } : returnEnds[of];
  const there = udp ? endsInUdp[of] : ends[of];
  const packet = buildTcp({
    ...(returned ? reversed(legs[of]) : flows[of]),
    flags: random.pick(FLAGS),
    seq: random.u32(),
    ack: random.u32(),
    tos: random.below(256),
    ttl: random.below(256),
    identification: random.below(0x10000),
    options: optionArea(random),
    payload: random.bytes(random.once(8) ? random.below(200) : random.below(8)),
    tunnel: returned ? back : there,
  });
  const header = IP_HEADER[of] + (udp ? UDP_HEADER : 0);
  return { of, machine, plain: random.once(16), packet, header, fields: fieldsOf(of, udp) };
}

function spoilt(random: Random, { packet: good, header, fields }: Base): Uint8Array {
  const packet = good.slice();
  // Three of four behind the outer header, or few packets would still be for this node.
  for (let edits = random.below(4); edits > 0; edits--)
    spoil(random, packet, fields, random.once(4) ? 0 : header);
  const length = random.once(8) ? header + random.below(packet.length - header) : packet.length;
  return concat(packet.subarray(0, length), random.bytes(random.once(8) ? random.below(12) : 0));
}

let prepared: Base | undefined;
function prepare(base: Base, { phase }: TakenState): void {
  if (base !== prepared) {
    become(node.kernel, base.machine);
    pinLegs(node.kernel, { plain: Number(base.plain) });
    prepared = base;
  }
  node.take(base.of, phases[phase]);
}

it('is delivered or dropped as the model does, however it was spoilt', () => {
  const { random, cases, done } = fuzzRun('decapsulator', 1_000_000);
  const comparison = new Comparison(node.kernel);
  const seen = new Map<string, number>();
  let base = basePacket(random);
  for (let at = 0; at < cases; at++) {
    // To build a packet takes longer than to spoil it and to run it.
    if (at % VARIANTS === 0) base = basePacket(random);
    const current = base;
    const { of, machine, plain } = current;
    const state = random.pick(STATES);
    const packet = spoilt(random, current);
    const expected = expectedOfTunnelled(packet, of, state, endOf(machine, plain));
    const frame = frameOf(packet, of);
    countIn(seen, [expected.verdict, expected.reason].join(' '));
    comparison.run({
      program: 'tpot_ingress',
      frame,
      prepare: () => prepare(current, state),
      counted: expected.reason === undefined ? [] : [expected.reason],
      check: (outcome) => {
        if (outcome.verdict !== ACTION[expected.verdict]) throw new Error(JSON.stringify(expected));
        if (outcome.mark !== (expected.verdict === 'deliver' ? DELIVERY_MARK : 0))
          throw new Error('the mark');
        // The inner IPv4 checksum follows what the path said about congestion.
        if (expected.verdict !== 'drop')
          expectFrame(outcome, frame, expected.packet ?? packet, of === 4 ? [10] : []);
      },
    });
  }
  comparison.settle();
  done(seen);
  expect(seen.size).toBeGreaterThan(8);
  expect(seen.has('untouched decap-ok') && seen.has('untouched decap-udp-ok')).toBe(true);
});
