/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what a source does with the SYN-ACKs
 * that come to it (rule 2) and with the segments of connections it has pinned to a node.
 */
import fc from 'fast-check';
import type { TpotTunnel } from '../bpf/generated/maps.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip, parsePrefix, toMapped, type Family, type IpAddress, type Prefix } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { clampedMss, rewriteMss } from '../tpot/mss.js';
import { encodeOption, findOption, type ReplyOption } from '../tpot/option.js';
import { judgeReply } from '../tpot/source.js';
import { address, bytesUpTo, plainOption, u16, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { encapsulate } from '../wire/ipip.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  ETHERNET_HEADER,
  expectOnlyMssChanged,
  flows,
  frameOf,
  mapFlow,
  ProgramsUnderTest,
  reversed,
  segmentOf,
} from './bpf-programs.js';
import { enterNewNetworkNamespace, LOOPBACK_MTU } from './network-namespace.js';

const family = fc.constantFrom<Family>(4, 6);
const node: Record<Family, IpAddress> = { 4: ip('198.18.1.1'), 6: ip('2001:db8:1::1') };
/** Another address of the source's machine. */
const own = [ip('198.18.0.77'), ip('2001:db8::77')];
/** A SYN with an unkeyed request is out. */
const WAITING = { plain: 0, keyed: 0, verified: 0, unused: 0 };
const prefixes = (...texts: string[]): Prefix[] => texts.map((text) => parsePrefix(text)!);

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;

beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({ flags: TpotFlag.SOURCE });
  kernel.programs.setOwnAddresses(own);
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

describe('a SYN-ACK for a SYN that carried a request (rule 2)', () => {
  const mss: TcpOption = { kind: 'mss', mss: 65000 };
  const reply = (from: IpAddress): TcpOption =>
    encodeOption({ type: 'reply', address: from, flags: 0, capabilities: 0 });
  const synAck = (of: Family, options: readonly TcpOption[] | Uint8Array): Uint8Array =>
    frameOf(buildTcp({ ...reversed(flows[of]), flags: ['syn', 'ack'], options }), of);
  const pending = (): ReturnType<typeof kernel.programs.map<'tpotPending'>> =>
    kernel.programs.map('tpotPending');

  /** The SYN-ACK meets what the model says; whether the next SYN would go plain is noted. */
  function check(of: Family, options: readonly TcpOption[] | Uint8Array, trust: readonly Prefix[]): string {
    pending().set(mapFlow(flows[of]), WAITING);
    // Of an earlier reply: this one would be its repetition, which says that the tunnel does not pass.
    kernel.programs.map('tpotTunnels').delete(mapFlow(flows[of]));
    const frame = synAck(of, options);
    const area = segmentOf(frame)!.tcp.options;
    const found = findOption(area, 'reply');
    const reason = found === undefined ? 'none' : judgeReply(found, flows[of].source, { own, trust });
    if (reason === 'none' || reason === 'reply-accepted') {
      const outcome = kernel.run('tpot_ingress', frame);
      expect(outcome).toMatchObject({ verdict: -1, mark: 0, counted: {} });
      const clamp = (value: number): number =>
        reason === 'none' ? value : clampedMss(value, of, LOOPBACK_MTU);
      expectOnlyMssChanged(frame, outcome, rewriteMss(area, clamp));
    } else {
      kernel.expect('tpot_ingress', frame, { verdict: 'drop', reason });
    }
    const dropped = reason.startsWith('drop-');
    expect(pending().get(mapFlow(flows[of]))).toEqual({ ...WAITING, plain: dropped ? 1 : 0 });
    return reason;
  }

  const any = prefixes('0.0.0.0/0', '::/0');
  it.each<[string, Family, string, readonly Prefix[]]>([
    ['reply-accepted', 4, '198.18.1.1', any],
    ['reply-accepted', 6, '2001:db8:1::1', any],
    ['reply-accepted', 4, '198.18.1.1', prefixes('192.0.2.0/24', '198.18.0.0/15')],
    ['reply-accepted', 6, '2001:db8:1::1', prefixes('2001:db8:1::1')],
    ['drop-reply-untrusted', 4, '198.18.1.1', prefixes('192.0.2.0/24', '::/0')],
    ['drop-reply-untrusted', 6, '2001:db8:1::1', prefixes('0.0.0.0/0', '2001:db8:2::/48')],
    ['drop-reply-untrusted', 4, '198.18.1.1', []],
    ['drop-reply-own', 4, '198.18.0.7', any], // the source itself
    ['drop-reply-own', 4, '198.18.0.77', any], // another address of its machine
    ['drop-reply-own', 6, '2001:db8::7', any],
    ['drop-reply-own', 6, '2001:db8::77', any],
    ['drop-reply-not-unicast', 4, '127.0.0.1', any],
    ['drop-reply-not-unicast', 4, '0.0.0.0', any],
    ['drop-reply-not-unicast', 4, '224.0.0.1', any],
    ['drop-reply-not-unicast', 4, '255.255.255.255', any],
    ['drop-reply-not-unicast', 6, '::1', any],
    ['drop-reply-not-unicast', 6, '::', any],
    ['drop-reply-not-unicast', 6, 'ff02::1', any],
    ['drop-reply-not-unicast', 4, '2001:db8:1::1', any], // the other family
    ['drop-reply-not-unicast', 6, '198.18.1.1', any],
  ])('%s: over IPv%i from %s', (reason, of, from, trust) => {
    kernel.programs.setTrust(trust);
    expect(check(of, [mss, reply(ip(from))], trust)).toBe(reason);
  });

  it('is trusted by a prefix that was written with other bits beyond its length before', () => {
    for (const trust of [prefixes('10.0.0.1/0', '2001:db8::1/3'), prefixes('10.0.0.2/0', '2001:db8::2/3')]) {
      kernel.programs.setTrust(trust);
      for (const of of [4, 6] as const) expect(check(of, [reply(node[of])], trust)).toBe('reply-accepted');
    }
  });

  it('is dropped when the reply has an IPv4-mapped address', () => {
    kernel.programs.setTrust(any);
    const mapped = { family: 6 as const, bytes: toMapped(node[4]) };
    expect(check(6, [reply(mapped)], any)).toBe('drop-reply-not-unicast');
  });

  it('is judged as the model does, whatever its options and whoever is trusted', () => {
    const somebody = family.chain((of) => fc.oneof(address(of), fc.constantFrom(node[of], ...own)));
    const answer = somebody.map((from): ReplyOption => ({
      type: 'reply',
      address: from,
      flags: 0,
      capabilities: 3,
    }));
    const withPort = fc.tuple(answer, u16).map(([one, udpPort]): ReplyOption => ({ ...one, udpPort }));
    const option = fc.oneof(
      { weight: 3, arbitrary: fc.oneof(answer, withPort).map((one) => encodeOption(one)) },
      plainOption,
      fc.constantFrom<TcpOption>(mss, encodeOption({ type: 'request', hops: 8, capabilities: 0 })),
      fc.record({ kind: fc.constant('unknown' as const), code: fc.constant(253), data: bytesUpTo(18) }),
    );
    const listed = fc
      .array(option, { maxLength: 4 })
      .map((options) => tcpOptions.emit(options).subarray(0, 40));
    const spoilt = fc.tuple(listed, fc.nat(39), u8).map(([area, at, value]) => {
      if (at < area.length) area[at] = value;
      return area;
    });
    const prefix = family.chain((of) =>
      fc.record({
        address: fc.oneof(address(of), fc.constant(node[of])),
        length: fc.nat(of === 4 ? 32 : 128),
      }),
    );
    const areas = fc.array(fc.tuple(family, fc.oneof(listed, spoilt)), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 4 }), areas, (trust, all) => {
        kernel.programs.setTrust(trust);
        for (const [of, options] of all) check(of, options, trust);
      }),
      { numRuns: 100 },
    );
  });

  it('goes to TCP when no request is out, whatever it says', () => {
    pending().delete(mapFlow(flows[4]));
    kernel.programs.setTrust([]);
    kernel.expect('tpot_ingress', synAck(4, [mss, reply(node[4])]), { verdict: 'untouched' });
  });
});

describe('a segment of a pinned connection', () => {
  const tunnel = (of: Family): TpotTunnel => ({
    remote: toMapped(node[of]),
    udpPort: 0,
    capabilities: 0,
    repeats: 0,
    plain: 0,
    udp: 0,
    answered: 0,
    back: 0,
    stalls: 0,
    largest: 0,
  });
  const segment = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
    buildTcp({ ...flows[of], flags: ['ack'], ...changes });
  const table = (
    name: 'tpotTunnels' | 'tpotTunnelsClosed',
  ): ReturnType<typeof kernel.programs.map<typeof name>> => kernel.programs.map(name);

  beforeEach(() => {
    for (const of of [4, 6] as const) {
      table('tpotTunnels').delete(mapFlow(flows[of]));
      table('tpotTunnelsClosed').delete(mapFlow(flows[of]));
    }
  });

  it('leaves in its tunnel, as the model builds it, byte for byte', () => {
    for (const of of [4, 6] as const) table('tpotTunnels').set(mapFlow(flows[of]), tunnel(of));
    const packet = fc.record({
      tos: u8,
      ttl: u8,
      identification: u16,
      options: fc.array(plainOption, { maxLength: 3 }).map((list) => tcpOptions.emit(list).subarray(0, 40)),
      payload: bytesUpTo(1000),
      flags: fc.constantFrom<TcpPacketSpec['flags']>(['ack'], ['fin', 'ack'], ['rst'], ['psh', 'ack'], []),
    });
    fc.assert(
      fc.property(family, packet, (of, changes) => {
        const inner = segment(of, changes);
        const frame = frameOf(inner, of);
        const outcome = kernel.run('tpot_egress', frame);
        const ends = { source: flows[of].source, destination: node[of] };
        expect(outcome).toMatchObject({ verdict: 0, mark: 0, counted: { 'encap-ok': 1 } });
        expect(outcome.header).toEqual(Buffer.from(frame.subarray(0, ETHERNET_HEADER)));
        expect(outcome.packet).toEqual(Buffer.from(encapsulate(inner, ends)));
      }),
      { numRuns: 300 },
    );
  });

  it('leaves in UDP where IP in IP does not pass, as the model builds it, byte for byte', () => {
    const changes = fc.record({
      sourcePort: u16,
      tos: u8,
      options: fc.array(plainOption, { maxLength: 3 }).map((list) => tcpOptions.emit(list).subarray(0, 40)),
      payload: bytesUpTo(1000),
    });
    fc.assert(
      fc.property(family, changes, u16, (of, changed, port) => {
        const flow = { ...flows[of], sourcePort: changed.sourcePort };
        table('tpotTunnels').set(mapFlow(flow), { ...tunnel(of), udpPort: port, udp: 1 });
        const inner = segment(of, changed);
        const { packet, counted, verdict } = kernel.run('tpot_egress', frameOf(inner, of));
        table('tpotTunnels').delete(mapFlow(flow));
        const ends = { source: flow.source, destination: node[of], port };
        expect([verdict, counted]).toEqual([0, { 'encap-udp-ok': 1 }]);
        expect(packet).toEqual(Buffer.from(encapsulateInUdp(inner, ends)));
      }),
      { numRuns: 300 },
    );
  });

  it('leaves in its tunnel with IP options and a flow label too', () => {
    table('tpotTunnels').set(mapFlow(flows[4]), tunnel(4));
    table('tpotTunnels').set(mapFlow(flows[6]), tunnel(6));
    const labelled = segment(6);
    labelled.set([0x6a, 0xbc, 0xde, 0xf1]);
    for (const [of, inner] of [
      [4, segment(4, { ipOptions: Uint8Array.of(1, 1, 1, 0) })],
      [6, labelled],
    ] as const) {
      const { packet } = kernel.run('tpot_egress', frameOf(inner, of));
      const ends = { source: flows[of].source, destination: node[of] };
      expect(packet).toEqual(Buffer.from(encapsulate(inner, ends)));
    }
  });

  it('stays plain when it is a SYN, comes from the other side, or is of another connection', () => {
    for (const of of [4, 6] as const) {
      table('tpotTunnels').set(mapFlow(flows[of]), tunnel(of));
      table('tpotTunnelsClosed').set(mapFlow(flows[of]), tunnel(of));
      const plain = [
        segment(of, { flags: ['syn'] }),
        segment(of, { flags: ['syn', 'ack'] }),
        segment(of, { sourcePort: 40001 }),
        buildTcp({ ...reversed(flows[of]), flags: ['ack'] }),
        encapsulate(segment(of), { source: flows[of].source, destination: node[of] }),
      ];
      for (const packet of plain) {
        kernel.expect('tpot_egress', frameOf(packet, of), { verdict: 'untouched' });
      }
    }
  });

  it('stays plain when it is a fragment: its ports may be anything', () => {
    table('tpotTunnels').set(mapFlow(flows[4]), tunnel(4));
    for (const offset of [0x2000, 0x0005]) {
      const fragment = segment(4, { payload: new Uint8Array(64) });
      fragment.set([offset >> 8, offset & 0xff], 6);
      kernel.expect('tpot_egress', frameOf(fragment, 4), { verdict: 'untouched' });
    }
  });

  it('of a closed one leaves in its tunnel only when it is bare: data would be a new connection', () => {
    for (const of of [4, 6] as const) {
      table('tpotTunnelsClosed').set(mapFlow(flows[of]), tunnel(of));
      const options = tcpOptions.emit([{ kind: 'timestamps', value: 1, echo: 2 }]);
      for (const flags of [['ack'], ['rst', 'ack']] as const) {
        const { counted } = kernel.run('tpot_egress', frameOf(segment(of, { flags, options }), of));
        expect(counted).toEqual({ 'encap-ok': 1 });
      }
      const data = segment(of, { options, payload: Uint8Array.of(1) });
      kernel.expect('tpot_egress', frameOf(data, of), { verdict: 'untouched' });
    }
  });

  it('of a new one on the ports of a closed one stays plain, whoever has made it', () => {
    for (const of of [4, 6] as const) {
      table('tpotTunnelsClosed').set(mapFlow(flows[of]), tunnel(of));
      for (const flags of [['syn'], ['ack'], ['psh', 'ack'], ['fin', 'ack']] as const) {
        kernel.expect('tpot_egress', frameOf(segment(of, { flags }), of), { verdict: 'untouched' });
      }
    }
  });
});
