/**
 * The mapping of spliced connections: the BPF programs against splice/mapping.ts, byte for byte, over random packets
 * (BPF_PROG_TEST_RUN), packets that are still to be cut up (GSO) included.
 */
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { commandSync } from '../host/exec.js';
import { spliceEntry } from '../node/splice-entry.js';
import { mapPacket, type FlowEnds, type Mapping } from '../splice/mapping.js';
import { bytesUpTo, flags, plainOption, sequence, u16, u32, u8 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { add, seq } from '../wire/seq.js';
import { encapsulate } from '../wire/ipip.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  expectBytes,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  reversed,
  type Outcome,
} from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const ACTION = { pass: -1, drop: 2, redirect: 7 } as const;
const OUT: Record<Family, FlowEnds> = {
  4: { source: ip('198.18.1.1'), sourcePort: 51000, destination: ip('192.0.2.80'), destinationPort: 80 },
  6: { source: nodeAddresses[6], sourcePort: 51000, destination: ip('2001:db8:80::80'), destinationPort: 80 },
};
const OUTER = ip('198.18.0.7');

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  commandSync('ip', ['link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'far']);
  for (const name of ['out', 'far']) commandSync('ip', ['link', 'set', name, 'mtu', '9100', 'up']);
  commandSync('ip', ['route', 'add', 'default', 'dev', 'out']);
  commandSync('ip', ['-6', 'route', 'add', 'default', 'dev', 'out']);
  for (const [family, key] of [
    ['ipv4', 'ip_forward'],
    ['ipv6', 'conf/all/forwarding'],
  ] as const) {
    writeFileSync(`/proc/sys/net/${family}/${key}`, '1');
  }
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({
    flags: TpotFlag.NODE | TpotFlag.SPLICING,
    address4: 0xc6120101,
    address6: toMapped(nodeAddresses[6]),
  });
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

const mappingOf = (family: Family): fc.Arbitrary<Mapping> =>
  fc.record({
    out: fc.constant(OUT[family]),
    base: sequence,
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
      ttl: fc.oneof(fc.constant(64), fc.integer({ min: 0, max: 3 })),
      tos: u8,
      ipOptions: fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array()) }, bytesUpTo(12)),
      gsoSize: fc.constantFrom(0, 0, 500, 1448),
      padding: fc.oneof({ weight: 9, arbitrary: fc.constant(new Uint8Array()) }, bytesUpTo(20)),
    })
    .map(({ mapping, distance, gsoSize, options: list, padding, ...rest }): Case => {
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
      return { mapping, packet, frame: frameOf(concat(packet, padding), family), gsoSize: gso, family };
    }),
);

function enter(family: Family, mapping: Mapping, tunnelled = false): void {
  const facts = { fromClient: true, bytes: 0n, now: 1n, startedAt: 1n };
  const entry = spliceEntry(mapping, { ...facts, outerSource: tunnelled ? OUTER : undefined });
  kernel.programs.map('tpotSplices').set(mapFlow(flows[family]), entry);
}

function run({ frame, gsoSize }: Pick<Case, 'frame' | 'gsoSize'>): Outcome {
  return kernel.run('tpot_ingress', frame, { gsoSize });
}

describe('the programs and the model', () => {
  it('make the same of every packet', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(packetCase, (one) => {
        enter(one.family, one.mapping);
        const outcome = run(one);
        const mapped = mapPacket(one.packet, one.mapping, one.gsoSize || undefined);
        if (mapped.verdict === 'drop') {
          seen.add(mapped.reason);
          expect(outcome.verdict).toBe(ACTION.drop);
          expect(outcome.counted).toHaveProperty(mapped.reason);
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
      ['cut', 'drop-splice-congestion', 'drop-splice-too-big', 'drop-splice-ttl', 'forward'].sort(),
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

const plain: Mapping = {
  out: OUT[4],
  base: seq(1000),
  sequenceDelta: 5,
  acknowledgmentDelta: 7,
  timestampDelta: 0,
  echoDelta: 0,
  scaleUp: 0,
  scaleDown: 0,
  maxSegment: 1480,
  timestamps: false,
  sack: false,
  ecn: false,
};
const data = { ...flows[4], flags: ['ack'] as const, seq: 1000, ack: 1, payload: new Uint8Array(8) };

describe('an entry', () => {
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
      unused: 0,
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

  it('follows both FINs to their ACKs, and gives way to a new connection after that', () => {
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
      names: readonly ('syn' | 'ack' | 'fin')[],
      seq: number,
      ack: number,
    ): Outcome => run({ frame: frameOf(buildTcp({ ...flow, flags: names, seq, ack }), 4), gsoSize: 0 });
    const flagsOf = (): number[] =>
      [flows[4], backFlow].map((flow) => (splices.get(mapFlow(flow))?.flags ?? 0) & 0xc0);
    send(flows[4], ['fin', 'ack'], 1000, 493);
    expect(flagsOf()).toEqual([0, 0x40]);
    send(backFlow, ['ack'], 500, 1005);
    expect(flagsOf()).toEqual([0, 0x40]);
    expect(send(flows[4], ['syn'], 9, 0).counted).toEqual({ 'splice-forwarded': 1 });
    send(backFlow, ['fin', 'ack'], 500, 1006);
    expect(flagsOf()).toEqual([0x40, 0xc0]);
    send(flows[4], ['ack'], 1001, 494);
    expect(flagsOf()).toEqual([0xc0, 0xc0]);
    expect(send(flows[4], ['syn'], 9, 0).counted).toMatchObject({ 'splice-forgotten': 1 });
    expect([...splices.keys()].length).toBe(1); // the IPv6 one of the tests above
  });
});
