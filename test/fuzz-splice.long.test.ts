/**
 * Segments of spliced connections with spoilt headers and options: programs and model do the same, byte for byte.
 * FUZZ_CASES and FUZZ_SEED say how many cases, and which.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Family } from '../core/address.js';
import type { TestRunResult } from '../bpf/test-run.js';
import { spliceEntry } from '../node/splice-entry.js';
import { isToBeTold, pieceAt, tellSender } from '../splice/fit.js';
import { mapPacket, type Mapped, type Mapping } from '../splice/mapping.js';
import { buildTcp } from '../wire/build.js';
import { writer } from '../wire/bytes.js';
import { checksum, pseudoHeaderSum } from '../wire/checksum.js';
import { ip as anyIp } from '../wire/ip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add, seq } from '../wire/seq.js';
import {
  hasFlags,
  TCP_CHECKSUM_OFFSET,
  TCP_FLAG,
  TCP_MIN_HEADER,
  type TcpFlag,
  type TcpRepr,
} from '../wire/tcp.js';
import { ETHERNET_HEADER, flows, frameOf, mapFlow, nodeAddresses, segmentOf } from './bpf-programs.js';
import { Comparison, isSamePacket } from './fuzz/comparison.js';
import { optionArea, spoil } from './fuzz/mutate.js';
import { countIn, fuzzRun, type Random } from './fuzz/random.js';
import { OUT, SplicingPrograms } from './splicing-programs.js';

const UNTOUCHED = -1;
const DROP = 2;
const REDIRECT = 7;
const VARIANTS = 8;
/** Payload of each segment of a packet that is still to be cut up. */
const GSO_SIZES = [100, 500, 1448];
const IP_HEADER = { 4: 20, 6: 40 } as const;
const FLAGS: readonly TcpFlag[][] = [['ack'], ['ack', 'psh'], ['fin', 'ack'], ['rst'], ['urg', 'ack'], []];
/** What is not an address or a port: those decide whose segment it is. */
const SPOILT_FIELDS = {
  4: [0, 1, 2, 3, 4, 6, 7, 8, 9, ...Array.from({ length: 16 }, (_, at) => 24 + at)],
  6: [0, 1, 2, 4, 5, 6, 7, ...Array.from({ length: 16 }, (_, at) => 44 + at)],
} as const;

let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms(9100);
});
afterAll(() => kernel.close());

function mappingOf(random: Random, of: Family): Mapping {
  return {
    out: OUT[of],
    base: seq(random.u32()),
    acknowledged: seq(random.u32()),
    sequenceDelta: random.u32(),
    acknowledgmentDelta: random.u32(),
    timestampDelta: random.u32(),
    echoDelta: random.u32(),
    scaleUp: random.below(15),
    scaleDown: random.below(15),
    maxSegment: random.pick([100, 1460, 9000]),
    timestamps: random.once(2),
    sack: random.once(2),
    ecn: random.once(2),
  };
}

interface Base {
  readonly of: Family;
  readonly mapping: Mapping;
  readonly packet: Uint8Array;
}

function baseSegment(random: Random): Base {
  const of = random.pick<Family>([4, 6]);
  const mapping = mappingOf(random, of);
  const distance = random.pick([0, 1, -1, random.below(4000) - 2000, random.u32()]);
  const packet = buildTcp({
    ...flows[of],
    flags: random.pick(FLAGS),
    seq: add(mapping.base, distance),
    ack: random.u32(),
    window: random.below(0x10000),
    urgent: random.once(4) ? random.below(0x10000) : 0,
    tos: random.below(256),
    ttl: random.once(8) ? random.below(4) : 64,
    options: optionArea(random),
    payload: random.bytes(random.once(16) ? random.below(3000) : random.pick([0, 1, 20, random.below(200)])),
  });
  return { of, mapping, packet };
}

/** Spoilt, with checksums that are right for what the packet says now. */
function spoilt(random: Random, { of, packet: good }: Base): Uint8Array {
  const packet = good.slice();
  for (let edits = random.below(3); edits > 0; edits--) {
    const options = random.once(2) ? IP_HEADER[of] + 20 : packet.length;
    if (options < packet.length) spoil(random, packet, [], options);
    else spoil(random, packet, SPOILT_FIELDS[of], packet.length - 1);
  }
  return random.once(8) ? packet.subarray(0, Math.max(IP_HEADER[of], random.below(packet.length))) : packet;
}

function renewChecksums(packet: Uint8Array, of: Family): void {
  const header = of === 4 ? ((packet[0] ?? 0) & 15) * 4 : IP_HEADER[6];
  const parsed = anyIp.parse(packet);
  if (!parsed.ok) return;
  const { source, destination } = parsed.value;
  if (of === 4) {
    writer(packet).setUint16(10, 0);
    writer(packet).setUint16(10, checksum(packet.subarray(0, header)));
  }
  const segment = packet.subarray(header, header + parsed.payload.length);
  if (segment.length < TCP_MIN_HEADER) return;
  writer(segment).setUint16(TCP_CHECKSUM_OFFSET, 0);
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL.tcp, segment.length);
  writer(segment).setUint16(TCP_CHECKSUM_OFFSET, checksum(segment, pseudo));
}

interface Expectation {
  readonly what: string;
  readonly counted: readonly string[];
  readonly verdict: number;
  readonly packet: Uint8Array | undefined;
}

const ofDrop = (reason: string): Expectation => ({
  what: reason,
  counted: [reason],
  verdict: DROP,
  packet: undefined,
});

function ofMapped(mapped: Mapped, what: string): Expectation {
  if (mapped.verdict === 'drop') return ofDrop(mapped.reason);
  const counted = ['splice-forwarded'];
  return { what: mapped.cut ? 'cut' : what, counted, verdict: REDIRECT, packet: mapped.packet };
}

/** 0, or how a packet with so much payload might still have to be cut up. */
function gsoSizeOf(random: Random, payload: number): number {
  const size = random.pick(GSO_SIZES);
  return payload > size && !random.once(3) ? size : 0;
}

function expectedOf(packet: Uint8Array, { of, mapping }: Base, gsoSize: number): Expectation {
  const segment = segmentOf(frameOf(packet, of));
  const { sourcePort, destinationPort } = flows[of];
  const isOurs = segment?.tcp.sourcePort === sourcePort && segment.tcp.destinationPort === destinationPort;
  if (segment === undefined || !isOurs) return { what: 'untouched', counted: [], verdict: UNTOUCHED, packet };
  const size = segment.header.family === 4 ? segment.header.totalLength : 40 + segment.header.payloadLength;
  const stated = packet.subarray(0, size);
  const mapped = mapPacket(stated, mapping, gsoSize || undefined);
  if (mapped.verdict === 'forward' || mapped.reason !== 'drop-splice-too-big')
    return ofMapped(mapped, gsoSize > 0 ? 'forward, to be cut up later' : 'forward');
  // Test runs have frames of a segment size and no kind (`gso_type`), which the kernel lets nobody resize.
  if (gsoSize > 0) return ofDrop('drop-splice-failed');
  if (isToBeTold(stated, 0)) {
    const told = tellSender(stated, nodeAddresses[of], mapping.maxSegment);
    return { what: 'told', counted: ['drop-splice-too-big', 'splice-told'], verdict: REDIRECT, packet: told };
  }
  return ofMapped(mapPacket(pieceAt(stated, mapping.maxSegment, 0), mapping), 'piece');
}

function check(outcome: TestRunResult, { verdict, packet, counted }: Expectation): void {
  if (outcome.verdict !== verdict) throw new Error(`verdict ${verdict} expected, ${counted.join(', ')}`);
  if (packet === undefined) return;
  const header = (packet[0] ?? 0) >> 4 === 4 ? ((packet[0] ?? 0) & 15) * 4 : IP_HEADER[6];
  const actual = outcome.packet.subarray(ETHERNET_HEADER, ETHERNET_HEADER + packet.length);
  if (isSamePacket(actual, packet, [10, header + TCP_CHECKSUM_OFFSET])) return;
  throw new Error(`expected ${Buffer.from(packet).toString('hex')}`);
}

/** Of a damaged packet, whether it looks like one: the programs read flags before the end of the segment. */
function isSyn(packet: Uint8Array, tcp: TcpRepr | undefined, of: Family): boolean {
  const header = of === 4 ? ((packet[0] ?? 0) & 15) * 4 : IP_HEADER[6];
  return tcp === undefined ? ((packet[header + 13] ?? 0) & TCP_FLAG.syn) !== 0 : hasFlags(tcp, 'syn');
}

it('segments of spliced connections', () => {
  const { random, cases, done } = fuzzRun('splice program', 1_000_000);
  const comparison = new Comparison(kernel, ['splice-cut', 'splice-resized']); // counted, too, of what is dropped later
  const splices = kernel.programs.map('tpotSplices');
  const facts = { fromClient: true, bytes: 0n, now: 1n, startedAt: 1n, outerSource: undefined };
  const seen = new Map<string, number>();
  let base = baseSegment(random);
  for (let at = 0; at < cases; at++) {
    if (at % VARIANTS === 0) base = baseSegment(random);
    const { of, mapping } = base;
    const packet = spoilt(random, base);
    renewChecksums(packet, of);
    const segment = segmentOf(frameOf(packet, of));
    if (isSyn(packet, segment?.tcp, of)) continue; // a new connection, or its answer
    const gsoSize = gsoSizeOf(random, segment?.payload.length ?? 0);
    const expected = expectedOf(packet, base, gsoSize);
    countIn(seen, expected.what);
    comparison.run({
      program: 'tpot_ingress',
      frame: frameOf(packet, of),
      options: { gsoSize },
      prepare: () => splices.set(mapFlow(flows[of]), spliceEntry(mapping, facts)),
      counted: expected.counted,
      check: (outcome) => check(outcome, expected),
    });
  }
  comparison.settle();
  done(seen);
  expect([...seen.keys()]).toEqual(
    expect.arrayContaining([
      'forward',
      'forward, to be cut up later',
      'drop-splice-failed',
      'cut',
      'told',
      'drop-splice-ttl',
      'drop-splice-congestion',
      'untouched',
    ]),
  );
});
