/** ICMP errors about tunnel packets: the BPF program against tpot/icmp.ts, byte for byte. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toMapped, type Family, type IpAddress } from '../core/address.js';
import { translateTooBig } from '../tpot/icmp.js';
import { concat } from '../wire/bytes.js';
import { buildTcp } from '../wire/build.js';
import { checksum, pseudoHeaderSum } from '../wire/checksum.js';
import { icmp } from '../wire/icmp.js';
import { encapsulate, TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { encapsulateInUdp } from '../wire/udp-tunnel.js';
import { ipv4 } from '../wire/ipv4.js';
import { ipv6 } from '../wire/ipv6.js';
import { PROTOCOL } from '../wire/protocols.js';
import { ip } from '../core/address.js';
import { entry } from './bpf-node.js';
import { flows, frameOf, mapFlow, nodeAddresses, ProgramsUnderTest, reversed } from './bpf-programs.js';

const kernel = new ProgramsUnderTest();
afterAll(() => kernel.close());

const ROUTER: Record<Family, ReturnType<typeof ip>> = { 4: ip('198.18.9.9'), 6: ip('2001:db8:9::9') };
const family = fc.constantFrom<Family>(4, 6);
const WHOLE_HEADERS = { 4: 20 + 20 + 8, 6: 40 + 40 + 8 } as const;
const UDP_PORT = 6080;

interface Message {
  readonly type: number;
  readonly code: number;
  readonly rest: number;
}
const TOO_BIG: Record<Family, (mtu: number) => Message> = {
  4: (mtu) => ({ type: 3, code: 4, rest: mtu }),
  6: (mtu) => ({ type: 2, code: 0, rest: mtu }),
};

/** An ICMP error from a router to the source of the quoted packet. */
function error(of: Family, message: Message, quotation: Uint8Array): Uint8Array {
  const source = ROUTER[of];
  const destination = flows[of].source;
  const blank = concat(icmp.emit({ ...message, checksum: 0 }), quotation);
  const pseudo = of === 6 ? pseudoHeaderSum(source, destination, PROTOCOL.icmpv6, blank.length) : 0;
  const body = concat(icmp.emit({ ...message, checksum: checksum(blank, pseudo) }), quotation);
  const header =
    of === 4
      ? ipv4.emit({
          family: 4,
          source,
          destination,
          tos: 0xc0,
          identification: 7,
          flags: 0,
          fragmentOffset: 0,
          ttl: 63,
          protocol: PROTOCOL.icmp,
          totalLength: 20 + body.length,
          options: new Uint8Array(0),
          checksum: 0,
        } as never)
      : ipv6.emit({
          family: 6,
          source,
          destination,
          trafficClass: 0,
          flowLabel: 0,
          payloadLength: body.length,
          nextHeader: PROTOCOL.icmpv6,
          hopLimit: 63,
        } as never);
  return concat(header, body);
}

/** What we sent: a segment in its tunnel. */
function tunnelPacket(of: Family, udp: boolean, payload = 600): Uint8Array {
  const inner = buildTcp({
    ...flows[of],
    flags: ['ack'],
    seq: 0xfffffff0,
    ack: 9,
    payload: new Uint8Array(payload),
  });
  const ends = { source: flows[of].source, destination: nodeAddresses[of] };
  return udp ? encapsulateInUdp(inner, { ...ends, port: UDP_PORT }) : encapsulate(inner, ends);
}

const table = kernel.programs.map('tpotTunnels');
const pin = (of: Family, udp = false): void =>
  table.set(mapFlow(flows[of]), {
    remote: toMapped(nodeAddresses[of]),
    udpPort: UDP_PORT,
    capabilities: 0,
    repeats: 0,
    plain: 0,
    udp: udp ? 1 : 0,
    answered: 0,
    back: 0,
    stalls: 0,
    largest: 0,
  });
const forget = (): void => {
  for (const of of [4, 6] as const) table.delete(mapFlow(flows[of]));
};

describe('a "too big" about a tunnel packet', () => {
  beforeEach(() => [4, 6].forEach((of) => pin(of as Family)));
  afterEach(forget);

  it('becomes one about its segment', () => {
    const mtu = fc.constantFrom(0, 48, 49, 68, 81, 88, 89, 552, 576, 1006, 1280, 1400, 1480, 9000);
    fc.assert(
      fc.property(family, fc.boolean(), mtu, fc.nat({ max: 500 }), (of, udp, value, more) => {
        pin(of, udp);
        const quotation = tunnelPacket(of, udp).subarray(0, WHOLE_HEADERS[of] + (udp ? 8 : 0) + more);
        const packet = error(of, TOO_BIG[of](value), quotation);
        const expected = translateTooBig(packet);
        const translated = expected !== undefined;
        kernel.expect('tpot_ingress', frameOf(packet, of), {
          verdict: 'untouched',
          ...(translated ? { reason: 'icmp-translated', packet: expected } : {}),
        });
      }),
      { numRuns: 300 },
    );
  });

  it('is left alone when it is about another connection, another node, or is cut before the ports', () => {
    for (const of of [4, 6] as const) {
      const whole = tunnelPacket(of, false);
      const inUdp = tunnelPacket(of, true); // this connection is not
      const elsewhere = encapsulate(buildTcp({ ...flows[of], flags: ['ack'] }), {
        source: flows[of].source,
        destination: ROUTER[of],
      });
      const other = encapsulate(buildTcp({ ...flows[of], sourcePort: 5, flags: ['ack'] }), {
        source: flows[of].source,
        destination: nodeAddresses[of],
      });
      for (const quotation of [
        elsewhere,
        other,
        inUdp,
        whole.subarray(0, 2 * TUNNEL_OVERHEAD[of] + 3),
        whole.subarray(0, 28),
      ]) {
        const packet = error(of, TOO_BIG[of](1280), quotation);
        kernel.expect('tpot_ingress', frameOf(packet, of), { verdict: 'untouched' });
      }
    }
  });
});

it('an error about a segment that a node sent in the name of D is delivered to its socket', () => {
  kernel.programs.configure({ flags: 1 });
  const taken = kernel.programs.map('tpotTaken');
  for (const of of [4, 6] as const) {
    const quotation = buildTcp({ ...reversed(flows[of]), flags: ['ack'], payload: new Uint8Array(900) });
    const frame = frameOf(error(of, TOO_BIG[of](1280), quotation.subarray(0, 500)), of);
    kernel.expect('tpot_ingress', frame, { verdict: 'untouched' });
    taken.set(mapFlow(flows[of]), entry(of, 3));
    kernel.expect('tpot_ingress', frame, { verdict: 'deliver', reason: 'icmp-delivered' });
    taken.delete(mapFlow(flows[of]));
  }
});

it('an error that quotes IPv4-mapped addresses in IPv6 is about no IPv4 connection', () => {
  const mapped = (address: IpAddress): IpAddress => ({ family: 6, bytes: toMapped(address) });
  const flow = {
    ...flows[4],
    source: mapped(flows[4].source),
    destination: mapped(flows[4].destination),
  };
  kernel.programs.configure({ flags: 1 });
  const taken = kernel.programs.map('tpotTaken');
  taken.set(mapFlow(flows[4]), entry(4, 3));
  pin(4);
  const sent = buildTcp({ ...reversed(flow), flags: ['ack'], payload: new Uint8Array(900) });
  const inner = buildTcp({ ...flow, flags: ['ack'], payload: new Uint8Array(900) });
  const tunnelled = encapsulate(inner, { source: flow.source, destination: mapped(nodeAddresses[4]) });
  for (const quotation of [sent, tunnelled]) {
    const packet = error(6, TOO_BIG[6](1280), quotation.subarray(0, 500));
    expect(translateTooBig(packet)).toBeUndefined();
    kernel.expect('tpot_ingress', frameOf(packet, 6), { verdict: 'untouched' });
  }
  taken.delete(mapFlow(flows[4]));
  forget();
});

it('no ICMP of any content throws or changes what is not about a tunnel of ours', () => {
  [4, 6].forEach((of) => pin(of as Family));
  fc.assert(
    fc.property(
      family,
      fc.nat(255),
      fc.nat(15),
      fc.uint8Array({ maxLength: 200 }),
      (of, type, code, quotation) => {
        const packet = error(of, { type, code, rest: 1280 }, quotation);
        kernel.expect('tpot_ingress', frameOf(packet, of), { verdict: 'untouched' });
      },
    ),
    { numRuns: 1000 },
  );
  forget();
  expect(table.get(mapFlow(flows[4]))).toBeUndefined();
});
