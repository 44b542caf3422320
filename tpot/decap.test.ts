import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip, sameIp } from '../core/address.js';
import { bytesUpTo, u8 } from '../wire/arbitraries.props.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { concat } from '../wire/bytes.js';
import { encapsulate } from '../wire/ipip.js';
import { ipv4 } from '../wire/ipv4.js';
import { ipv6 } from '../wire/ipv6.js';
import {
  decideTunnelled,
  type DecapDecision,
  type Flow,
  type PinnedConnection,
  type TakenConnection,
} from './decap.js';

const ends = {
  4: { source: ip('198.18.0.1'), destination: ip('198.18.1.1') },
  6: { source: ip('2001:db8::1'), destination: ip('2001:db8:1::1') },
};
const own = [ends[4].destination, ends[6].destination];
const inside = (family: 4 | 6): TcpPacketSpec => ({
  source: ends[family].source,
  sourcePort: 40000,
  destination: ip(family === 4 ? '192.0.2.80' : '2001:db8:80::80'),
  destinationPort: 80,
  flags: ['ack'],
  options: [{ kind: 'timestamps', value: 1, echo: 2 }],
  payload: Uint8Array.of(1, 2, 3),
});
const tunnelled = (family: 4 | 6, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  buildTcp({ ...inside(family), tunnel: ends[family], ...changes });

const taken =
  (state: TakenConnection['state'], family: 4 | 6 = 4) =>
  (flow: Flow): TakenConnection | undefined =>
    flow.sourcePort === 40000 &&
    flow.destinationPort === 80 &&
    sameIp(flow.destination, inside(family).destination)
      ? { outerSource: ends[family].source, state }
      : undefined;
const known = (family: 4 | 6) => taken({ phase: 'tunnelled' }, family);
const decide = (packet: Uint8Array, family: 4 | 6 = 4): DecapDecision =>
  decideTunnelled(packet, { own }, known(family));
const patched = (packet: Uint8Array, offset: number, ...values: number[]): Uint8Array => {
  const bytes = packet.slice();
  bytes.set(values, offset);
  return bytes;
};

describe('decideTunnelled', () => {
  it.each([4, 6] as const)('delivers what a known connection sent, unchanged: IPv%i', (family) => {
    expect(decide(tunnelled(family), family)).toMatchObject({
      ...{ verdict: 'deliver', reason: 'decap-ok', packet: buildTcp(inside(family)) },
      flow: { source: ends[family].source, sourcePort: 40000, destinationPort: 80 },
    });
  });

  it('is not asked about packets for others, nor about plain ones', () => {
    const transit = tunnelled(4, { tunnel: { ...ends[4], destination: ip('198.18.2.2') } });
    expect(decide(transit)).toEqual({ verdict: 'pass' });
    expect(decide(buildTcp({ ...inside(4), destination: own[0]! }))).toEqual({ verdict: 'pass' });
    expect(decide(new Uint8Array())).toEqual({ verdict: 'pass' });
  });

  const four = tunnelled(4);
  it.each<[string, string, Uint8Array]>([
    ['drop-decap-unknown', 'another port', tunnelled(4, { sourcePort: 40001 })],
    ['drop-decap-unknown', 'a SYN', tunnelled(4, { flags: ['syn'] })],
    [
      'drop-decap-source',
      'another outer source',
      tunnelled(4, { tunnel: { ...ends[4], source: ip('198.18.0.2') } }),
    ],
    ['drop-decap-malformed', 'the outer packet is cut', four.subarray(0, four.length - 1)],
    ['drop-decap-malformed', 'nothing inside', encapsulate(new Uint8Array(), ends[4])],
    ['drop-decap-malformed', 'an outer fragment', patched(four, 6, 0x20, 0x00)],
    ['drop-decap-malformed', 'the first fragment inside', patched(four, 26, 0x20, 0x00)],
    ['drop-decap-malformed', 'a later fragment inside', patched(four, 26, 0x00, 0x05)],
    ['drop-decap-malformed', 'inner version 6', patched(four, 20, 0x65)],
    ['drop-decap-malformed', 'inner header length of 16', patched(four, 20, 0x44)],
    [
      'drop-decap-malformed',
      'inner header length beyond the packet',
      encapsulate(Uint8Array.of(0x4f, 0, 0, 20, ...new Uint8Array(16)), ends[4]),
    ],
    ['drop-decap-malformed', 'inner total length beyond the outer payload', patched(four, 22, 0, 56)],
    ['drop-decap-malformed', 'no room for a TCP header', patched(four, 22, 0, 39)],
    ['drop-decap-malformed', 'data offset of 4', patched(four, 52, 0x40)],
    ['drop-decap-malformed', 'data offset beyond the segment', patched(four, 52, 0xf0)],
    ['drop-decap-options', 'an option of length 0', patched(four, 60, 8, 0)],
    ['drop-decap-options', 'an option beyond the area', patched(four, 60, 8, 13)],
    ['drop-decap-not-tcp', 'UDP inside', patched(four, 29, 17)],
    ['drop-decap-not-tcp', 'a tunnel inside', encapsulate(four, ends[4])],
    ['drop-decap-malformed', 'IPv6 in protocol 4', encapsulate(buildTcp(inside(6)), ends[4])],
  ])('%s: %s', (reason, _what, packet) => {
    expect(decide(packet)).toEqual({ verdict: 'drop', reason });
  });

  it('knows the same faults in IPv6', () => {
    const six = tunnelled(6);
    expect(decide(patched(six, 40 + 6, 44), 6)).toEqual({ verdict: 'drop', reason: 'drop-decap-not-tcp' });
    expect(decide(patched(six, 40 + 4, 0xff, 0xff), 6)).toEqual({
      verdict: 'drop',
      reason: 'drop-decap-malformed',
    });
    expect(decide(patched(six, 40, 0x45), 6)).toEqual({ verdict: 'drop', reason: 'drop-decap-malformed' });
  });

  it('takes nothing from a tunnel for a connection that has none', () => {
    for (const phase of ['edge', 'plain'] as const) {
      expect(decideTunnelled(four, { own }, taken({ phase }))).toEqual({
        verdict: 'drop',
        reason: 'drop-decap-unknown',
      });
    }
    expect(decideTunnelled(four, { own }, taken({ phase: 'syn-received' })).verdict).toBe('deliver');
  });

  it('ignores padding behind the outer packet, and leaves padding behind the inner one to IP', () => {
    expect(decide(concat(four, new Uint8Array(4)))).toMatchObject({ packet: buildTcp(inside(4)) });
    const padded = concat(buildTcp(inside(4)), new Uint8Array(4));
    expect(decide(encapsulate(padded, ends[4]))).toMatchObject({ verdict: 'deliver', packet: padded });
  });

  it('never throws and never forwards: what is for us is delivered whole or dropped', () => {
    const torn = fc
      .tuple(
        fc.constantFrom(4 as const, 6 as const),
        fc.array(fc.tuple(fc.nat(), u8), { maxLength: 3 }),
        fc.nat(),
      )
      .map(([family, edits, cut]) => {
        const packet = tunnelled(family);
        for (const [at, value] of edits) packet[at % packet.length] = value;
        return packet.subarray(0, packet.length - (cut % 4 === 0 ? cut % packet.length : 0));
      });
    fc.assert(
      fc.property(fc.oneof(torn, bytesUpTo(100)), (packet) => {
        const decision = decide(packet);
        if (decision.verdict !== 'deliver') return;
        const inner = decision.packet;
        expect(ipv4.parse(inner).ok || ipv6.parse(inner).ok).toBe(true);
        expect(decision.flow.sourcePort).toBe(40000);
      }),
      { numRuns: 2000 },
    );
  });
});

const NODE_PORT = 6080;
/** What the connection's node sends to the source of {@link inside}, in its return tunnel. */
const answer = (family: 4 | 6): TcpPacketSpec => {
  const { source, sourcePort, destination, destinationPort, ...rest } = inside(family);
  const flow = { source: destination, sourcePort: destinationPort, destination: source };
  return { ...rest, ...flow, destinationPort: sourcePort };
};
const backEnds = (family: 4 | 6) => ({ source: ends[family].destination, destination: ends[family].source });
const returned = (family: 4 | 6, changes: Partial<TcpPacketSpec> = {}): Uint8Array =>
  buildTcp({ ...answer(family), tunnel: backEnds(family), ...changes });
const inUdp = (family: 4 | 6) => ({ ...backEnds(family), port: NODE_PORT, back: true });

describe('a return tunnel (rule 13)', () => {
  const pinned =
    (changes: Partial<PinnedConnection> = {}) =>
    (flow: Flow): PinnedConnection | undefined => {
      const { family } = flow.source;
      const { source, sourcePort, destination, destinationPort } = inside(family);
      const ports = flow.sourcePort === sourcePort && flow.destinationPort === destinationPort;
      if (!ports || !sameIp(flow.source, source) || !sameIp(flow.destination, destination)) return undefined;
      return { remote: ends[family].destination, udpPort: NODE_PORT, plain: false, ...changes };
    };
  /** At a machine that only is a source, or at a node that is the source of its next leg. */
  const take = (packet: Uint8Array, at: 'source' | 'node' = 'source', changes = {}): DecapDecision => {
    const known = pinned(changes);
    if (at === 'source') return decideTunnelled(packet, { own: [], pinned: known }, () => undefined);
    const own = [ends[4].source, ends[6].source];
    return decideTunnelled(packet, { own, udpPort: NODE_PORT, pinned: known }, () => undefined);
  };

  it.each([4, 6] as const)('brings what its node sends, unchanged, by both kinds: IPv%i', (family) => {
    const packet = buildTcp(answer(family));
    for (const at of ['source', 'node'] as const) {
      const expected = { verdict: 'deliver', returned: true, packet };
      expect(take(returned(family), at)).toMatchObject({ ...expected, reason: 'decap-ok' });
      const udp = returned(family, { tunnel: inUdp(family) });
      expect(take(udp, at)).toMatchObject({ ...expected, reason: 'decap-udp-ok' });
    }
  });

  const stranger = { 4: ip('198.18.0.9'), 6: ip('2001:db8::9') };
  it.each<[string, string, Uint8Array, Partial<PinnedConnection>?]>([
    ['drop-decap-unknown', 'another node', returned(4, { tunnel: { ...backEnds(4), source: stranger[4] } })],
    ['drop-decap-unknown', 'another node', returned(6, { tunnel: { ...inUdp(6), source: stranger[6] } })],
    ['drop-decap-unknown', 'another connection', returned(4, { destinationPort: 40001 })],
    ['drop-decap-unknown', 'another destination inside', returned(6, { destination: stranger[6] })],
    ['drop-decap-unknown', 'a SYN', returned(4, { flags: ['syn'] })],
    ['drop-decap-unknown', 'a SYN-ACK', returned(6, { flags: ['syn', 'ack'] })],
    ['drop-decap-unknown', 'a tunnel given up', returned(4), { plain: true }],
    ['drop-decap-malformed', 'an outer fragment', patched(returned(4), 6, 0x20, 0)],
    ['drop-decap-malformed', 'cut', returned(6).subarray(0, -1)],
    ['drop-decap-not-tcp', 'UDP inside', patched(returned(4), 29, 17)],
    ['drop-decap-not-tcp', 'a tunnel inside', encapsulate(returned(4), backEnds(4))],
    ['drop-decap-options', 'an option of length 0', patched(returned(4), 60, 8, 0)],
  ])('is not for %s: %s; a source leaves it alone, a node drops it', (reason, _what, packet, changes) => {
    expect(take(packet, 'source', changes)).toEqual({ verdict: 'pass' });
    // In UDP it is addressed to a port that is not the node's end.
    const udp = packet[9] === 17 || packet[6] === 17;
    expect(take(packet, 'node', changes)).toEqual(udp ? { verdict: 'pass' } : { verdict: 'drop', reason });
  });

  it('in UDP comes from the port that the node has named, to a dynamic one', () => {
    const udp = returned(4, { tunnel: inUdp(4) });
    expect(take(udp, 'source', { udpPort: 6081 })).toEqual({ verdict: 'pass' });
    expect(take(udp, 'source', { udpPort: undefined })).toEqual({ verdict: 'pass' });
    expect(take(patched(udp, 22, 0xbf, 0xff))).toEqual({ verdict: 'pass' });
    expect(take(patched(udp, 22, 0xc0, 0x00)).verdict).toBe('deliver');
  });

  it('is addressed to who sends there: nobody on the way opens it, nor brings it to somebody else', () => {
    expect(take(returned(4, { tunnel: { ...backEnds(4), destination: stranger[4] } }))).toEqual({
      verdict: 'pass',
    });
  });

  it('is taken by nobody who has not said so', () => {
    expect(decideTunnelled(returned(4), { own: [] }, () => undefined)).toEqual({ verdict: 'pass' });
  });

  it('never brings anything into a connection that was taken', () => {
    const connection: TakenConnection = { outerSource: stranger[4], state: { phase: 'tunnelled' } };
    const end = { own: [ends[4].source], pinned: pinned() };
    const decision = decideTunnelled(returned(4), end, () => connection);
    expect(decision).toEqual({ verdict: 'drop', reason: 'drop-decap-source' });
  });
});
