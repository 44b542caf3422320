/**
 * The BPF programs against the pure model, packet by packet (BPF_PROG_TEST_RUN): what a node sends to a source in a return
 * tunnel (rule 13), what is too large for one, and errors about it.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip, type Family, type IpAddress } from '../core/address.js';
import { TpotFlag, TpotState, type TpotTunnel } from '../bpf/generated/maps.js';
import { ipv4Number } from '../bpf/programs.js';
import { emitError, tellSender } from '../splice/fit.js';
import { translateTooBig } from '../tpot/icmp.js';
import { encodeOption } from '../tpot/option.js';
import { bytesUpTo, plainOption, u16, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { sum } from '../wire/checksum.js';
import { encapsulate, TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { tcpOptions } from '../wire/tcp-options.js';
import { encapsulateInUdp, UDP_TUNNEL_OVERHEAD } from '../wire/udp-tunnel.js';
import { entry, UDP_PORT } from './bpf-node.js';
import {
  ETHERNET_HEADER,
  expectBytes,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  reversed,
} from './bpf-programs.js';
import { tunnelEntry } from './bpf-returns.js';
import { enterNewNetworkNamespace, LOOPBACK_MTU } from './network-namespace.js';

const FAMILIES = [4, 6] as const;
const REDIRECT = 7;
const ROUTER: Record<Family, IpAddress> = { 4: ip('198.18.9.9'), 6: ip('2001:db8:9::9') };

let kernel: ProgramsUnderTest;
let leaveNamespace: () => void;
beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  kernel = new ProgramsUnderTest();
  kernel.programs.configure({
    flags: TpotFlag.NODE,
    address4: ipv4Number(nodeAddresses[4]),
    address6: nodeAddresses[6].bytes,
    udpPort: UDP_PORT,
  });
});
afterAll(() => {
  kernel.close();
  leaveNamespace();
});

const tunnels = (): ReturnType<typeof kernel.programs.map<'tpotTunnels'>> =>
  kernel.programs.map('tpotTunnels');
/** What leaves here for the source of a taken connection does so in a return tunnel. */
function open(of: Family, changes: Partial<TpotTunnel> = {}): void {
  const entry = tunnelEntry(flows[of].source, { back: 1, udpPort: UDP_PORT, ...changes });
  tunnels().set(mapFlow(reversed(flows[of])), entry);
}
function close(): void {
  for (const of of FAMILIES) {
    tunnels().delete(mapFlow(reversed(flows[of])));
    kernel.programs.map('tpotTunnelsClosed').delete(mapFlow(reversed(flows[of])));
  }
}
beforeEach(() => FAMILIES.forEach((of) => open(of)));
afterEach(close);

const ends = (of: Family) => ({ source: nodeAddresses[of], destination: flows[of].source });
const inUdp = (of: Family) => ({ ...ends(of), port: UDP_PORT, back: true });
const segment = (of: Family, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  buildTcp({ ...reversed(flows[of]), flags: ['ack'], seq: 5, ack: 9, ...changes });
describe('a segment to the source of a taken connection', () => {
  it('leaves in the return tunnel as the model builds it, byte for byte, by both kinds', () => {
    const changes = fc.record({
      tos: u8,
      ttl: u8,
      identification: u16,
      options: fc.array(plainOption, { maxLength: 3 }).map((list) => tcpOptions.emit(list).subarray(0, 40)),
      payload: bytesUpTo(1000),
      flags: fc.constantFrom<TcpPacketSpec['flags']>(['ack'], ['fin', 'ack'], ['rst'], ['psh', 'ack'], []),
    });
    const property = fc.property(
      fc.constantFrom(...FAMILIES),
      changes,
      fc.boolean(),
      u16,
      (of, changed, udp, udpPort) => {
        open(of, { udp: Number(udp), udpPort });
        const inner = segment(of, changed);
        const { verdict, counted, packet, header } = kernel.run('tpot_egress', frameOf(inner, of));
        expect([verdict, counted]).toEqual([0, { [udp ? 'encap-udp-ok' : 'encap-ok']: 1 }]);
        expect(header).toEqual(Buffer.from(frameOf(inner, of).subarray(0, ETHERNET_HEADER)));
        expectBytes(
          packet,
          udp ? encapsulateInUdp(inner, { ...inUdp(of), port: udpPort }) : encapsulate(inner, ends(of)),
        );
      },
    );
    fc.assert(property, { numRuns: 400 });
  });

  it('leaves plain where the tunnel was given up, as a SYN-ACK does', () => {
    for (const of of FAMILIES) {
      kernel.expect('tpot_egress', frameOf(segment(of, { flags: ['syn', 'ack'] }), of), {
        verdict: 'untouched',
      });
      open(of, { plain: 1 });
      kernel.expect('tpot_egress', frameOf(segment(of), of), { verdict: 'untouched' });
    }
  });

  it('is none that only passes here: who has made it up gets no outer header of ours', () => {
    for (const of of FAMILIES) {
      for (const flags of [['ack'], ['rst']] as const) {
        const frame = frameOf(segment(of, { flags }), of);
        const { verdict, packet, counted } = kernel.run('tpot_egress', frame, { ingressIfindex: 1 });
        expect([verdict, counted]).toEqual([-1, {}]);
        expectBytes(packet, frame.subarray(ETHERNET_HEADER));
      }
    }
  });

  it('of a connection that is over leaves in its tunnel, until another one begins with the same ends', () => {
    const closed = kernel.programs.map('tpotTunnelsClosed');
    for (const of of FAMILIES) {
      const key = mapFlow(reversed(flows[of]));
      tunnels().delete(key);
      closed.set(key, tunnelEntry(flows[of].source, { back: 1 }));
      const frame = frameOf(segment(of), of);
      expect(kernel.run('tpot_egress', frame).counted).toEqual({ 'encap-ok': 1 });
      kernel.run('tpot_egress', frameOf(segment(of, { flags: ['syn', 'ack'] }), of));
      kernel.expect('tpot_egress', frame, { verdict: 'untouched' });
    }
  });

  it('is counted, until there are enough to say that the tunnel gets through', () => {
    for (const of of FAMILIES) {
      for (let count = 1; count < 12; count++) {
        kernel.run('tpot_egress', frameOf(segment(of, { payload: new Uint8Array(count % 2) }), of));
        expect(tunnels().get(mapFlow(reversed(flows[of])))?.repeats).toBe(Math.min(count, 8));
      }
    }
  });
});

describe('a segment that is too large for the return tunnel on this link', () => {
  const OVERHEAD = { 0: TUNNEL_OVERHEAD, 1: UDP_TUNNEL_OVERHEAD } as const;
  const cases = FAMILIES.flatMap((of) => ([0, 1] as const).map((udp): [Family, 0 | 1] => [of, udp]));

  it.each(cases)(
    'is answered to its own socket, in the name of its destination: IPv%i, UDP %i',
    (of, udp) => {
      open(of, { udp });
      const room = LOOPBACK_MTU - OVERHEAD[udp][of];
      const payload = (size: number): Uint8Array => new Uint8Array(size - TUNNEL_OVERHEAD[of] - 20).fill(7);
      const fits = frameOf(segment(of, { payload: payload(room) }), of);
      expect(kernel.run('tpot_egress', fits).verdict).toBe(0);
      for (const size of [room + 1, LOOPBACK_MTU]) {
        const packet = segment(of, { payload: payload(size) });
        const frame = frameOf(packet, of);
        const outcome = kernel.run('tpot_egress', frame);
        expect([outcome.verdict, outcome.counted]).toEqual([REDIRECT, {}]);
        expectBytes(outcome.packet, tellSender(packet, flows[of].source, room - TUNNEL_OVERHEAD[of]));
        // It comes in on the same link: addressed to who has sent the segment.
        expectBytes(outcome.header.subarray(0, 6), frame.subarray(6, 12));
        // And is brought to the socket.
        kernel.programs.map('tpotTaken').set(mapFlow(flows[of]), entry(of, TpotState.TUNNELLED));
        kernel.expect('tpot_ingress', frameOf(outcome.packet, of), {
          verdict: 'deliver',
          reason: 'icmp-delivered',
        });
        kernel.programs.map('tpotTaken').delete(mapFlow(flows[of]));
      }
    },
  );

  it('does not get through, and ends there where it cannot be quoted', () => {
    const packet = segment(4, { payload: new Uint8Array(1461) });
    for (let at = 0; at < 20; at++) kernel.run('tpot_egress', frameOf(packet, 4));
    expect(tunnels().get(mapFlow(reversed(flows[4])))?.repeats).toBe(0);
    const optioned = segment(4, { payload: new Uint8Array(1457), ipOptions: Uint8Array.of(1, 1, 1, 0) });
    kernel.expect('tpot_egress', frameOf(optioned, 4), { verdict: 'drop', reason: 'encap-failed' });
  });
});

describe('an error about a packet of a return tunnel', () => {
  const anyCase = fc.record({
    of: fc.constantFrom<Family>(4, 6),
    udp: fc.boolean(),
    mtu: fc.constantFrom(0, 48, 49, 68, 81, 88, 89, 552, 576, 1006, 1280, 1400, 1480, 9000),
    more: fc.nat({ max: 500 }),
  });
  const left = (of: Family, udp: boolean, source: IpAddress = nodeAddresses[of]): Uint8Array => {
    const inner = segment(of, { seq: 0xfffffff0, payload: new Uint8Array(600) });
    return udp
      ? encapsulateInUdp(inner, { ...inUdp(of), source })
      : encapsulate(inner, { ...ends(of), source });
  };
  const about = (of: Family, mtu: number, quotation: Uint8Array): Uint8Array =>
    emitError({ source: ROUTER[of], destination: nodeAddresses[of] }, mtu, quotation, sum(quotation));

  it('becomes one about its segment, when it says "too big"', () => {
    const property = fc.property(anyCase, ({ of, udp, mtu, more }) => {
      open(of, { udp: Number(udp) });
      const headers = (udp ? UDP_TUNNEL_OVERHEAD : TUNNEL_OVERHEAD)[of] + TUNNEL_OVERHEAD[of] + 8;
      const packet = about(of, mtu, left(of, udp).subarray(0, headers + more));
      const translated = translateTooBig(packet);
      kernel.expect('tpot_ingress', frameOf(packet, of), {
        verdict: 'untouched',
        ...(translated === undefined ? {} : { reason: 'icmp-translated', packet: translated }),
      });
    });
    fc.assert(property, { numRuns: 300 });
  });

  it('is left alone when the tunnel is of another kind or direction', () => {
    for (const of of FAMILIES) {
      for (const quotation of [left(of, true), left(of, false, reversed(flows[of]).source)]) {
        kernel.expect('tpot_ingress', frameOf(about(of, 1280, quotation), of), { verdict: 'untouched' });
      }
      open(of, { back: 0 });
      kernel.expect('tpot_ingress', frameOf(about(of, 1280, left(of, false)), of), { verdict: 'untouched' });
    }
  });

  it('changes nothing when it says "unreachable": timeouts tell', () => {
    for (const of of FAMILIES) {
      const key = mapFlow(reversed(flows[of]));
      const before = tunnels().get(key);
      const packet = about(of, 0, left(of, false));
      for (const [type, code] of of === 4
        ? ([
            [3, 1],
            [3, 2],
            [3, 13],
          ] as const)
        : ([
            [1, 0],
            [1, 4],
            [4, 1],
          ] as const)) {
        packet.set([type, code], TUNNEL_OVERHEAD[of]);
        kernel.expect('tpot_ingress', frameOf(packet, of), { verdict: 'untouched' });
      }
      expect(tunnels().get(key)).toEqual(before);
    }
  });
});

it('a SYN-ACK from the source of a taken connection says nothing about its return tunnel', () => {
  for (const of of FAMILIES) {
    const key = mapFlow(reversed(flows[of]));
    const reply = encodeOption({ type: 'reply', address: flows[of].source, flags: 0, capabilities: 0 });
    const forged = buildTcp({ ...flows[of], flags: ['syn', 'ack'], options: [reply] });
    // One of both is long ago, on a clock that comes round.
    for (const answered of [0, 128]) {
      open(of, { answered });
      kernel.expect('tpot_ingress', frameOf(forged, of), { verdict: 'untouched' });
      expect(tunnels().get(key)).toMatchObject({ repeats: 0, answered });
    }
  }
});
