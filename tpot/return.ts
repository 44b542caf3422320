/**
 * Return tunnels (protocol rule 13): how a node gets through to a source when a stateful filter between them drops what it
 * sends, for one connection whose source takes them: a pure function of state and event.
 *
 * ```
 *   plain ── a second timeout in a row, or sent again a third time ──▶ return tunnel ── the next one ──▶ plain …
 *     ▲                                                                │ 8 segments with data
 *     └─ the source has needed one before: it begins in the tunnel ◀───┴─▶ remembered; forgotten when given up
 * ```
 *
 * The first timeout may be a lost segment. A way on which nothing gets through sees one segment for each timeout and is left
 * at the next, so several in a row are an answer. Bare acknowledgments are none: they answer what arrives.
 */
import { isBlackHole, type BlackHoleEntry } from './black-hole.js';
import type { ReasonCode } from './reasons.js';
import type { Seq } from '../wire/seq.js';

const UNANSWERED_TIMEOUTS = 1;
/** Of a spliced connection, segments at the edge of what is acknowledged: one may be a fast retransmission. */
const SENT_AGAIN = 3;
const PROVEN = 8;

export interface ReturnState {
  readonly way: 'plain' | 'tunnel';
  /** It has an entry in the table of tunnels, which it keeps to its end. */
  readonly opened: boolean;
  /** With data, by the tunnel since it was taken up; counted until they are enough. */
  readonly segments: number;
  /** What was sent again last, and how often in a row. */
  readonly stalled: { readonly sequence: Seq; readonly times: number } | undefined;
}

/** `room`: whether the table of tunnels has room. */
export type ReturnEvent =
  /** A retransmission timer has run out, `retransmissions` times in a row before. */
  | { readonly type: 'timeout'; readonly retransmissions: number; readonly room: boolean }
  /** A segment with data has left by the tunnel. */
  | { readonly type: 'sent' }
  /** Of a spliced connection: the segment that holds `unacknowledged`, the first byte that is, comes again. */
  | { readonly type: 'sent-again'; readonly unacknowledged: Seq; readonly room: boolean };

/** Further connections of the source begin in a return tunnel, for as long as a black hole is remembered; or do so no more. */
export type ReturnAction = 'remember-source' | 'forget-source';

export interface ReturnStep {
  readonly state: ReturnState;
  readonly actions: readonly ReturnAction[];
  readonly reasons: readonly ReasonCode[];
}

const step = (
  state: ReturnState,
  reasons: readonly ReasonCode[] = [],
  actions: readonly ReturnAction[] = [],
): ReturnStep => ({ state, actions, reasons });

/** `known` is what is remembered of the source: that it has needed a return tunnel. `now` in milliseconds. */
export function startReturn(known: BlackHoleEntry | undefined, now: number, room: boolean): ReturnStep {
  const plain: ReturnState = { way: 'plain', opened: false, segments: 0, stalled: undefined };
  if (!isBlackHole(known, now)) return step(plain);
  if (!room) return step(plain, ['table-full']);
  return step({ ...plain, way: 'tunnel', opened: true, segments: PROVEN }, ['return-remembered']);
}

/** The way that nothing has got through is left for the other one. */
function changeWay(state: ReturnState, room: boolean): ReturnStep {
  if (!state.opened) {
    if (!room) return step(state, ['table-full']);
    return step({ ...state, way: 'tunnel', opened: true, segments: 0 }, ['return-tunnel']);
  }
  if (state.way === 'plain') return step({ ...state, way: 'tunnel', segments: 0 });
  return step({ ...state, way: 'plain', segments: 0 }, ['return-given-up'], ['forget-source']);
}

function noteSent(state: ReturnState): ReturnStep {
  if (state.way === 'plain' || state.segments === PROVEN) return step(state);
  const segments = state.segments + 1;
  return step({ ...state, segments }, [], segments === PROVEN ? ['remember-source'] : []);
}

function noteSentAgain(state: ReturnState, sequence: Seq, room: boolean): ReturnStep {
  const { stalled } = state;
  if (stalled?.sequence !== sequence) return step({ ...state, stalled: { sequence, times: 1 } });
  const times = stalled.times + 1;
  if (times >= SENT_AGAIN) return changeWay(state, room);
  return step({ ...state, stalled: { sequence, times } });
}

/** One step of a connection whose source takes return tunnels. */
export function stepReturn(state: ReturnState, event: ReturnEvent): ReturnStep {
  if (event.type === 'sent') return noteSent(state);
  if (event.type === 'sent-again') return noteSentAgain(state, event.unacknowledged, event.room);
  return event.retransmissions < UNANSWERED_TIMEOUTS ? step(state) : changeWay(state, event.room);
}
