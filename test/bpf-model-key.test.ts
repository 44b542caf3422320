/** Keyed requests and replies: the BPF programs against tpot/key.ts, packet by packet (BPF_PROG_TEST_RUN). */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TpotFlag } from '../bpf/generated/maps.js';
import { defaultConfig } from '../bpf/programs.js';
import { parsePrefix, type Family } from '../core/address.js';
import { kernelRow } from '../node/kernel-policy.js';
import { isAuthentic, keyHalves, signed, type Key } from '../tpot/key.js';
import { decideSyn } from '../tpot/node.js';
import { encodeOption, findOption, type ReplyOption, type RequestOption } from '../tpot/option.js';
import { flattenRules } from '../tpot/policy.js';
import { judgeReply } from '../tpot/source.js';
import { plainOption, u16, u32, u8 } from '../wire/arbitraries.props.js';
import { buildTcp } from '../wire/build.js';
import { seq } from '../wire/seq.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  flows,
  frameOf,
  mapFlow,
  nodeAddresses,
  ProgramsUnderTest,
  reversed,
  segmentOf,
} from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

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

const family = fc.constantFrom<Family>(4, 6);
const key = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((secret): Key => ({ id: 'k', secret }));
const keys = fc.array(key, { maxLength: 4 });
/** The keys of the one that signs: those of the one that verifies, in another order, or others. */
const pair = keys.chain((ours) => fc.tuple(fc.constant(ours), fc.oneof(fc.shuffledSubarray(ours), keys)));
/** What happens to an option area on its way: nothing, or one bit of it turns over. */
const flip = fc.option(fc.tuple(fc.nat(39), fc.nat(7)), { nil: undefined });

function spoilt(area: Uint8Array, bit: readonly [number, number] | undefined): Uint8Array {
  const copy = Uint8Array.from(area);
  const at = bit?.[0] ?? copy.length;
  if (bit !== undefined && at < copy.length) copy[at] = (copy[at] ?? 0) ^ (1 << bit[1]);
  return copy;
}

const around = fc.tuple(
  fc.array(plainOption, { maxLength: 1 }),
  fc.array(fc.oneof(plainOption, fc.constant<TcpOption>({ kind: 'nop' })), { maxLength: 2 }),
);
const areaOf = ([before, behind]: readonly [TcpOption[], TcpOption[]], option: TcpOption): Uint8Array =>
  tcpOptions.emit([...before, option, ...behind]).subarray(0, 40);

it('a SYN is admitted as the model says, whatever its keys and however it was changed', () => {
  const policy = flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' as const }]);
  const asked = fc.record({ type: fc.constant('request' as const), hops: u8, capabilities: u16 });
  const seen = new Map<string, number>();
  kernel.programs.configure({
    ...defaultConfig(),
    policy: kernel.programs.config.policy,
    maxConnections: 10,
  });
  kernel.programs.setPolicy(policy.map(kernelRow));
  fc.assert(
    fc.property(
      family,
      pair,
      asked,
      u32,
      around,
      flip,
      fc.record({ requireKey: fc.boolean(), moved: fc.boolean() }),
      (of, [ours, theirs], request: RequestOption, number, others, bit, { requireKey, moved }) => {
        const handshake = { ...flows[of], seq: seq(number), isn: undefined };
        const option = encodeOption(signed(request, handshake, theirs));
        const options = spoilt(areaOf(others, option), bit);
        const sent = { ...flows[of], seq: moved ? (number + 1) >>> 0 : number };
        const frame = frameOf(buildTcp({ ...sent, flags: ['syn'], options }), of);
        kernel.programs.setKeys(ours.map(keyHalves), {
          flags: TpotFlag.NODE | (requireKey ? TpotFlag.REQUIRE_KEY : 0),
        });
        const node = {
          own: [],
          policy,
          edge: false,
          draining: false,
          full: false,
          listening: false,
          capabilities: 0,
        };
        const area = segmentOf(frame)!.tcp.options;
        const { reason } = decideSyn(
          { ...flows[of], seq: seq(sent.seq), options: area },
          { ...node, keys: ours, requireKey },
        );
        kernel.expect('tpot_ingress', frame, { verdict: 'untouched', reason });
        const keyed = findOption(area, 'request')?.mac !== undefined;
        const outcome = `${reason ?? 'none'}${keyed ? ' keyed' : ''}`;
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      },
    ),
    { numRuns: 600 },
  );
  for (const outcome of ['pass-no-listener keyed', 'pass-unkeyed keyed', 'pass-no-listener', 'pass-unkeyed'])
    expect(seen.get(outcome), outcome).toBeGreaterThan(5);
});

describe('a SYN-ACK for a request', () => {
  const trust = [parsePrefix('0.0.0.0/0')!, parsePrefix('::/0')!];

  it('is admitted as the model says, whatever its keys and however it was changed', () => {
    kernel.programs.configure({ ...defaultConfig(), flags: TpotFlag.SOURCE });
    kernel.programs.setTrust(trust);
    const pending = kernel.programs.map('tpotPending');
    const given = fc
      .record({
        type: fc.constant('reply' as const),
        address: fc.constant(nodeAddresses[4]),
        flags: u8,
        capabilities: u16,
      })
      .chain((reply) =>
        fc
          .option(u16, { nil: undefined })
          .map((udpPort): ReplyOption => (udpPort === undefined ? reply : { ...reply, udpPort })),
      );
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        pair,
        given,
        fc.tuple(u32, u32),
        flip,
        fc.record({ keyed: fc.boolean(), moved: fc.boolean() }),
        ([ours, theirs], reply, [number, isn], bit, { keyed, moved }) => {
          const handshake = { ...flows[4], seq: seq(number), isn: seq(isn) };
          const options = spoilt(tcpOptions.emit([encodeOption(signed(reply, handshake, theirs))]), bit);
          const sent = { seq: moved ? (isn + 1) >>> 0 : isn, ack: (number + 1) >>> 0 };
          const packet = buildTcp({ ...reversed(flows[4]), ...sent, flags: ['syn', 'ack'], options });
          const frame = frameOf(packet, 4);
          kernel.programs.setKeys(ours.map(keyHalves));
          const waiting = { plain: 0, keyed: keyed ? 1 : 0, verified: 0, unused: 0 };
          pending.set(mapFlow(flows[4]), waiting);
          const found = findOption(segmentOf(frame)!.tcp.options, 'reply');
          const right = found !== undefined && isAuthentic(found, { ...handshake, isn: seq(sent.seq) }, ours);
          let reason = found === undefined ? 'none' : judgeReply(found, flows[4].source, { own: [], trust });
          const admitted = keyed ? right : found?.mac === undefined;
          if (reason === 'reply-accepted' && !admitted) reason = 'drop-reply-unkeyed';
          const { verdict, counted } = kernel.run('tpot_ingress', frame);
          const dropped = reason.startsWith('drop-');
          expect([verdict, counted]).toEqual(dropped ? [2, { [reason]: 1 }] : [-1, {}]);
          const verified = reason === 'reply-accepted' && keyed ? 1 : 0;
          expect(pending.get(mapFlow(flows[4]))).toEqual({ ...waiting, plain: dropped ? 1 : 0, verified });
          const outcome = `${reason}${keyed ? ' keyed' : ''}`;
          seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
        },
      ),
      { numRuns: 600 },
    );
    for (const outcome of [
      'reply-accepted keyed',
      'drop-reply-unkeyed keyed',
      'reply-accepted',
      'drop-reply-unkeyed',
    ])
      expect(seen.get(outcome), outcome).toBeGreaterThan(5);
  });
});
