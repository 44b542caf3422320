/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what a source takes from a return tunnel
 * (rule 13), alone and at a node that is the source of its next leg.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family, type IpAddress } from '../core/address.js';
import { u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { encapsulate } from '../wire/ipip.js';
import { UDP_HEADER } from '../wire/udp.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { expectedOfTunnelled } from './bpf-expected.js';
import { entry } from './bpf-node.js';
import { flows, frameOf, mapFlow, ProgramsUnderTest, reversed, type Expected } from './bpf-programs.js';
import {
  become,
  endOf,
  legs,
  nextNodes,
  NEXT_PORT,
  pinLegs,
  returnEnds,
  tunnelEntry,
  unpinLegs,
  type Machine,
} from './bpf-returns.js';
import { enterNewNetworkNamespace } from './network-namespace.js';
import { TpotFlag, TpotState } from '../bpf/generated/maps.js';

const MACHINES = ['source', 'node'] as const;
const FAMILIES = [4, 6] as const;
const stranger: Record<Family, IpAddress> = { 4: ip('198.18.0.9'), 6: ip('2001:db8::9') };

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;
beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});
beforeEach(() => pinLegs(kernel));
afterEach(() => unpinLegs(kernel));

const answer = (of: Family): TcpPacketSpec => ({
  ...reversed(legs[of]),
  flags: ['ack', 'psh'],
  seq: 7,
  ack: 9,
  options: [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 1, echo: 2 }],
  payload: Uint8Array.of(1, 2, 3, 4, 5),
});
const inUdp = (of: Family) => ({ ...returnEnds[of], port: NEXT_PORT, back: true });
const returned = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  buildTcp({ ...answer(of), tunnel: returnEnds[of], ...changes });
const patched = (packet: Uint8Array, offset: number, ...values: number[]): Uint8Array => {
  const bytes = packet.slice();
  bytes.set(values, offset);
  return bytes;
};
/** The machine does with it what the model says. */
function check(packet: Uint8Array, of: Family, machine: Machine, plain = false): Expected {
  become(kernel, machine);
  const expected = expectedOfTunnelled(packet, of, undefined, endOf(machine, plain));
  kernel.expect('tpot_ingress', frameOf(packet, of), expected);
  return expected;
}

describe('what the node of a connection sends to its source in a return tunnel', () => {
  const good: [string, Family, Uint8Array][] = FAMILIES.flatMap((of): [string, Family, Uint8Array][] => [
    ['decap-ok', of, returned(of)],
    ['decap-udp-ok', of, returned(of, { tunnel: inUdp(of) })],
    ['decap-ok', of, returned(of, { flags: ['rst'] })],
    ['decap-ok', of, concat(returned(of), new Uint8Array(6))],
    [
      'decap-udp-ok',
      of,
      concat(returned(of, { tunnel: inUdp(of), flags: ['fin', 'ack'] }), new Uint8Array(6)),
    ],
  ]);

  it('comes out of it unchanged, and goes on as a plain segment', () => {
    for (const machine of MACHINES) {
      for (const [reason, of, packet] of good) {
        expect(check(packet, of, machine)).toMatchObject({ verdict: 'untouched', reason });
      }
    }
  });

  it('does so for what is left of a closed connection', () => {
    unpinLegs(kernel);
    pinLegs(kernel, {}, 'tpotTunnelsClosed');
    for (const machine of MACHINES) {
      for (const [reason, of, packet] of good) expect(check(packet, of, machine)).toMatchObject({ reason });
    }
  });

  it.each(FAMILIES)('keeps what the path said about congestion: IPv%i', (of) => {
    for (const inner of [0, 1, 2, 3]) {
      for (const outer of [0, 1, 2, 3]) {
        const packet = encapsulate(buildTcp({ ...answer(of), tos: 0xb8 | inner }), returnEnds[of]);
        const marked = of === 4 ? patched(packet, 1, 0xb8 | outer) : patched(packet, 1, 0x80 | (outer << 4));
        check(marked, of, 'source');
      }
    }
  });
});

describe('what does not come out of a return tunnel', () => {
  const four = returned(4);
  const six = returned(6);
  const udp4 = returned(4, { tunnel: inUdp(4) });
  const udp6 = returned(6, { tunnel: inUdp(6) });
  const mapped = (address: IpAddress): IpAddress => ({ family: 6, bytes: toMapped(address) });
  const inMapped = returned(6, {
    source: mapped(legs[4].destination),
    destination: mapped(legs[4].source),
    tunnel: { source: mapped(nextNodes[4]), destination: mapped(nodeEnd()) },
  });

  function nodeEnd(): IpAddress {
    return legs[4].source;
  }

  /** A source leaves all of it alone; what a node does with it by IP in IP is said first, and in UDP it is not its port. */
  const cases: [string | undefined, string, Family, Uint8Array][] = [
    [
      'drop-decap-unknown',
      'of another node',
      4,
      returned(4, { tunnel: { ...returnEnds[4], source: stranger[4] } }),
    ],
    [
      'drop-decap-unknown',
      'of another node',
      6,
      returned(6, { tunnel: { ...returnEnds[6], source: stranger[6] } }),
    ],
    [
      'drop-decap-unknown',
      'of the destination itself',
      4,
      encapsulate(buildTcp(answer(4)), { ...returnEnds[4], source: legs[4].destination }),
    ],
    ['drop-decap-unknown', 'to another address inside', 4, returned(4, { destination: stranger[4] })],
    ['drop-decap-unknown', 'to another address inside', 6, returned(6, { destination: stranger[6] })],
    [
      undefined,
      'to another machine',
      4,
      returned(4, { tunnel: { ...returnEnds[4], destination: stranger[4] } }),
    ],
    [undefined, 'to another machine', 6, returned(6, { tunnel: { ...inUdp(6), destination: stranger[6] } })],
    ['drop-decap-unknown', 'of another connection', 4, returned(4, { destinationPort: 51001 })],
    ['drop-decap-unknown', 'of another connection', 6, returned(6, { sourcePort: 81 })],
    [
      'drop-decap-unknown',
      'in the wrong direction',
      4,
      encapsulate(buildTcp({ ...legs[4], flags: ['ack'] }), returnEnds[4]),
    ],
    ['drop-decap-unknown', 'a SYN', 4, returned(4, { flags: ['syn'] })],
    ['drop-decap-unknown', 'a SYN-ACK', 6, returned(6, { flags: ['syn', 'ack'] })],
    ['drop-decap-malformed', 'the first fragment of a tunnel packet', 4, patched(four, 6, 0x20, 0)],
    ['drop-decap-malformed', 'a later fragment of one', 4, patched(four, 6, 0, 5)],
    ['drop-decap-malformed', 'a fragment inside', 4, patched(four, 26, 0x20, 0)],
    ['drop-decap-not-tcp', 'a fragment inside', 6, patched(six, 46, 44)],
    ['drop-decap-not-tcp', 'UDP inside', 4, patched(four, 29, 17)],
    ['drop-decap-not-tcp', 'UDP inside', 6, patched(six, 46, 17)],
    ['drop-decap-not-tcp', 'a return tunnel inside', 4, encapsulate(four, returnEnds[4])],
    ['drop-decap-not-tcp', 'one in UDP inside', 6, encapsulate(udp6, returnEnds[6])],
    ['drop-decap-malformed', 'IPv6 in IPv4', 4, encapsulate(buildTcp(answer(6)), returnEnds[4])],
    ['drop-decap-malformed', 'cut', 4, four.subarray(0, -1)],
    ['drop-decap-malformed', 'cut', 6, six.subarray(0, -1)],
    ['drop-decap-options', 'an option of length 0', 4, patched(four, 62, 8, 0)],
    [undefined, 'from another port', 4, patched(udp4, 20, 0x17, 0xc0)],
    [undefined, 'from another port', 6, patched(udp6, 40, 0x17, 0xc0)],
    [undefined, 'to a port that is no entropy port', 4, patched(udp4, 22, 0xbf, 0xff)],
    [undefined, 'to a port that is no entropy port', 6, patched(udp6, 42, 0, 53)],
    [undefined, 'a SYN in UDP', 4, returned(4, { tunnel: inUdp(4), flags: ['syn'] })],
    [undefined, 'another node in UDP', 6, returned(6, { tunnel: { ...inUdp(6), source: stranger[6] } })],
    [undefined, 'a fragment in UDP', 4, patched(udp4, 6, 0x20, 0)],
    [undefined, 'a UDP length beyond the packet', 4, patched(udp4, 24, 0xff, 0xff)],
    [undefined, 'a tunnel in UDP', 4, encapsulateInUdp(four, inUdp(4))],
    [undefined, 'IPv4-mapped addresses in IPv6', 6, inMapped],
  ];
  it.each(cases)('%s: %s (IPv%i)', (reason, _what, of, packet) => {
    expect(check(packet, of, 'source')).toEqual({ verdict: 'untouched' });
    const expected = reason === undefined ? { verdict: 'untouched' } : { verdict: 'drop', reason };
    expect(check(packet, of, 'node')).toEqual(expected);
  });

  it('a tunnel that was given up, and one that leads to a source of ours', () => {
    for (const of of FAMILIES) {
      pinLegs(kernel, { plain: 1 });
      expect(check(returned(of), of, 'source', true)).toEqual({ verdict: 'untouched' });
      expect(check(returned(of), of, 'node', true)).toMatchObject({ reason: 'drop-decap-unknown' });
      pinLegs(kernel, { back: 1 });
      kernel.expect('tpot_ingress', frameOf(returned(of), of), {
        verdict: 'drop',
        reason: 'drop-decap-unknown',
      });
    }
  });

  it('anything, where nobody has said that it is taken', () => {
    for (const of of FAMILIES) {
      become(kernel, 'source', 0);
      kernel.expect('tpot_ingress', frameOf(returned(of), of), { verdict: 'untouched' });
      kernel.expect('tpot_ingress', frameOf(returned(of, { tunnel: inUdp(of) }), of), {
        verdict: 'untouched',
      });
      become(kernel, 'node', 0);
      const dropped = { verdict: 'drop', reason: 'drop-decap-unknown' } as const;
      kernel.expect('tpot_ingress', frameOf(returned(of), of), dropped);
    }
  });

  it('IPv4-mapped addresses inside good IPv6 headers', () => {
    const inner = buildTcp({
      ...answer(6),
      source: mapped(legs[4].destination),
      destination: mapped(legs[4].source),
    });
    expect(check(encapsulate(inner, returnEnds[6]), 6, 'source')).toEqual({ verdict: 'untouched' });
    expect(check(encapsulate(inner, returnEnds[6]), 6, 'node')).toMatchObject({
      reason: 'drop-decap-unknown',
    });
  });

  it('what is for a connection that was taken: that comes in the tunnel of its source (rule 7)', () => {
    const taken = kernel.programs.map('tpotTransient');
    for (const of of FAMILIES) {
      const flow = flows[of];
      const key = mapFlow(reversed(flow));
      kernel.programs.map('tpotTunnels').set(key, tunnelEntry(nextNodes[of]));
      become(kernel, 'source');
      const out = buildTcp({ ...flow, flags: ['ack'] });
      const frame = frameOf(encapsulate(out, { source: nextNodes[of], destination: flow.destination }), of);
      kernel.expect('tpot_ingress', frame, { verdict: 'untouched', reason: 'decap-ok', packet: out });
      taken.set(mapFlow(flow), entry(of, TpotState.TUNNELLED));
      kernel.expect('tpot_ingress', frame, { verdict: 'untouched' });
      taken.delete(mapFlow(flow));
      kernel.programs.map('tpotTunnels').delete(key);
    }
  });

  it('is as in the model, however a packet was spoilt', () => {
    const verdicts = new Set<string>();
    const value = fc.oneof(u8, fc.constantFrom(0, 1, 4, 6, 17, 41, 0x45, 0x60));
    // Three of four behind the outer header.
    const edit = fc.record({ outer: fc.integer({ min: 0, max: 3 }), at: fc.nat(), value });
    const spoilt = fc.record({
      of: fc.constantFrom<Family>(4, 6),
      machine: fc.constantFrom<Machine>('source', 'node'),
      udp: fc.boolean(),
      edits: fc.array(edit, { maxLength: 2 }),
      cut: fc.option(fc.nat(), { nil: undefined, freq: 3 }),
    });
    const property = fc.property(spoilt, ({ of, machine, udp, edits, cut }) => {
      const header = (of === 4 ? 20 : 40) + (udp ? UDP_HEADER : 0);
      const packet = returned(of, udp ? { tunnel: inUdp(of) } : {});
      for (const { outer, at, value } of edits) {
        packet[outer === 0 ? at % packet.length : header + (at % (packet.length - header))] = value;
      }
      const length = cut === undefined ? packet.length : header + (cut % (packet.length - header));
      // Where an update could give either zero of ones' complement, the kernel's choice is the other one.
      fc.pre(!(of === 4 && packet[header + 10] === 0 && packet[header + 11] === 2));
      const { verdict, reason } = check(packet.subarray(0, length), of, machine);
      verdicts.add(`${verdict} ${reason === undefined ? '' : 'counted'}`);
    });
    fc.assert(property, { numRuns: 2000 });
    expect([...verdicts].sort()).toEqual(['drop counted', 'untouched ', 'untouched counted']);
  });
});

describe('a node whose next leg has the addresses and ports of its client', () => {
  /** From the client to D, twice: taken here, and opened by this node to the next one. */
  const flow = flows[4];
  const client = flow.source;
  const both = [
    [flow, tunnelEntry(nextNodes[4])],
    [reversed(flow), tunnelEntry(client, { back: 1 })],
  ] as const;
  beforeEach(() => {
    become(kernel, 'node');
    kernel.programs.configure({ flags: TpotFlag.NODE | TpotFlag.CLIENT_LEGS });
    kernel.programs.map('tpotTaken').set(mapFlow(flow), entry(4, TpotState.TUNNELLED));
    for (const [key, value] of both) kernel.programs.map('tpotTunnels').set(mapFlow(key), value);
  });
  afterEach(() => {
    kernel.programs.map('tpotTaken').delete(mapFlow(flow));
    for (const [key] of both) kernel.programs.map('tpotTunnels').delete(mapFlow(key));
  });
  const out = buildTcp({ ...flow, flags: ['ack'] });
  const back = buildTcp({ ...reversed(flow), flags: ['ack'] });
  const node = legs[4].source;

  it.each<[string, Uint8Array, Expected]>([
    [
      'the client, in its tunnel',
      encapsulate(out, { source: client, destination: node }),
      { verdict: 'deliver', reason: 'decap-ok', packet: out },
    ],
    [
      'the next node, to the client',
      encapsulate(back, { source: nextNodes[4], destination: client }),
      { verdict: 'untouched', reason: 'decap-ok', packet: back },
    ],
    [
      'the next node, as if it were the client',
      encapsulate(out, { source: nextNodes[4], destination: node }),
      { verdict: 'drop', reason: 'drop-decap-source' },
    ],
    [
      'the client, as if it were the next node',
      encapsulate(back, { source: client, destination: client }),
      { verdict: 'untouched' },
    ],
    [
      'this node itself, in the return tunnel',
      encapsulate(back, { source: node, destination: client }),
      { verdict: 'untouched' },
    ],
  ])('knows what comes from whom: %s', (_, packet, expected) => {
    kernel.expect('tpot_ingress', frameOf(packet, 4), expected);
  });

  it('sends each way into the tunnel of its own', () => {
    const sent = (packet: Uint8Array): string =>
      kernel.run('tpot_egress', frameOf(packet, 4)).packet.toString('hex');
    const hex = (packet: Uint8Array): string => Buffer.from(packet).toString('hex');
    expect(sent(out)).toBe(hex(encapsulate(out, { source: client, destination: nextNodes[4] })));
    expect(sent(back)).toBe(hex(encapsulate(back, { source: node, destination: client })));
  });
});
