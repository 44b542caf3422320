import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip, isTunnelUnicast, parsePrefix, prefixContains, sameIp, type Prefix } from '../core/address.js';
import { address, anyAddress } from '../wire/arbitraries.props.js';
import { isBlackHole, learnBlackHole, type BlackHoleEntry } from './black-hole.js';
import type { ReplyOption } from './option.js';
import {
  DEFAULT_SOURCE,
  judgeReply,
  SOURCE_CLOSED,
  stepSource,
  type SourceAction,
  type SourceConfig,
  type SourceEvent,
  type SourceState,
} from './source.js';

const MINUTE = 60_000;
const client = ip('198.18.0.1');
const server = ip('192.0.2.80');
const trusted: readonly Prefix[] = [parsePrefix('198.18.0.0/15')!, parsePrefix('2001:db8::/32')!];
const config: SourceConfig = { ...DEFAULT_SOURCE, own: [client], trust: trusted };

const replyOf = (text: string): ReplyOption => ({
  type: 'reply',
  address: ip(text),
  flags: 0,
  capabilities: 0,
});
const node = replyOf('198.18.1.1');
const connect: SourceEvent = {
  type: 'connect',
  source: client,
  destination: server,
  known: undefined,
  tunnelsFull: false,
};
const syn: SourceEvent = { type: 'syn', space: 20 };
const synAck = (reply?: ReplyOption, known?: BlackHoleEntry): SourceEvent => ({
  type: 'syn-ack',
  reply,
  known,
});

interface Trace {
  readonly state: SourceState;
  /** Actions of each event. */
  readonly actions: readonly (readonly SourceAction[])[];
}

function run(events: readonly SourceEvent[], using = config, now = 0): Trace {
  let state = SOURCE_CLOSED;
  const actions = events.map((event) => {
    const step = stepSource(state, event, now, using);
    state = step.state;
    return step.actions;
  });
  return { state, actions };
}

const withRequest = (actions: readonly SourceAction[]): boolean =>
  actions.some((action) => action.type === 'send-syn' && action.request !== undefined);
const counted = ({ actions }: Trace): string[] =>
  actions.flat().flatMap((action) => (action.type === 'count' ? [action.reason] : []));
const types = (actions: readonly SourceAction[] | undefined): string[] =>
  (actions ?? []).map(({ type }) => type);

describe('a source on an ordinary path', () => {
  it('pins the connection to the node that replies', () => {
    const trace = run([connect, syn, synAck(node)]);
    expect(trace.state).toMatchObject({ phase: 'tunnelled', node: node.address, reason: 'reply-accepted' });
    expect(trace.actions[2]).toContainEqual({ type: 'pin', reply: node });
    expect(types(trace.actions[2])).toContain('deliver');
    expect(counted(trace)).toEqual(['request-sent', 'reply-accepted']);
  });

  it('is plain TCP when nobody replies, and never an error', () => {
    const trace = run([connect, syn, synAck()]);
    expect(trace.state).toMatchObject({ phase: 'plain', node: undefined, reason: 'reply-none' });
    expect(types(trace.actions[2])).toEqual(['deliver', 'forget-black-hole', 'count']);
  });

  it('stays where it is when another SYN-ACK comes', () => {
    const trace = run([connect, syn, synAck(node), synAck(replyOf('198.18.2.2')), synAck()]);
    expect(trace.state.node).toEqual(node.address);
    expect(trace.actions.slice(3)).toEqual([[{ type: 'deliver' }], [{ type: 'deliver' }]]);
  });

  it('puts its hops and capabilities into the request', () => {
    const { actions } = run([connect, syn], { ...config, hops: 3, capabilities: 0x11 });
    expect(actions[1]).toContainEqual({
      type: 'send-syn',
      request: { type: 'request', hops: 3, capabilities: 0x11 },
    });
  });

  it('accepts the delayed reply to an earlier SYN', () => {
    expect(run([connect, syn, syn, syn, synAck(node)]).state.phase).toBe('tunnelled');
  });
});

describe('a SYN without the request', () => {
  const omits = (event: SourceEvent, using = config): Trace => run([event, syn, syn, synAck(node)], using);

  it.each([
    ['request-omitted-local', { ...connect, destination: ip('127.0.0.5') }],
    ['request-omitted-local', { ...connect, destination: client }],
    ['request-omitted-local', { ...connect, source: ip('2001:db8::1'), destination: ip('::1') }],
    ['request-omitted-black-hole', { ...connect, known: { until: 1, period: 1 } }],
    ['request-omitted-limit', { ...connect, tunnelsFull: true }],
  ])('%s', (reason, event) => {
    const trace = omits(event);
    expect(trace.actions.some(withRequest)).toBe(false);
    expect(counted(trace)).toEqual([reason]);
    // A reply that was not asked for pins nothing.
    expect(trace.state).toMatchObject({ phase: 'plain', node: undefined, reason });
  });

  it('request-no-space', () => {
    const trace = run([connect, { type: 'syn', space: 7 }, { type: 'syn', space: 7 }, synAck()]);
    expect(trace.actions.some(withRequest)).toBe(false);
    expect(counted(trace)).toEqual(['request-no-space']);
  });

  it('is all there is with hops 0, without a reason', () => {
    const trace = omits(connect, { ...config, hops: 0 });
    expect(trace.actions.some(withRequest)).toBe(false);
    expect(counted(trace)).toEqual([]);
  });
});

describe('an invalid reply', () => {
  it.each([
    ['drop-reply-untrusted', '203.0.113.1'],
    ['drop-reply-not-unicast', '224.0.0.1'],
    ['drop-reply-not-unicast', '255.255.255.255'],
    ['drop-reply-not-unicast', '127.0.0.1'],
    ['drop-reply-not-unicast', '0.0.0.0'],
    ['drop-reply-not-unicast', '2001:db8::1'],
    ['drop-reply-own', '198.18.0.1'],
  ])('%s: %s is dropped before TCP sees it, and the next SYN goes plain', (reason, text) => {
    const trace = run([connect, syn, synAck(replyOf(text)), syn, synAck()]);
    expect(types(trace.actions[2])).toEqual(['drop', 'count']);
    expect(withRequest(trace.actions[3] ?? [])).toBe(false);
    expect(counted(trace)).toEqual(['request-sent', reason]);
    expect(trace.state).toMatchObject({ phase: 'plain', reason: 'request-omitted-untrusted' });
  });

  it('is left to TCP when it does not acknowledge our SYN, and the next SYN asks again', () => {
    const forged = [replyOf('203.0.113.1'), replyOf('198.18.1.1'), undefined];
    for (const reply of forged) {
      const answer: SourceEvent = { type: 'syn-ack', reply, acknowledges: false, known: undefined };
      const trace = run([connect, syn, answer, syn]);
      expect(types(trace.actions[2])).toEqual(['deliver']);
      expect(withRequest(trace.actions[3] ?? [])).toBe(true);
      expect(trace.state).toMatchObject({ phase: 'connecting', requests: 2, omitting: undefined });
    }
  });

  it('is no evidence of a black hole', () => {
    const events = [connect, syn, syn, synAck(replyOf('203.0.113.1')), syn, synAck()];
    expect(types(run(events).actions.at(-1))).toEqual(['deliver']);
  });
});

describe('black holes', () => {
  const lost = [connect, syn, syn, syn];

  it('are learnt when the plain SYN is answered', () => {
    const trace = run([...lost, synAck()], config, 1000);
    expect(trace.actions.at(-1)).toContainEqual({
      type: 'remember-black-hole',
      entry: { until: 1000 + 10 * MINUTE, period: 10 * MINUTE },
    });
    expect(counted(trace)).toEqual([
      'request-sent',
      'request-sent',
      'request-omitted-retries',
      'black-hole-learned',
    ]);
    expect(trace.state).toMatchObject({ phase: 'plain', reason: 'request-omitted-retries' });
  });

  it('are not learnt when the plain SYN is not answered either', () => {
    const trace = run([...lost, syn, syn, { type: 'close' }]);
    expect(counted(trace)).not.toContain('black-hole-learned');
    expect(trace.state).toEqual(SOURCE_CLOSED);
  });

  it('double from 10 minutes to 24 hours, once an episode', () => {
    let entry: BlackHoleEntry | undefined;
    const periods: number[] = [];
    for (let episode = 0, now = 0; episode < 10; episode++, now = entry.until) {
      entry = learnBlackHole(entry, now);
      // Connections opened side by side learn the same thing.
      expect(learnBlackHole(entry, now + 1)).toBe(entry);
      expect([isBlackHole(entry, entry.until - 1), isBlackHole(entry, entry.until)]).toEqual([true, false]);
      periods.push(entry.period / MINUTE);
    }
    expect(periods).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
  });

  it('are forgotten when a SYN with the request is answered', () => {
    expect(types(run([connect, syn, synAck(node)]).actions[2])).toContain('forget-black-hole');
    expect(types(run([connect, syn, synAck()]).actions[2])).toContain('forget-black-hole');
  });
});

const anyReply: fc.Arbitrary<ReplyOption> = fc
  .oneof(
    anyAddress,
    fc.constantFrom('127.0.0.1', '224.0.0.9', '198.18.0.1', '198.18.7.7', '2001:db8::7', '::1').map(ip),
  )
  .map((node) => ({ type: 'reply', address: node, flags: 0, capabilities: 0 }));
const anyEntry = fc.option(fc.record({ until: fc.nat(2000), period: fc.nat(2000) }), { nil: undefined });
const anyConnect: fc.Arbitrary<SourceEvent> = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    type: fc.constant('connect' as const),
    source: fc.oneof(address(family), fc.constant(family === 4 ? client : ip('2001:db8::1'))),
    destination: address(family),
    known: anyEntry,
    tunnelsFull: fc.boolean(),
  }),
);
const anyEvent: fc.Arbitrary<SourceEvent> = fc.oneof(
  { weight: 1, arbitrary: anyConnect },
  { weight: 5, arbitrary: fc.record({ type: fc.constant('syn' as const), space: fc.nat(40) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('syn-ack' as const),
      reply: fc.option(anyReply, { nil: undefined }),
      known: anyEntry,
    }),
  },
  { weight: 1, arbitrary: fc.constant<SourceEvent>({ type: 'close' }) },
);

describe('whatever happens', () => {
  const histories = fc.tuple(anyConnect, fc.array(fc.tuple(anyEvent, fc.nat(3000)), { maxLength: 20 }));

  it('keeps every promise of rules 1 to 3', () => {
    fc.assert(
      fc.property(histories, ([first, rest]) => {
        let state = SOURCE_CLOSED;
        for (const [event, now] of [[first, 0] as const, ...rest]) {
          const before = state;
          const step = stepSource(before, event, now, config);
          state = step.state;
          if (withRequest(step.actions)) {
            expect(before.syns).toBeLessThan(config.synsWithRequest);
            expect(before.omitting).toBeUndefined();
          }
          const pins = step.actions.filter((action) => action.type === 'pin');
          if (pins.length > 0) expect([before.phase, before.requests > 0]).toEqual(['connecting', true]);
          // TCP sees a SYN-ACK or it does not: exactly one of the two.
          const fates = step.actions.filter(({ type }) => type === 'deliver' || type === 'drop').length;
          expect(fates).toBe(event.type === 'syn-ack' ? 1 : 0);
          expect(step.actions.filter(({ type }) => type === 'send-syn')).toHaveLength(
            event.type === 'syn' && before.phase === 'connecting' ? 1 : 0,
          );
          expect(state.phase === 'tunnelled').toBe(state.node !== undefined);
          if (state.node === undefined || state.source === undefined) continue;
          const { node: pinned, source } = state;
          expect(isTunnelUnicast(pinned) && pinned.family === source.family).toBe(true);
          expect([source, ...config.own].some((own) => sameIp(own, pinned))).toBe(false);
          expect(trusted.some((prefix) => prefixContains(prefix, pinned))).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('judgeReply', () => {
  it('trusts everything by default, of both families', () => {
    expect(judgeReply(replyOf('203.0.113.1'), client, DEFAULT_SOURCE)).toBe('reply-accepted');
    expect(judgeReply(replyOf('2001:db8:9::1'), ip('2001:db8::1'), DEFAULT_SOURCE)).toBe('reply-accepted');
  });

  it('does not take an IPv4 node for an IPv6 connection, mapped or not', () => {
    const six = ip('2001:db8::1');
    expect(judgeReply(node, six, DEFAULT_SOURCE)).toBe('drop-reply-not-unicast');
    const mapped: ReplyOption = {
      ...node,
      address: { family: 6, bytes: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 198, 18, 1, 1) },
    };
    expect(judgeReply(mapped, six, DEFAULT_SOURCE)).toBe('drop-reply-not-unicast');
  });
});
