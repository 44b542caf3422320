/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what comes to a node's end of a tunnel,
 * by IP in IP and in UDP (rule 7).
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family } from '../core/address.js';
import { TpotFlag, TpotState } from '../bpf/generated/maps.js';
import { DELIVERY_MARK } from '../bpf/programs.js';
import * as libc from '../host/libc.js';
import type { Flow } from '../tpot/decap.js';
import { bytesUpTo, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { encapsulate } from '../wire/ipip.js';
import { ipv4 } from '../wire/ipv4.js';
import { UDP_HEADER } from '../wire/udp.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { ends, endsInUdp, NodeUnderTest, phases, UDP_PORT } from './bpf-node.js';
import { expectedOfTunnelled } from './bpf-expected.js';
import { flows, frameOf, type Expected, type ProgramsUnderTest } from './bpf-programs.js';

const family = fc.constantFrom<Family>(4, 6);
let node: NodeUnderTest;
let kernel: ProgramsUnderTest;

beforeAll(() => {
  node = new NodeUnderTest();
  ({ kernel } = node);
});
afterAll(() => node.close());

const take = (of: Family, state: number): void => node.take(of, state);

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
  function check(
    packet: Uint8Array,
    of: Family,
    phase: 'tunnelled' | 'plain' | 'edge' = 'tunnelled',
  ): Expected {
    take(of, phases[phase]);
    const expected = expectedOfTunnelled(packet, of, { phase });
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
  const udp4 = tunnelled(4, { tunnel: endsInUdp[4] });
  const udp6 = tunnelled(6, { tunnel: endsInUdp[6] });
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
    ['decap-udp-ok', 'what was sent in UDP', 4, udp4],
    ['decap-udp-ok', 'what was sent in UDP', 6, udp6],
    ['decap-udp-ok', 'a UDP checksum, whatever it says', 4, patched(udp4, 26, 1, 2)],
    ['decap-udp-ok', 'any source port', 6, patched(udp6, 40, 0, 53)],
    ['decap-udp-ok', 'frame padding', 4, concat(udp4, new Uint8Array(6))],
    ['decap-udp-ok', 'padding behind UDP', 4, patched(concat(udp4, new Uint8Array(4)), 3, udp4.length + 4)],
    ['drop-decap-unknown', 'another port', 4, tunnelled(4, { sourcePort: 40001, tunnel: endsInUdp[4] })],
    ['drop-decap-unknown', 'a SYN', 6, tunnelled(6, { flags: ['syn'], tunnel: endsInUdp[6] })],
    [
      'drop-decap-source',
      'another source',
      4,
      tunnelled(4, { tunnel: { ...endsInUdp[4], source: stranger[4] } }),
    ],
    [
      'drop-decap-source',
      'another source',
      6,
      tunnelled(6, { tunnel: { ...endsInUdp[6], source: stranger[6] } }),
    ],
    ['drop-decap-malformed', 'cut', 4, udp4.subarray(0, udp4.length - 1)],
    ['drop-decap-malformed', 'UDP length beyond the packet', 4, patched(udp4, 24, 0, udp4.length - 19)],
    ['drop-decap-malformed', 'UDP length of less than its header', 6, patched(udp6, 44, 0, 7)],
    ['drop-decap-malformed', 'UDP length that cuts the segment', 6, patched(udp6, 44, 0, udp6.length - 41)],
    ['drop-decap-malformed', 'nothing in UDP', 4, encapsulateInUdp(new Uint8Array(), endsInUdp[4])],
    ['drop-decap-malformed', 'IPv6 in UDP in IPv4', 4, encapsulateInUdp(buildTcp(inside(6)), endsInUdp[4])],
    ['drop-decap-malformed', 'a GUE header of variant 0', 4, patched(udp4, 28, 0)],
    ['drop-decap-options', 'an option of length 0', 4, patched(udp4, 70, 8, 0)],
    ['drop-decap-not-tcp', 'UDP in UDP', 4, encapsulateInUdp(udp4, endsInUdp[4])],
    ['drop-decap-not-tcp', 'a tunnel in UDP', 4, encapsulateInUdp(four, endsInUdp[4])],
    ['drop-decap-not-tcp', 'a tunnel in a tunnel', 6, encapsulate(udp6, ends[6])],
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
      [4, tunnelled(4, { tunnel: { ...endsInUdp[4], port: UDP_PORT + 1 } })],
      [6, tunnelled(6, { tunnel: { ...endsInUdp[6], port: 53 } })],
      [4, tunnelled(4, { tunnel: { ...endsInUdp[4], destination: ip('198.18.1.2') } })],
      [4, patched(udp4, 6, 0x20, 0)], // fragments are IP's to put together
      [4, patched(udp4, 6, 0, 5)],
      [4, udp4.subarray(0, 22)], // ends before the port
    ];
    for (const [of, packet] of cases) expect(check(packet, of)).toEqual({ verdict: 'untouched' });
    kernel.programs.configure({ flags: TpotFlag.SOURCE });
    kernel.expect('tpot_ingress', frameOf(four, 4), { verdict: 'untouched' });
    kernel.expect('tpot_ingress', frameOf(udp4, 4), { verdict: 'untouched' });
    kernel.programs.configure({ flags: TpotFlag.NODE, udpPort: 0 });
    kernel.expect('tpot_ingress', frameOf(udp4, 4), { verdict: 'untouched' });
    kernel.programs.configure({ udpPort: UDP_PORT });
  });

  it('in UDP goes on when the port is held by another program, unless it is of a connection', () => {
    const SOL_SOCKET = 1;
    const SO_MARK = 36;
    const strange = frameOf(tunnelled(4, { sourcePort: 40001, tunnel: endsInUdp[4] }), 4);
    take(4, phases.tunnelled);
    const fd = libc.udpSocket(libc.AF_INET);
    try {
      libc.bind(fd, new Uint8Array(4), UDP_PORT);
      kernel.expect('tpot_ingress', strange, { verdict: 'untouched' });
      expect(check(udp4, 4)).toMatchObject({ reason: 'decap-udp-ok' });
      libc.setSocketOption(fd, SOL_SOCKET, SO_MARK, DELIVERY_MARK); // the node's own
      kernel.expect('tpot_ingress', strange, { verdict: 'drop', reason: 'drop-decap-unknown' });
    } finally {
      libc.close(fd);
    }
    kernel.expect('tpot_ingress', strange, { verdict: 'drop', reason: 'drop-decap-unknown' });
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
      udp: fc.boolean(),
      tos: fc.constantFrom(0, 1),
      outerCe: fc.boolean(),
      edits: fc.array(edit, { maxLength: 3 }),
      cut: fc.option(fc.nat(), { nil: undefined, freq: 3 }),
      padding: fc.oneof(fc.constant(new Uint8Array()), bytesUpTo(8)),
    });
    fc.assert(
      fc.property(spoilt, ({ of, udp, tos, outerCe, edits, cut, padding }) => {
        const header = (of === 4 ? 20 : 40) + (udp ? UDP_HEADER : 0);
        const packet = tunnelled(of, { tos, tunnel: udp ? endsInUdp[of] : ends[of] });
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
