import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seq } from '../wire/seq.js';
import { startReturn, stepReturn, type ReturnEvent, type ReturnState, type ReturnStep } from './return.js';

const SECOND = 1000;
const fresh = startReturn(undefined, 0, true).state;
const at = (now: number, room = true): { now: number; room: boolean } => ({ now, room });
const timeout = (now: number, before = 1, room = true): ReturnEvent => ({
  type: 'timeout',
  before,
  acknowledged: seq(10),
  ...at(now, room),
});
const sent: ReturnEvent = { type: 'sent', ...at(0) };
const source = (
  now: number,
  fields: { seq?: number; ack?: number; payload?: number; heard?: boolean } = {},
): ReturnEvent => ({
  type: 'source',
  seq: seq(fields.seq ?? 1),
  ack: seq(fields.ack ?? 10),
  payload: fields.payload ?? 1,
  heard: fields.heard ?? true,
  ...at(now),
});
const again = (now: number, from: 'client' | 'server', mark = 1, silent = true): ReturnEvent => ({
  type: 'again',
  from,
  mark: seq(mark),
  silent,
  ...at(now),
});

function run(state: ReturnState, ...events: readonly ReturnEvent[]): ReturnStep {
  let all: ReturnStep = { state, actions: [], reasons: [] };
  for (const event of events) {
    const next = stepReturn(all.state, event);
    const actions = [...all.actions, ...next.actions];
    all = { state: next.state, actions, reasons: [...all.reasons, ...next.reasons] };
  }
  return all;
}
/** As many signs, each by itself. */
const signs = (count: number, from = 1): ReturnEvent[] =>
  Array.from({ length: count }, (_, index) => timeout((from + index) * SECOND));

describe('a return tunnel', () => {
  it('begins with a connection of a source that has needed one, for as long as that is remembered', () => {
    expect([fresh.way, fresh.opened]).toEqual(['plain', false]);
    const known = { until: 100, period: 100 };
    expect(startReturn(known, 99, true)).toMatchObject({
      state: { way: 'tunnel', opened: true, unanswered: undefined },
      reasons: ['return-remembered'],
    });
    expect(startReturn(known, 100, true).state).toEqual(fresh);
    expect(startReturn(known, 99, false)).toEqual({ state: fresh, actions: [], reasons: ['table-full'] });
  });

  it('begins at the second timeout in a row', () => {
    expect(run(fresh, timeout(0, 0), timeout(9, 0)).state).toEqual(fresh);
    expect(run(fresh, timeout(0, 0), timeout(1, 1))).toMatchObject({
      state: { way: 'tunnel' },
      reasons: ['return-tunnel'],
    });
  });

  it('begins when its source sends for the third time what has arrived', () => {
    const send = source(0);
    expect(run(fresh, send, send).state.way).toBe('plain');
    expect(run(fresh, send, send, send).state.way).toBe('tunnel');
    expect(run(fresh, send, send, source(0, { seq: 2 }), send, send).state.way).toBe('plain');
    const bare = source(0, { payload: 0 });
    expect(run(fresh, send, bare, bare, bare).state.way).toBe('plain');
    const forged = source(0, { heard: false });
    expect(run(fresh, forged, forged, forged, forged).state.way).toBe('plain');
  });

  it('of a spliced connection begins with what comes for the third time', () => {
    for (const from of ['client', 'server'] as const) {
      const one = again(0, from);
      expect(run(fresh, one).state.way).toBe('plain');
      expect(run(fresh, one, one).state.way).toBe('tunnel');
      expect(run(fresh, one, again(0, from, 2), one).state.way).toBe('plain');
    }
    expect(run(fresh, again(0, 'client'), again(0, 'server')).state.way).toBe('plain');
    const answered = again(0, 'server', 1, false);
    expect(run(fresh, answered, answered, answered).state.way).toBe('plain');
    expect(run(fresh, answered, again(0, 'server')).state.way).toBe('tunnel');
  });

  it('is left after four signs in a row, and so is the plain way then', () => {
    const tunnel = run(fresh, timeout(0)).state;
    expect(run(tunnel, ...signs(3)).state.way).toBe('tunnel');
    const plain = run(tunnel, ...signs(4));
    expect(plain).toMatchObject({
      state: { way: 'plain' },
      reasons: ['return-given-up'],
      actions: ['forget-source'],
    });
    expect(run(plain.state, ...signs(3, 5)).state.way).toBe('plain');
    expect(run(plain.state, ...signs(4, 5))).toMatchObject({ state: { way: 'tunnel' }, reasons: [] });
  });

  it('takes signs within a second for one', () => {
    const many = Array.from({ length: 20 }, (_, index) => timeout(index * 50));
    expect(run(fresh, timeout(0), ...many).state).toMatchObject({ way: 'tunnel', signs: 0 });
  });

  it('is not left while segments get through between the signs', () => {
    const moves = Array.from({ length: 8 }, () => sent);
    const events = signs(40).flatMap((one) => [...moves, one]);
    expect(run(fresh, timeout(0), ...events).state).toMatchObject({ way: 'tunnel', signs: 1 });
    const left = run(fresh, timeout(0), ...signs(4)).state;
    expect(run(left, ...signs(40, 5).flatMap((one) => [...moves, one])).state.way).toBe('plain');
    const few = signs(4).flatMap((one) => [sent, sent, one]);
    expect(run(fresh, timeout(0), ...few).state.way).toBe('plain');
  });

  it('is remembered when its source goes on, once, and not by what has come of the plain way', () => {
    const tunnel = run(fresh, source(0, { seq: 5 }), timeout(0)).state;
    expect(run(tunnel, source(1, { seq: 5, ack: 10, payload: 0 })).actions).toEqual([]);
    expect(run(tunnel, source(1, { seq: 6, ack: 11, payload: 0 })).actions).toEqual(['remember-source']);
    expect(run(tunnel, source(1, { seq: 6 }), source(2, { seq: 7 })).actions).toEqual(['remember-source']);
    const given = run(tunnel, ...signs(4), source(5000, { seq: 6, ack: 11 }));
    expect(given.actions).toEqual(['forget-source']);
  });

  it('does without where the table has no room, and tries anew at each sign', () => {
    expect(run(fresh, timeout(0, 1, false))).toEqual({ state: fresh, actions: [], reasons: ['table-full'] });
    expect(run(fresh, timeout(0, 1, false), timeout(1)).state.way).toBe('tunnel');
  });

  const anyEvent = fc.oneof(
    fc.tuple(fc.nat({ max: 2 }), fc.boolean()).map(([before, room]) => timeout(0, before, room)),
    fc
      .record({ seq: fc.nat({ max: 2 }), ack: fc.nat({ max: 12 }), heard: fc.boolean() })
      .map((one) => source(0, one)),
    fc
      .tuple(fc.constantFrom('client' as const, 'server' as const), fc.nat({ max: 1 }))
      .map(([from, mark]) => again(0, from, mark)),
    fc.constant(sent),
  );
  const history = fc.array(fc.tuple(anyEvent, fc.nat({ max: 3000 })), { maxLength: 60 }).map((events) => {
    let now = 0;
    return events.map(([event, after]): ReturnEvent => ({ ...event, now: (now += after) }));
  });

  it('changes the way after four signs on it at the earliest, and never stays on one that does not get through', () => {
    fc.assert(
      fc.property(history, (events) => {
        let { state } = startReturn(undefined, 0, true);
        let since = 0;
        for (const event of events) {
          const { state: next } = stepReturn(state, event);
          if (next.signAt !== state.signAt) since++;
          if (next.way !== state.way) {
            expect(since).toBeGreaterThanOrEqual(state.opened ? 4 : 0);
            since = 0;
          }
          state = next;
        }
        const now = (events.at(-1)?.now ?? 0) + SECOND;
        const dead = Array.from({ length: 4 }, (_, index) => timeout(now + index * SECOND));
        expect(run(state, ...dead).state.way).not.toBe(state.way);
      }),
    );
  });

  it('is remembered only by an answer to what it has sent', () => {
    fc.assert(
      fc.property(history, (events) => {
        let { state } = startReturn(undefined, 0, true);
        for (const event of events) {
          const next = stepReturn(state, event);
          if (next.actions.includes('remember-source')) {
            expect([state.way, event.type, state.unanswered === undefined]).toEqual([
              'tunnel',
              'source',
              false,
            ]);
          }
          state = next.state;
        }
      }),
    );
  });
});
