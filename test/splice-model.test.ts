/**
 * The mapping of spliced connections: the BPF programs against splice/mapping.ts, byte for byte, over random packets
 * (BPF_PROG_TEST_RUN), packets that are still to be cut up (GSO) included.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family } from '../core/address.js';
import { noteFin } from '../node/held-segments.js';
import { spliceEntry } from '../node/splice-entry.js';
import { isToBeTold, pieceAt, tellSender } from '../splice/fit.js';
import { BASE_HOLDS, mapPacket, type FlowEnds, type Mapped, type Mapping } from '../splice/mapping.js';
import { bytesUpTo, flags, plainOption, sequence, u16, u32, u8 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { concat, writer } from '../wire/bytes.js';
import { checksum, isValid, pseudoHeaderSum } from '../wire/checksum.js';
import { ipv4 } from '../wire/ipv4.js';
import { PROTOCOL } from '../wire/protocols.js';
import { add, seq } from '../wire/seq.js';
import { TCP_CHECKSUM_OFFSET } from '../wire/tcp.js';
import { encapsulate } from '../wire/ipip.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  expectBytes,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  reversed,
  type Outcome,
} from './bpf-programs.js';
import { OUT, SplicingPrograms, UNMAPPED } from './splicing-programs.js';

const ACTION = { pass: -1, drop: 2, redirect: 7 } as const;
const OUTER = ip('198.18.0.7');

let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms(9100);
});
afterAll(() => kernel.close());

const mappingOf = (family: Family): fc.Arbitrary<Mapping> =>
  fc.record({
    out: fc.constant(OUT[family]),
    base: sequence,
    acknowledged: sequence,
    sequenceDelta: sequence,
    acknowledgmentDelta: sequence,
    timestampDelta: u32,
    echoDelta: u32,
    scaleUp: fc.integer({ min: 0, max: 14 }),
    scaleDown: fc.integer({ min: 0, max: 14 }),
    maxSegment: fc.constantFrom(1460, 1480, 9000),
    timestamps: fc.boolean(),
    sack: fc.boolean(),
    ecn: fc.boolean(),
  });

/** As long as asked for: `fc.uint8Array` alone prefers short ones. */
const bytesOf = (length: number): fc.Arbitrary<Uint8Array> =>
  fc
    .uint8Array({ minLength: 1, maxLength: 32 })
    .map((some) => new Uint8Array(length).map((_, at) => some[at % some.length] ?? 0));

const usual: fc.Arbitrary<TcpOption[]> = fc
  .record({ kind: fc.constant('timestamps' as const), value: u32, echo: u32 })
  .map((stamps): TcpOption[] => [{ kind: 'nop' }, { kind: 'nop' }, stamps]);
const options = fc.oneof(
  fc.constant<TcpOption[]>([]),
  usual,
  fc.array(plainOption, { maxLength: 5 }).filter((list) => tcpOptions.byteLength(list) <= 40),
  bytesUpTo(40).map((bytes) => tcpOptions.parse(bytes)),
);

interface Case {
  readonly mapping: Mapping;
  readonly carried: bigint;
  readonly packet: Uint8Array;
  readonly frame: Uint8Array;
  readonly gsoSize: number;
  readonly family: Family;
}

const packetCase = fc.constantFrom<Family>(4, 6).chain((family) =>
  fc
    .record({
      mapping: mappingOf(family),
      flags,
      /** Before, at, or after the base. */
      distance: fc.oneof(fc.integer({ min: -2000, max: 2000 }), fc.integer({ min: -3, max: 3 }), u32),
      ack: sequence,
      window: u16,
      options,
      payload: fc
        .oneof(fc.constantFrom(0, 1, 1448, 1449, 3000), fc.integer({ min: 0, max: 3000 }))
        .chain(bytesOf),
      carried: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0n) },
        fc.constantFrom(BASE_HOLDS - 1n, BASE_HOLDS),
      ),
      ttl: fc.oneof(fc.constant(64), fc.integer({ min: 0, max: 3 })),
      tos: u8,
      ipOptions: fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array()) }, bytesUpTo(12)),
      gsoSize: fc.constantFrom(0, 0, 500, 1448),
      padding: fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array()) }, bytesUpTo(20)),
    })
    .map(({ mapping, distance, carried, gsoSize, options: list, padding, ...rest }): Case => {
      const sent = rest.flags.includes('syn') ? rest.flags.filter((flag) => flag !== 'syn') : rest.flags;
      const area = tcpOptions.emit(list);
      const packet = buildTcp({
        ...flows[family],
        ...rest,
        flags: sent,
        seq: add(mapping.base, distance),
        options: area,
      });
      const gso = gsoSize > 0 && rest.payload.length > gsoSize ? gsoSize : 0;
      const frame = frameOf(concat(packet, padding), family);
      return { mapping, carried, packet, frame, gsoSize: gso, family };
    }),
);

function enter(family: Family, mapping: Mapping, tunnelled = false, bytes = 0n): void {
  const facts = { fromClient: true, bytes, now: 1n, startedAt: 1n };
  const entry = spliceEntry(mapping, { ...facts, outerSource: tunnelled ? OUTER : undefined });
  kernel.programs.map('tpotSplices').set(mapFlow(flows[family]), entry);
}

function run({ frame, gsoSize }: Pick<Case, 'frame' | 'gsoSize'>): Outcome {
  return kernel.run('tpot_ingress', frame, { gsoSize });
}

/** What becomes of a segment that is too large and new to its direction. */
function expectFit({ packet, mapping, carried, gsoSize, family }: Case, outcome: Outcome): string {
  if (gsoSize > 0) {
    // A test run has frames of a segment size and no kind (`gso_type`), which the kernel lets nobody resize.
    expect(outcome.counted).toEqual({ 'drop-splice-failed': 1 });
    return 'later';
  }
  if (isToBeTold(packet, 0)) {
    expect(outcome.counted).toEqual({ 'drop-splice-too-big': 1, 'splice-told': 1 });
    expectBytes(outcome.packet, tellSender(packet, nodeAddresses[family], mapping.maxSegment));
    return 'told';
  }
  const piece = pieceAt(packet, mapping.maxSegment, 0);
  expectMapped(outcome, mapPacket(piece, mapping, undefined, carried));
  return 'piece';
}

function expectMapped(outcome: Outcome, mapped: Mapped): void {
  if (mapped.verdict === 'drop') expect(outcome.counted).toHaveProperty(mapped.reason);
  else expectBytes(outcome.packet.subarray(0, mapped.packet.length), mapped.packet);
}

describe('the programs and the model', () => {
  it('make the same of every packet', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(packetCase, (one) => {
        enter(one.family, one.mapping, false, one.carried);
        const outcome = run(one);
        const mapped = mapPacket(one.packet, one.mapping, one.gsoSize || undefined, one.carried);
        if (mapped.verdict === 'drop' && mapped.reason === 'drop-splice-too-big') {
          seen.add(expectFit(one, outcome));
          return;
        }
        if (mapped.verdict === 'drop') {
          seen.add(mapped.reason);
          expect(outcome.verdict).toBe(ACTION.drop);
          expect(outcome.counted).toEqual({ [mapped.reason]: 1 });
          return;
        }
        seen.add(mapped.cut ? 'cut' : 'forward');
        expect(outcome.verdict).toBe(ACTION.redirect);
        expect(outcome.counted['splice-cut'] ?? 0).toBe(mapped.cut ? 1 : 0);
        expectBytes(outcome.packet.subarray(0, mapped.packet.length), mapped.packet);
      }),
      { numRuns: 3000 },
    );
    expect([...seen].sort()).toEqual(
      ['cut', 'drop-splice-congestion', 'drop-splice-ttl', 'forward', 'later', 'piece', 'told'].sort(),
    );
  });

  it('keep a wrong checksum wrong', () => {
    const payload = fc.uint8Array({ minLength: 1, maxLength: 1000 });
    fc.assert(
      fc.property(mappingOf(4), payload, (mapping, bytes) => {
        enter(4, mapping);
        const packet = buildTcp({ ...flows[4], flags: ['ack'], seq: mapping.base, ack: 1, payload: bytes });
        const mapped = mapPacket(packet, mapping);
        if (mapped.verdict !== 'forward') throw new Error('nothing is wrong with this packet');
        const spoil = (good: Uint8Array): Uint8Array => good.with(-1, (good.at(-1) ?? 0) ^ 1);
        expectBytes(run({ frame: frameOf(spoil(packet), 4), gsoSize: 0 }).packet, spoil(mapped.packet));
      }),
      { numRuns: 300 },
    );
  });
});

/** The packet without "don't fragment". */
function mayFragment(packet: Uint8Array): Uint8Array {
  const parsed = ipv4.parse(packet);
  if (!parsed.ok) throw new Error(parsed.fault);
  return concat(ipv4.emit({ ...parsed.value, flags: 0 }), packet.subarray(20));
}

const plain: Mapping = {
  ...UNMAPPED,
  out: OUT[4],
  base: seq(1000),
  acknowledged: seq(1),
  sequenceDelta: 5,
  acknowledgmentDelta: 7,
};
const data = { ...flows[4], flags: ['ack'] as const, seq: 1000, ack: 1, payload: new Uint8Array(8) };

describe('a segment that is cut up', () => {
  /** As `PIECE_MARK` in bpf/tpot_fit.h: so much of the payload has left. */
  const mark = (skip: number): number => 0x55500000 | skip;
  const piece = fc.record({
    mapping: mappingOf(4),
    of: fc.constantFrom<Family>(4, 6),
    flags,
    options,
    payload: fc.integer({ min: 2000, max: 3000 }).chain(bytesOf),
    skip: fc.nat({ max: 1999 }),
    urgent: u16,
    tunnelled: fc.boolean(),
  });

  it('leaves piece after piece as in the model, out of a tunnel too', () => {
    const property = fc.property(piece, ({ mapping, of, payload, skip, urgent, tunnelled, ...rest }) => {
      const mapped: Mapping = { ...mapping, out: OUT[of], base: seq(1000), maxSegment: 1460 };
      enter(of, mapped, tunnelled);
      const sent = rest.flags.filter((flag) => flag !== 'syn');
      const area = tcpOptions.emit(rest.options);
      const spec = { ...flows[of], flags: sent, seq: 1000, payload, options: area, urgent };
      const packet = buildTcp({ ...spec, ack: 1, identification: 0xff00 });
      const outcome = kernel.run('tpot_ingress', frameOf(packet, of), { mark: mark(skip) });
      expect(outcome.mark).toBe(0);
      expectMapped(outcome, mapPacket(pieceAt(packet, 1460, skip), mapped));
    });
    fc.assert(property, { numRuns: 500 });
  });

  it('is told to its sender first, then cut up, and told once in a while', () => {
    const frame = frameOf(
      buildTcp({ ...flows[4], flags: ['ack'], seq: 1000, payload: new Uint8Array(1461) }),
      4,
    );
    enter(4, plain);
    const told = Array.from({ length: 1030 }, () => run({ frame, gsoSize: 0 }).counted['splice-told'] ?? 0);
    expect(told.flatMap((count, at) => (count > 0 ? [at] : []))).toEqual([0, 1, 2, 1024]);
  });

  it('is never told where fragments are allowed, nor to a sender of the smallest IPv6 packets', () => {
    const large = { flags: ['ack'] as const, seq: 1000, payload: new Uint8Array(1220) };
    for (const of of [4, 6] as const) {
      enter(of, { ...plain, out: OUT[of], maxSegment: 1000 });
      const packet = buildTcp({ ...flows[of], ...large });
      const frame = frameOf(of === 4 ? mayFragment(packet) : packet, of);
      expect(run({ frame, gsoSize: 0 }).counted).toEqual({ 'splice-resized': 1, 'splice-forwarded': 1 });
    }
  });

  it('is quoted with what its checksum will be, where that is still to be completed', () => {
    const packet = buildTcp({
      ...flows[4],
      flags: ['ack'],
      seq: 1000,
      payload: new Uint8Array(1461).fill(7),
    });
    const pseudo = pseudoHeaderSum(flows[4].source, flows[4].destination, PROTOCOL.tcp, packet.length - 20);
    writer(packet).setUint16(20 + TCP_CHECKSUM_OFFSET, pseudo);
    enter(4, plain);
    const error = run({ frame: frameOf(packet, 4), gsoSize: 0 }).packet;
    expectBytes(error, tellSender(packet, nodeAddresses[4], plain.maxSegment));
    const quoted = error.subarray(48);
    writer(quoted).setUint16(TCP_CHECKSUM_OFFSET, checksum(quoted)); // what the kernel does as it leaves
    expect(isValid(error.subarray(20))).toBe(true);
  });
});

describe('an entry', () => {
  it('carries on where the sequence numbers come round', () => {
    const step = 2 ** 27; // between two segments, so many bytes have gone by
    const around = Array.from({ length: 100 }, (_, at) => add(seq(1000), at * step));
    const table = kernel.programs.map('tpotSplices');
    enter(4, plain);
    around.forEach((sequence, at) => {
      const carried = BigInt(at) * BigInt(step);
      table.set(mapFlow(flows[4]), { ...table.get(mapFlow(flows[4]))!, bytes: carried });
      const packet = buildTcp({ ...data, seq: sequence });
      const outcome = run({ frame: frameOf(packet, 4), gsoSize: 0 });
      expect(outcome.counted).toEqual({ 'splice-forwarded': 1 });
      expectMapped(outcome, mapPacket(packet, plain, undefined, carried));
    });
  });

  it('of a tunnelled leg lets nothing through outside the tunnel', () => {
    enter(4, plain, true);
    const frame = frameOf(buildTcp(data), 4);
    const outcome = run({ frame, gsoSize: 0 });
    expect(outcome.verdict).toBe(ACTION.pass);
    expect(outcome.counted).toEqual({ 'pass-plain-of-tunnelled': 1 });
    expectBytes(outcome.packet, frame.subarray(14));
  });

  it('of a tunnelled leg maps what comes out of the tunnel of its own source only', () => {
    enter(4, plain, true);
    const tunnel = (source: string): Uint8Array =>
      frameOf(buildTcp({ ...data, tunnel: { source: ip(source), destination: nodeAddresses[4] } }), 4);
    const outcome = run({ frame: tunnel('198.18.0.7'), gsoSize: 0 });
    expect(outcome.counted).toEqual({ 'decap-ok': 1, 'splice-forwarded': 1 });
    const mapped = mapPacket(buildTcp(data), plain);
    expectBytes(outcome.packet, mapped.verdict === 'forward' ? mapped.packet : new Uint8Array());
    expect(run({ frame: tunnel('198.18.0.8'), gsoSize: 0 }).counted).toEqual({ 'drop-decap-source': 1 });
  });

  it.each([
    ['IP in IP', 0],
    ['UDP', 1],
  ])('of two tunnelled legs goes from %s into the same, its outer header renewed', (_, udp) => {
    enter(4, plain, true);
    const remote = nodeAddresses[4];
    const pinned = {
      remote: toMapped(remote),
      udpPort: 6081,
      capabilities: 0,
      repeats: 0,
      plain: 0,
      answered: 0,
      back: 0,
      stalls: 0,
      largest: 0,
    };
    kernel.programs.map('tpotTunnels').set(mapFlow(OUT[4]), { ...pinned, udp });
    kernel.programs.configure({ udpPort: 6080 });
    const from = { source: flows[4].source, destination: nodeAddresses[4] };
    const arriving = buildTcp({ ...data, tunnel: udp === 1 ? { ...from, port: 6080 } : from });
    const outcome = run({ frame: frameOf(arriving, 4), gsoSize: 0 });
    expect(outcome).toMatchObject({
      verdict: ACTION.redirect,
      counted: { [udp === 1 ? 'decap-udp-ok' : 'decap-ok']: 1, 'splice-forwarded': 1 },
    });
    const mapped = mapPacket(buildTcp(data), plain);
    if (mapped.verdict !== 'forward') throw new Error(mapped.reason);
    const to = { source: OUT[4].source, destination: remote };
    expectBytes(
      outcome.packet,
      udp === 1 ? encapsulateInUdp(mapped.packet, { ...to, port: 6081 }) : encapsulate(mapped.packet, to),
    );
    kernel.programs.map('tpotTunnels').delete(mapFlow(OUT[4]));
  });

  it('counts packets and payload', () => {
    enter(4, plain);
    for (let i = 0; i < 3; i++) run({ frame: frameOf(buildTcp(data), 4), gsoSize: 0 });
    expect(kernel.programs.map('tpotSplices').get(mapFlow(flows[4]))).toMatchObject({
      packets: 3n,
      bytes: 24n,
    });
  });

  it.each([
    ['they meet', false],
    ['one left without them', true],
  ])('follows both FINs to their ACKs when %s, and gives way to a new connection after that', (_, held) => {
    const splices = kernel.programs.map('tpotSplices');
    const back: Mapping = {
      ...plain,
      out: reversed(flows[4]),
      sequenceDelta: -7,
      acknowledgmentDelta: -5,
      base: seq(500),
    };
    const backFlow = reversed(OUT[4]);
    enter(4, plain);
    splices.set(
      mapFlow(backFlow),
      spliceEntry(back, { outerSource: undefined, fromClient: false, bytes: 0n, now: 1n, startedAt: 1n }),
    );
    const send = (
      flow: FlowEnds,
      names: readonly ('syn' | 'ack' | 'fin' | 'rst')[],
      seq: number,
      ack: number,
    ): Outcome => run({ frame: frameOf(buildTcp({ ...flow, flags: names, seq, ack }), 4), gsoSize: 0 });
    const flagsOf = (): number[] =>
      [flows[4], backFlow].map((flow) => (splices.get(mapFlow(flow))?.flags ?? 0) & 0xc0);
    const clients = kernel.programs.map('tpotClients');
    const client = { address: toMapped(flows[4].source) };
    const entry = splices.get(mapFlow(flows[4]));
    if (entry === undefined) throw new Error('the entry is gone');
    splices.set(mapFlow(flows[4]), { ...entry, counted: 1 });
    clients.set(client, 5);
    if (held) noteFin(kernel.programs, flows[4], seq(1001));
    else send(flows[4], ['fin', 'ack'], 1000, 493);
    expect(flagsOf()).toEqual([0, 0x40]);
    send(backFlow, ['ack'], 500, 1005);
    expect(flagsOf()).toEqual([0, 0x40]);
    expect(send(flows[4], ['syn'], 9, 0).counted).toEqual({ 'splice-forwarded': 1 });
    send(backFlow, ['fin', 'ack'], 500, 1006);
    expect(flagsOf()).toEqual([0x40, 0xc0]);
    expect(clients.get(client)).toBe(5);
    send(flows[4], ['ack'], 1001, 494);
    expect(flagsOf()).toEqual([0xc0, 0xc0]);
    expect(clients.get(client)).toBe(4);
    send(flows[4], ['rst'], 1001, 0);
    expect(clients.get(client)).toBe(4);
    clients.delete(client);
    expect(send(flows[4], ['syn'], 9, 0).counted).toMatchObject({ 'splice-forgotten': 1 });
    expect([...splices.keys()].length).toBe(1); // the IPv6 one of the tests above
  });
});
