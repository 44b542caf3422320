import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seq } from '../wire/seq.js';
import {
  startReturn,
  stepReturn,
  type ReturnAction,
  type ReturnEvent,
  type ReturnState,
  type ReturnStep,
} from './return.js';

const fresh = startReturn(undefined, 0, true).state;
const timeout = (retransmissions: number, room = true): ReturnEvent => ({
  type: 'timeout',
  retransmissions,
  room,
});
const again = (at: number, room = true): ReturnEvent => ({
  type: 'sent-again',
  unacknowledged: seq(at),
  room,
});
const sent: ReturnEvent = { type: 'sent' };
const segments = (count: number): ReturnEvent[] => Array.from({ length: count }, () => sent);

function run(state: ReturnState, ...events: readonly ReturnEvent[]): ReturnStep {
  let all: ReturnStep = { state, actions: [], reasons: [] };
  for (const event of events) {
    const next = stepReturn(all.state, event);
    all = {
      state: next.state,
      actions: [...all.actions, ...next.actions],
      reasons: [...all.reasons, ...next.reasons],
    };
  }
  return all;
}

const anyEvent = fc.oneof(
  fc.tuple(fc.nat({ max: 3 }), fc.boolean()).map(([count, room]) => timeout(count, room)),
  fc.tuple(fc.constantFrom(1, 2), fc.boolean()).map(([at, room]) => again(at, room)),
  fc.constant(sent),
);
const anyStart = fc.constantFrom(fresh, startReturn({ until: 1, period: 1 }, 0, true).state);
const reached = fc.tuple(anyStart, fc.array(anyEvent)).map(([start, events]) => run(start, ...events).state);

describe('a return tunnel', () => {
  it('begins with a connection of a source that has needed one, for as long as that is remembered', () => {
    expect([fresh.way, fresh.opened]).toEqual(['plain', false]);
    const known = { until: 100, period: 100 };
    expect(startReturn(known, 99, true)).toMatchObject({
      state: { way: 'tunnel', opened: true },
      reasons: ['return-remembered'],
    });
    expect(startReturn(known, 100, true).state).toEqual(fresh);
    expect(startReturn(known, 99, false)).toEqual({ state: fresh, actions: [], reasons: ['table-full'] });
  });

  it('begins at the second timeout in a row, and each that follows changes the way', () => {
    expect(run(fresh, timeout(0), timeout(0)).state).toEqual(fresh);
    const tunnel = run(fresh, timeout(0), timeout(1));
    expect([tunnel.state.way, tunnel.reasons]).toEqual(['tunnel', ['return-tunnel']]);
    const plain = run(tunnel.state, timeout(2));
    expect([plain.state.way, plain.reasons, plain.actions]).toEqual([
      'plain',
      ['return-given-up'],
      ['forget-source'],
    ]);
    expect(run(plain.state, timeout(3))).toMatchObject({ state: { way: 'tunnel' }, reasons: [] });
  });

  it('of a spliced connection begins when the first unacknowledged segment comes a third time', () => {
    expect(run(fresh, again(1), again(1)).state.way).toBe('plain');
    expect(run(fresh, again(1), again(1), again(1)).state.way).toBe('tunnel');
    expect(run(fresh, again(1), again(1), again(2), again(1), again(1)).state.way).toBe('plain');
    expect(run(fresh, again(1), again(1), again(1), again(1)).state.way).toBe('plain');
  });

  it('has remembered its source when 8 segments have left by it, once', () => {
    const tunnel = run(fresh, timeout(1)).state;
    expect(run(tunnel, ...segments(7)).actions).toEqual([]);
    expect(run(tunnel, ...segments(20)).actions).toEqual(['remember-source']);
    expect(run(tunnel, ...segments(7), timeout(2), timeout(3), sent).actions).toEqual(['forget-source']);
  });

  it('does without where the table has no room, and tries anew at each timeout', () => {
    expect(run(fresh, timeout(1, false))).toEqual({ state: fresh, actions: [], reasons: ['table-full'] });
    expect(run(fresh, timeout(1, false), timeout(2)).state.way).toBe('tunnel');
    const plain = run(fresh, timeout(1), timeout(2)).state;
    expect(run(plain, timeout(3, false)).state.way).toBe('tunnel'); // it has its entry
  });

  it('never stays on a way that did not get through, whatever has happened before', () => {
    fc.assert(
      fc.property(reached, fc.integer({ min: 1, max: 15 }), (state, count) => {
        const once = run(state, timeout(count)).state;
        expect(once.way).not.toBe(state.way);
        expect(run(once, timeout(count + 1)).state.way).toBe(state.way);
      }),
    );
  });

  it('is proven by 8 segments in a row of one way only', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let state = fresh;
        let since = 0;
        for (const event of events) {
          const next = stepReturn(state, event);
          if (next.state.way !== state.way) since = 0;
          else if (event.type === 'sent' && state.way === 'tunnel') since++;
          const proven: ReturnAction[] = next.actions.filter((action) => action === 'remember-source');
          expect(proven.length).toBe(event.type === 'sent' && state.way === 'tunnel' && since === 8 ? 1 : 0);
          state = next.state;
        }
      }),
    );
  });
});
