/**
 * Return tunnels (protocol rule 13): how a node gets through to a source when a stateful filter between them drops what it
 * sends, for one connection whose source takes them: a pure function of state and event.
 *
 * ```
 *   plain ── a sign that nothing gets through ──▶ return tunnel ── 4 more in a row ──▶ plain ── as many ──▶ …
 *                                                   │ its source goes on soon
 *                                                   └──▶ remembered: its connections begin in a return tunnel
 * ```
 *
 * Signs, of a connection that has its socket: its retransmission timer runs out twice in a row, or its source sends the same
 * segment for the third time in a row. Of a spliced one: what comes for the third time, from the server the first segment
 * that a silent client has not acknowledged, from the client one that the server has. Nothing is remembered of the latter:
 * every node of a chain sees the same. Signs within a second are one, as both directions show them.
 */
import { isBlackHole, type BlackHoleEntry } from './black-hole.js';
import type { ReasonCode } from './reasons.js';
import { diff, seq, type Seq } from '../wire/seq.js';

const TIMEOUTS_BEFORE = 1;
/** Links make copies, and acknowledgments are lost: once is no sign. */
const SENT_AGAIN = 2;
/** The next node of a chain may have to find out the same, so the tunnel, the likelier way by then, is kept for some time. */
const SIGNS_TO_LEAVE = 4;
const ONE_SIGN_MS = 1000;
/** Segments between two signs: by a way that does not get through there leave two at most. */
const MOVES = 8;
/** What takes more signs than this to be answered was something else than a filter. */
const SOON = 1;

/** What came last, and how often again. */
interface Repeated {
  readonly sequence: Seq;
  readonly times: number;
}

export interface ReturnState {
  readonly way: 'plain' | 'tunnel';
  /** It has an entry in the table of tunnels, which it keeps to its end. */
  readonly opened: boolean;
  /** Segments since the last sign, once there is an entry; counted until they are enough. */
  readonly moves: number;
  /** In a row. */
  readonly signs: number;
  /** When the last one was, or the tunnel was opened, on the clock of the caller in milliseconds. */
  readonly signAt: number;
  /** The last segment with data of the source, of a connection that has its socket. */
  readonly last: Repeated;
  /** What had been acknowledged when the tunnel was taken up; undefined once it is answered, and on the plain way. */
  readonly unanswered: Seq | undefined;
  /** Of a spliced connection, what came again from either end. */
  readonly stalled: Readonly<Record<'client' | 'server', Repeated | undefined>>;
}

/** `room`: whether the table of tunnels has room. `now` in milliseconds. */
export type ReturnEvent = { readonly room: boolean; readonly now: number } & (
  | /** A retransmission timer has run out, `before` times in a row before that. */
    { readonly type: 'timeout'; readonly before: number; readonly acknowledged: Seq }
    /** A segment of the source of a connection that has its socket. `heard`: that has got it before. */
  | {
      readonly type: 'source';
      readonly seq: Seq;
      readonly ack: Seq;
      readonly payload: number;
      readonly heard: boolean;
    }
  /** A segment has left for the source. */
  | { readonly type: 'sent' }
  /**
   * Of a spliced connection: `mark`, from the server what the client has not acknowledged, from the client what the server
   * has, comes again. `silent`: the client has sent nothing for half a second.
   */
  | {
      readonly type: 'again';
      readonly from: 'client' | 'server';
      readonly mark: Seq;
      readonly silent: boolean;
    }
);

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

const PLAIN: ReturnState = {
  way: 'plain',
  opened: false,
  moves: 0,
  signs: 0,
  signAt: 0,
  last: { sequence: seq(0), times: 0 },
  unanswered: undefined,
  stalled: { client: undefined, server: undefined },
};

/** `known` is what is remembered of the source: that it has needed a return tunnel. `now` in milliseconds. */
export function startReturn(known: BlackHoleEntry | undefined, now: number, room: boolean): ReturnStep {
  if (!isBlackHole(known, now)) return step(PLAIN);
  if (!room) return step(PLAIN, ['table-full']);
  return step({ ...PLAIN, way: 'tunnel', opened: true, moves: MOVES, signAt: now }, ['return-remembered']);
}

/** `acknowledged`: what the source has; undefined where nothing is remembered. */
function noteSign(state: ReturnState, { room, now }: ReturnEvent, acknowledged?: Seq): ReturnStep {
  if (!state.opened) {
    if (!room) return step(state, ['table-full']);
    const open = { way: 'tunnel', opened: true, signAt: now, unanswered: acknowledged } as const;
    return step({ ...state, ...open }, ['return-tunnel']);
  }
  if (now - state.signAt < ONE_SIGN_MS) return step(state);
  const signs = state.moves >= MOVES ? 1 : state.signs + 1;
  const noted = { ...state, moves: 0, signAt: now };
  if (signs < SIGNS_TO_LEAVE) return step({ ...noted, signs });
  if (state.way === 'plain') return step({ ...noted, signs: 0, way: 'tunnel', unanswered: acknowledged });
  const left = { ...noted, signs: 0, way: 'plain', unanswered: undefined } as const;
  return step(left, ['return-given-up'], ['forget-source']);
}

type Of<T extends ReturnEvent['type']> = Extract<ReturnEvent, { readonly type: T }>;

function noteAgain(state: ReturnState, event: Of<'again'>): ReturnStep {
  const { from, mark, silent } = event;
  const known = state.stalled[from];
  const times = known?.sequence === mark ? Math.min(known.times + 1, SENT_AGAIN) : 1;
  const noted = { ...state, stalled: { ...state.stalled, [from]: { sequence: mark, times } } };
  const first = known?.sequence !== mark;
  return first || (from === 'server' && !silent) ? step(noted) : noteSign(noted, event);
}

function noteSource(state: ReturnState, event: Of<'source'>): ReturnStep {
  const { unanswered, last } = state;
  const goesOn = event.payload > 0 && diff(event.seq, last.sequence) > 0;
  const answered = unanswered !== undefined && (diff(event.ack, unanswered) > 0 || goesOn);
  const heard = answered ? { ...state, unanswered: undefined } : state;
  const actions: ReturnAction[] = answered && state.signs <= SOON ? ['remember-source'] : [];
  if (event.payload === 0) return step(heard, [], actions);
  if (event.seq !== last.sequence)
    return step({ ...heard, last: { sequence: event.seq, times: 0 } }, [], actions);
  const again = { ...heard, last: { ...last, times: last.times + 1 } };
  if (again.last.times < SENT_AGAIN || !event.heard) return step(again, [], actions);
  const sign = noteSign(again, event, event.ack);
  return { ...sign, actions: [...actions, ...sign.actions] };
}

/** One step of a connection whose source takes return tunnels. */
export function stepReturn(state: ReturnState, event: ReturnEvent): ReturnStep {
  switch (event.type) {
    case 'sent':
      return step(state.opened ? { ...state, moves: Math.min(state.moves + 1, MOVES) } : state);
    case 'again':
      return noteAgain(state, event);
    case 'source':
      return noteSource(state, event);
    case 'timeout':
      return event.before < TIMEOUTS_BEFORE ? step(state) : noteSign(state, event, event.acknowledged);
  }
}
