/** ICMP errors about spliced segments: the BPF programs against splice/path-mtu.ts, byte for byte. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped, type Family, type IpAddress } from '../core/address.js';
import { spliceEntry } from '../node/splice-entry.js';
import { emitError } from '../splice/fit.js';
import { reverse, type Mapping } from '../splice/mapping.js';
import { learnPathMtu, type SplicedDirection } from '../splice/path-mtu.js';
import { sequence } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { sum } from '../wire/checksum.js';
import { encapsulate, TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { add, seq } from '../wire/seq.js';
import { encapsulateInUdp, UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import { expectBytes, flows, frameOf, mapFlow, nodeAddresses } from './bpf-programs.js';
import { OUT, SplicingPrograms, UNMAPPED } from './splicing-programs.js';

const REDIRECT = 7;
const ROUTER: Record<Family, IpAddress> = { 4: ip('198.18.9.9'), 6: ip('2001:db8:9::9') };
const NEXT: Record<Family, IpAddress> = { 4: ip('198.18.2.1'), 6: ip('2001:db8:2::1') };

let kernel: SplicingPrograms;
beforeAll(() => {
  kernel = new SplicingPrograms();
});
afterAll(() => kernel.close());

const base: Mapping = { ...UNMAPPED, out: OUT[4] };

interface Case {
  readonly of: Family;
  readonly direction: SplicedDirection;
  readonly packet: Uint8Array;
}

const window = 100_000;
const anyCase = fc
  .record({
    of: fc.constantFrom<Family>(4, 6),
    delta: sequence,
    acknowledged: sequence,
    /** From what is acknowledged on; within the window, at its edges, and outside. */
    distance: fc.oneof(
      fc.integer({ min: 0, max: window }),
      fc.constantFrom(-1, 0, window - 1, window, -window),
    ),
    mtu: fc.constantFrom(0, 68, 100, 552, 576, 1006, 1279, 1280, 1400, 1499, 1500, 1501, 9000),
    maxSegment: fc.constantFrom(1480, 1000, 520),
    /** Of the connection, and of the quoted packet: one that the tunnel does not go to, and none. */
    tunnel: fc.boolean(),
    udp: fc.boolean(),
    quotedUdp: fc.boolean(),
    quotedTunnel: fc.constantFrom('right', 'wrong', 'none'),
    /** Return tunnels: their outer source is another one than the inner. */
    back: fc.boolean(),
    quotedBack: fc.boolean(),
    quoted: fc.nat({ max: 400 }),
  })
  .map(
    ({
      of,
      delta,
      acknowledged,
      distance,
      mtu,
      maxSegment,
      tunnel,
      udp,
      quotedTunnel,
      quotedUdp,
      back,
      quotedBack,
      quoted,
    }): Case => {
      const mapping = { ...base, out: OUT[of], sequenceDelta: delta, maxSegment };
      const direction = {
        flow: flows[of],
        mapping,
        acknowledged,
        sent: seq(add(acknowledged, window) - delta),
        remote: tunnel ? NEXT[of] : undefined,
        udp,
        back,
      };
      const inner = buildTcp({
        ...OUT[of],
        flags: ['ack'],
        seq: add(acknowledged, distance),
        ack: 9,
        payload: new Uint8Array(1400).fill(5),
      });
      const far = quotedTunnel === 'right' ? NEXT[of] : ROUTER[of];
      const near = quotedBack ? ROUTER[of] : OUT[of].source;
      const tunnelEnds = { source: near, destination: far, port: UDP_TUNNEL_PORT, back: quotedBack };
      const tunnelled = quotedUdp ? encapsulateInUdp(inner, tunnelEnds) : encapsulate(inner, tunnelEnds);
      const left = quotedTunnel === 'none' ? inner : tunnelled;
      const headers = left.length - inner.length + TUNNEL_OVERHEAD[of];
      const quotation = left.subarray(0, headers + 8 + quoted);
      const ends = { source: ROUTER[of], destination: OUT[of].source };
      return { of, direction, packet: emitError(ends, mtu, quotation, sum(quotation)) };
    },
  );

/** Both entries of the connection, and the tunnel of its second leg. */
function enter({ of, direction }: Case): void {
  const { programs } = kernel;
  const facts = { outerSource: undefined, fromClient: true, bytes: 0n, now: 1n, startedAt: 1n };
  const back = { ...base, out: reverse(flows[of]), acknowledged: direction.acknowledged };
  programs
    .map('tpotSplices')
    .set(mapFlow(flows[of]), { ...spliceEntry(direction.mapping, facts), sent: direction.sent });
  programs.map('tpotSplices').set(mapFlow(reverse(OUT[of])), spliceEntry(back, facts));
  if (direction.remote === undefined) programs.map('tpotTunnels').delete(mapFlow(OUT[of]));
  else {
    const tunnel = {
      udpPort: 0,
      capabilities: 0,
      repeats: 0,
      plain: 0,
      udp: Number(direction.udp),
      answered: 0,
      back: Number(direction.back === true),
      stalls: 0,
      largest: 0,
    };
    programs.map('tpotTunnels').set(mapFlow(OUT[of]), { ...tunnel, remote: toMapped(direction.remote) });
  }
}

const sizeOf = (of: Family): number | undefined =>
  kernel.programs.map('tpotSplices').get(mapFlow(flows[of]))?.maxSegment;

describe('a "too big" about a spliced segment', () => {
  it('lowers the size and goes on to the sender as in the model, or ends here and changes nothing', () => {
    const seen = new Set<string>();
    const property = fc.property(anyCase, (one) => {
      enter(one);
      const outcome = kernel.run('tpot_ingress', frameOf(one.packet, one.of));
      const learned = learnPathMtu(one.packet, nodeAddresses[one.of], one.direction);
      seen.add(learned === undefined ? 'ended' : 'told');
      expect(sizeOf(one.of)).toBe(learned?.maxSegment ?? one.direction.mapping.maxSegment);
      if (learned === undefined) {
        expect(outcome.counted).toEqual({ 'drop-icmp-spliced': 1 });
        return;
      }
      expect(outcome.verdict).toBe(REDIRECT);
      expect(outcome.counted).toEqual({ 'splice-told': 1 });
      expectBytes(outcome.packet.subarray(0, learned.packet.length), learned.packet);
    });
    fc.assert(property, { numRuns: 1500 });
    expect([...seen].sort()).toEqual(['ended', 'told']);
  });

  it('is not believed behind data that nobody can have sent yet, though somebody seems to have', () => {
    for (const of of [4, 6] as const) {
      const mapping = { ...base, out: OUT[of] };
      const direction = { flow: flows[of], mapping, acknowledged: seq(7), remote: undefined, udp: false };
      const error = (far: number, sent: number): Case => {
        const inner = buildTcp({ ...OUT[of], flags: ['ack'], seq: 7 + far, payload: new Uint8Array(1400) });
        const quotation = inner.subarray(0, TUNNEL_OVERHEAD[of] + 20);
        const packet = emitError(
          { source: ROUTER[of], destination: OUT[of].source },
          1280,
          quotation,
          sum(quotation),
        );
        return { of, direction: { ...direction, sent: seq(7 + sent) }, packet };
      };
      for (const [far, sent, counted] of [
        [2 ** 29, 2 ** 30, 'drop-icmp-spliced'],
        [2 ** 22 + 1, 2 ** 23, 'drop-icmp-spliced'],
        [2 ** 22, 2 ** 23, 'splice-told'],
      ] as const) {
        const one = error(far, sent);
        enter(one);
        expect(kernel.run('tpot_ingress', frameOf(one.packet, of)).counted).toEqual({ [counted]: 1 });
        const learned = learnPathMtu(one.packet, nodeAddresses[of], one.direction);
        expect(learned !== undefined).toBe(counted === 'splice-told');
      }
    }
  });

  it('is left alone when it quotes another connection', () => {
    for (const of of [4, 6] as const) {
      const quotation = buildTcp({
        ...OUT[of],
        sourcePort: 1,
        flags: ['ack'],
        payload: new Uint8Array(1000),
      });
      const ends = { source: ROUTER[of], destination: OUT[of].source };
      const packet = emitError(ends, 1280, quotation.subarray(0, 100), sum(quotation.subarray(0, 100)));
      kernel.expect('tpot_ingress', frameOf(packet, of), { verdict: 'untouched' });
    }
  });
});
