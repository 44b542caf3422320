/**
 * Option areas in any order and state of disrepair, in SYNs that come to a node and in SYN-ACKs that come to a source:
 * programs and model do the same. FUZZ_CASES and FUZZ_SEED say how many cases, and which.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, parsePrefix, type Family } from '../core/address.js';
import { TpotFlag } from '../bpf/generated/maps.js';
import { kernelRow } from '../node/kernel-policy.js';
import { clampedMss, rewriteMss } from '../tpot/mss.js';
import type { NodeView } from '../tpot/node.js';
import { findOption } from '../tpot/option.js';
import { flattenRules } from '../tpot/policy.js';
import { judgeReply } from '../tpot/source.js';
import { buildTcp } from '../wire/build.js';
import { TCP_CHECKSUM_OFFSET, TCP_MIN_HEADER } from '../wire/tcp.js';
import { expectedOfSyn } from './bpf-expected.js';
import {
  ETHERNET_HEADER,
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  reversed,
} from './bpf-programs.js';
import { Comparison, expectFrame } from './fuzz/comparison.js';
import { optionArea, spoil } from './fuzz/mutate.js';
import { countIn, fuzzRun, type Random } from './fuzz/random.js';
import { enterNewNetworkNamespace, LOOPBACK_MTU } from './network-namespace.js';

const UNTOUCHED = -1;
const DROP = 2;
const IP_HEADER = { 4: 20, 6: 40 } as const;

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

describe('option areas', () => {
  const view: NodeView = {
    own: Object.values(nodeAddresses),
    policy: flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]),
    edge: false,
    draining: false,
    full: false,
    listening: false,
    capabilities: 0,
  };

  /** The header is spoilt in one of eight, too. */
  function spoiltSyn(random: Random, of: Family): Uint8Array {
    const options = optionArea(random);
    const packet = buildTcp({
      ...flows[of],
      flags: ['syn'],
      options,
      payload: random.bytes(random.below(4)),
    });
    if (random.once(8))
      spoil(random, packet, [0, 2, 3, 4, 5, 6, 9, IP_HEADER[of] + 12, IP_HEADER[of] + 13], 0);
    const cut = random.once(8) ? random.below(TCP_MIN_HEADER + options.length) : 0;
    return packet.subarray(0, packet.length - cut);
  }

  it('of SYNs', () => {
    kernel.programs.setOwnAddresses(view.own);
    kernel.programs.configure({ flags: TpotFlag.NODE, maxConnections: 10 });
    kernel.programs.setPolicy(view.policy.map(kernelRow));
    const { random, cases, done } = fuzzRun('options of SYNs', 1_000_000);
    const comparison = new Comparison(kernel);
    const seen = new Map<string, number>();
    for (let at = 0; at < cases; at++) {
      const of = random.pick<Family>([4, 6]);
      const frame = frameOf(spoiltSyn(random, of), of);
      const { reason } = expectedOfSyn(frame, view);
      countIn(seen, reason ?? 'untouched');
      comparison.run({
        program: 'tpot_ingress',
        frame,
        prepare: () => undefined,
        counted: reason === undefined ? [] : [reason],
        check: (outcome) => {
          if (outcome.verdict !== UNTOUCHED || outcome.mark !== 0) throw new Error('it was touched');
          expectFrame(outcome, frame, frame.subarray(ETHERNET_HEADER));
        },
      });
    }
    comparison.settle();
    done(seen);
    expect([...seen.keys()]).toEqual(expect.arrayContaining(['pass-no-listener', 'pass-hops', 'untouched']));
  });

  it('of SYN-ACKs for SYNs that carried a request', () => {
    const own = [ip('198.18.0.77'), ip('2001:db8::77')];
    const trust = ['198.18.0.0/15', '2001:db8:1::/48']
      .map((text) => parsePrefix(text))
      .filter((one) => one !== undefined);
    kernel.programs.configure({ flags: TpotFlag.SOURCE });
    kernel.programs.setOwnAddresses(own);
    kernel.programs.setTrust(trust);
    const pending = kernel.programs.map('tpotPending');
    const { random, cases, done } = fuzzRun('options of SYN-ACKs', 500_000);
    const comparison = new Comparison(kernel);
    const seen = new Map<string, number>();
    for (let at = 0; at < cases; at++) {
      const of = random.pick<Family>([4, 6]);
      const packet = buildTcp({ ...reversed(flows[of]), flags: ['syn', 'ack'], options: optionArea(random) });
      const frame = frameOf(packet, of);
      const area = packet.subarray(IP_HEADER[of] + TCP_MIN_HEADER);
      const found = findOption(area, 'reply');
      const judged = found === undefined ? 'none' : judgeReply(found, flows[of].source, { own, trust });
      // To a request without a MAC; spoilt options turn out to have one once in a million times.
      const keyed = judged === 'reply-accepted' && found?.mac !== undefined;
      const reason = keyed ? 'drop-reply-unkeyed' : judged;
      countIn(seen, reason);
      const dropped = reason.startsWith('drop-');
      const clamp = (value: number): number =>
        reason === 'none' ? value : clampedMss(value, of, LOOPBACK_MTU);
      const rewritten = rewriteMss(area, clamp);
      const answer = { ...reversed(flows[of]), flags: ['syn', 'ack'] as const };
      const after = dropped ? packet : buildTcp({ ...answer, options: rewritten });
      comparison.run({
        program: 'tpot_ingress',
        frame,
        prepare: () => pending.set(mapFlow(flows[of]), { plain: 0, keyed: 0, verified: 0, unused: 0 }),
        counted: dropped ? [reason] : [],
        check: (outcome) => {
          if (outcome.verdict !== (dropped ? DROP : UNTOUCHED)) throw new Error(reason);
          if (pending.get(mapFlow(flows[of]))?.plain !== (dropped ? 1 : 0)) throw new Error('the next SYN');
          if (!dropped) expectFrame(outcome, frame, after, [IP_HEADER[of] + TCP_CHECKSUM_OFFSET]);
        },
      });
    }
    comparison.settle();
    done(seen);
    expect([...seen.keys()]).toEqual(
      expect.arrayContaining(['none', 'reply-accepted', 'drop-reply-not-unicast']),
    );
  });
});
