import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { anyAddress, bytesUpTo, sequence, u16 } from '../wire/arbitraries.props.js';
import { concat } from '../wire/bytes.js';
import { add, seq } from '../wire/seq.js';
import { TCP_FLAG } from '../wire/tcp.js';
import { tcpOptions, type TcpOption } from '../wire/tcp-options.js';
import {
  decideSyn,
  stepTaken,
  takenState,
  type NodeView,
  type Syn,
  type TakenEvent,
  type TakenState,
} from './node.js';
import { CAPABILITY, encodeOption } from './option.js';
import { flattenRules } from './policy.js';

const own = ip('198.18.1.1');
const everything = { sources: [], destinations: [], ports: [], action: 'relay' };
const yieldsAll = flattenRules([{ ...everything, yields: true }]);
const takeAll = flattenRules([{ sources: [], destinations: [], ports: [], action: 'relay' }]);
const view: NodeView = {
  own: [own],
  policy: takeAll,
  edge: false,
  draining: false,
  full: false,
  listening: true,
  capabilities: 0,
};

const request = (hops = 8): TcpOption => encodeOption({ type: 'request', hops, capabilities: 5 });
const mpJoin: TcpOption = { kind: 'unknown', code: 30, data: Uint8Array.of(0x10, 1, 0, 0, 0, 1, 0, 0, 0, 2) };
const mpCapable: TcpOption = { kind: 'unknown', code: 30, data: Uint8Array.of(0x01, 0x81) };
const synWith = (...options: TcpOption[]): Syn => ({
  source: ip('198.18.0.9'),
  sourcePort: 40000,
  seq: seq(7),
  destination: ip('192.0.2.80'),
  destinationPort: 80,
  options: tcpOptions.emit([{ kind: 'mss', mss: 1460 }, ...options]),
});

describe('decideSyn', () => {
  it('takes a SYN with a request', () => {
    expect(decideSyn(synWith(request()), view)).toEqual({
      take: true,
      reason: 'taken',
      request: { type: 'request', hops: 8, capabilities: 5 },
      forwarded: undefined,
    });
  });

  const allFailing = { ...synWith(request(0), mpJoin), source: own, destination: own };
  it.each<[string, Syn, NodeView]>([
    ['pass-local', { ...synWith(request()), destination: own }, view],
    ['pass-loop', { ...synWith(request()), source: own }, view],
    ['pass-hops', synWith(request(0)), view],
    ['pass-mp-join', synWith(request(), mpJoin), view],
    ['pass-draining', synWith(request()), { ...view, draining: true }],
    ['pass-policy', synWith(request()), { ...view, policy: [] }],
    ['pass-limit', synWith(request()), { ...view, full: true }],
    ['pass-client-limit', synWith(request()), { ...view, clientFull: () => true }],
    ['pass-transforms', synWith(request()), { ...view, policy: yieldsAll, capabilities: 2 }],
    ['pass-no-listener', synWith(request()), { ...view, listening: false }],
    ['pass-local', allFailing, { ...view, draining: true, policy: [], full: true, listening: false }],
  ])('passes with reason %s', (reason, syn, node) => {
    expect(decideSyn(syn, node)).toMatchObject({ take: false, reason });
  });

  it('takes who asks for a transform that it does, or for none, although it yields', () => {
    const node = { ...view, policy: yieldsAll, capabilities: 4 };
    expect(decideSyn(synWith(request()), node).reason).toBe('taken');
    const plain = encodeOption({ type: 'request', hops: 8, capabilities: 0x100 });
    expect(decideSyn(synWith(plain), node).reason).toBe('taken');
  });

  it('leaves SYNs without a request alone and uncounted, except at an edge', () => {
    expect(decideSyn(synWith(), view)).toMatchObject({ take: false, reason: undefined, request: undefined });
    expect(decideSyn(synWith(), { ...view, edge: true })).toMatchObject({ take: true, reason: 'taken-edge' });
    expect(decideSyn(synWith(request()), { ...view, edge: true })).toMatchObject({
      take: true,
      reason: 'taken',
    });
    expect(decideSyn(synWith(request(0)), { ...view, edge: true }).take).toBe(false);
    expect(decideSyn(synWith(mpJoin), { ...view, edge: true }).reason).toBe('pass-mp-join');
  });

  it('takes MP_CAPABLE, which falls back to TCP', () => {
    expect(decideSyn(synWith(mpCapable, request()), view).take).toBe(true);
  });

  it('takes nothing it should not, whatever the option area', () => {
    const syn = fc.record({
      source: anyAddress,
      sourcePort: u16,
      seq: fc.constant(seq(7)),
      destination: anyAddress,
      destinationPort: u16,
      options: bytesUpTo(40),
    });
    const node = fc.record({
      edge: fc.boolean(),
      draining: fc.boolean(),
      full: fc.boolean(),
      listening: fc.boolean(),
    });
    const withRequest = fc.tuple(syn, fc.boolean()).map(([one, asks]) => ({
      ...one,
      options: asks ? concat(tcpOptions.emit([request(1)]), one.options) : one.options,
    }));
    fc.assert(
      fc.property(withRequest, node, (one, some) => {
        const decision = decideSyn(one, { ...view, ...some });
        expect(decision.take).toBe(decision.reason === 'taken' || decision.reason === 'taken-edge');
        if (some.draining || some.full || !some.listening) expect(decision.take).toBe(false);
        if (decision.request === undefined && !some.edge) expect(decision.take).toBe(false);
      }),
    );
  });
});

const segment = (tunnelled: boolean, flags: number, ack = 0): TakenEvent => ({
  type: 'segment',
  tunnelled,
  tcp: { flags, ack: seq(ack) },
});
const { ack: ACK, rst: RST, syn: SYN } = TCP_FLAG;
const answered = (isn: number): TakenState => ({ phase: 'syn-answered', isn: seq(isn) });

describe('the first segment after the SYN-ACK (rule 8)', () => {
  it('makes the connection tunnelled when it came by tunnel; plain ones then pass untouched', () => {
    const { state, ...step } = stepTaken(answered(100), segment(true, ACK, 101));
    expect([state, step]).toEqual([{ phase: 'tunnelled' }, { verdict: 'deliver', reason: 'decap-ok' }]);
    for (const flags of [ACK, RST, RST | ACK]) {
      const after = stepTaken(state, segment(false, flags, 101));
      expect(after).toEqual({ state, verdict: 'pass', reason: 'pass-plain-of-tunnelled' });
    }
  });

  it('makes it plain when it came plain and acknowledges our initial sequence number, across the wrap too', () => {
    for (const [isn, ack] of [
      [100, 101],
      [0xffffffff, 0],
    ] as const) {
      const step = stepTaken(answered(isn), segment(false, ACK, ack));
      expect(step).toEqual({ state: { phase: 'plain' }, verdict: 'deliver', reason: 'taken-reply-stripped' });
      expect(stepTaken(step.state, segment(false, ACK, 5000)).verdict).toBe('deliver');
    }
  });

  it('leaves it open when it came plain and acknowledges something else', () => {
    for (const event of [segment(false, ACK, 100), segment(false, ACK, 102), segment(false, RST, 101)]) {
      expect(stepTaken(answered(100), event)).toMatchObject({ state: answered(100), verdict: 'pass' });
    }
    expect(stepTaken({ phase: 'syn-received' }, segment(false, ACK, 1)).verdict).toBe('pass');
  });

  it('is never a tunnelled SYN', () => {
    const step = stepTaken(answered(100), segment(true, SYN, 0));
    expect(step).toEqual({ state: answered(100), verdict: 'drop', reason: 'drop-decap-unknown' });
  });

  it('does not matter at an edge, where no tunnel was offered', () => {
    const edge = takenState(decideSyn(synWith(), { ...view, edge: true }));
    expect(stepTaken(edge, segment(false, ACK, 9)).verdict).toBe('deliver');
    expect(stepTaken(edge, segment(true, ACK, 9)).reason).toBe('drop-decap-unknown');
    expect(stepTaken(edge, { type: 'syn-ack-sent', isn: seq(1) }).state).toBe(edge);
  });

  it('decides once and for all', () => {
    const event = fc.oneof(
      sequence.map((isn): TakenEvent => ({ type: 'syn-ack-sent', isn })),
      fc
        .tuple(fc.boolean(), fc.constantFrom(ACK, RST, SYN, SYN | ACK), fc.constantFrom(101, 7))
        .map(([t, f, a]) => segment(t, f, a)),
    );
    fc.assert(
      fc.property(sequence, fc.array(event, { maxLength: 12 }), (isn, events) => {
        let state: TakenState = takenState(decideSyn(synWith(request()), view));
        state = stepTaken(state, { type: 'syn-ack-sent', isn }).state;
        let decided: string | undefined;
        for (const one of events) {
          const step = stepTaken(state, one);
          if (
            step.reason === 'taken-reply-stripped' &&
            state.phase === 'syn-answered' &&
            one.type === 'segment'
          ) {
            expect(one.tcp.ack).toBe(add(state.isn, 1));
          }
          state = step.state;
          if (state.phase === 'tunnelled' || state.phase === 'plain') decided ??= state.phase;
          if (decided !== undefined) expect(state.phase).toBe(decided);
        }
      }),
    );
  });
});

describe('a trace (rule 11)', () => {
  const tracing = { ...view, capabilities: CAPABILITY.trace };
  const trace = (hops: number): TcpOption =>
    encodeOption({ type: 'request', hops, capabilities: CAPABILITY.trace });

  it('goes on with one hop less, and is taken by the node at which one is left', () => {
    let syn = synWith(trace(3));
    for (const hops of [2, 1]) {
      const decision = decideSyn(syn, tracing);
      expect(decision).toMatchObject({ take: false, reason: 'trace-forwarded' });
      expect(decision.forwarded).toEqual(synWith(trace(hops)).options);
      syn = { ...syn, options: decision.forwarded ?? syn.options };
    }
    expect(decideSyn(syn, tracing)).toMatchObject({ take: true, reason: 'taken', forwarded: undefined });
  });

  it('is an ordinary request to a node that does not know it', () => {
    expect(decideSyn(synWith(trace(3)), view)).toMatchObject({ take: true, reason: 'taken' });
  });

  it('does not count a node that would not take it', () => {
    for (const change of [{ draining: true }, { full: true }, { listening: false }, { policy: [] }]) {
      expect(decideSyn(synWith(trace(3)), { ...tracing, ...change }).forwarded).toBeUndefined();
    }
  });
});
