/**
 * The source's side of the handshake (protocol rules 1 to 3), for one connection: a pure function of state, event
 * and time. A client's shim and a node towards its next hop are both sources.
 *
 * ```
 *            connect            syn (n times)                 syn-ack, valid reply
 *   closed ──────────▶ connecting ─────────┐ ───────────────────────────────────▶ tunnelled
 *                        ▲   │  └──────────┘ ───────────────────────────────────▶ plain
 *                        └───┘                 syn-ack, no reply
 *              syn-ack, invalid reply: dropped, the next SYNs go plain
 * ```
 */
import { isTunnelUnicast, prefixContains, sameIp, type IpAddress, type Prefix } from '../core/address.js';
import {
  DEFAULT_BLACK_HOLE_LIMITS,
  isBlackHole,
  learnBlackHole,
  type BlackHoleEntry,
  type BlackHoleLimits,
} from './black-hole.js';
import { OPTION_LENGTH, type ReplyOption, type RequestOption } from './option.js';
import type { ReasonCode } from './reasons.js';

export interface SourceConfig {
  /** How many more nodes may take the connection; 0 sends no request. */
  readonly hops: number;
  readonly capabilities: number;
  /** SYNs that carry the request before one goes without. */
  readonly synsWithRequest: number;
  /** Every address of this machine. */
  readonly own: readonly IpAddress[];
  readonly trust: readonly Prefix[];
  readonly blackHoles: BlackHoleLimits;
  /** Requests have a MAC, and replies must. Default: no. */
  readonly keyed?: boolean;
}

export const DEFAULT_SYNS_WITH_REQUEST = 2;

/** The choices of a source that was told nothing else. */
export const DEFAULT_SOURCE: SourceConfig = {
  hops: 8,
  capabilities: 0,
  synsWithRequest: DEFAULT_SYNS_WITH_REQUEST,
  own: [],
  trust: [
    { address: { family: 4, bytes: new Uint8Array(4) }, length: 0 },
    { address: { family: 6, bytes: new Uint8Array(16) }, length: 0 },
  ],
  blackHoles: DEFAULT_BLACK_HOLE_LIMITS,
};

export interface SourceState {
  readonly phase: 'closed' | 'connecting' | 'tunnelled' | 'plain';
  readonly source: IpAddress | undefined;
  readonly destination: IpAddress | undefined;
  /** SYNs sent so far, and how many of them carried the request. */
  readonly syns: number;
  readonly requests: number;
  /** Why no SYN from now on carries the request; undefined while they may. */
  readonly omitting: ReasonCode | undefined;
  /** The node that the connection is pinned to. */
  readonly node: IpAddress | undefined;
  /** What became of the connection, or what is known so far. */
  readonly reason: ReasonCode | undefined;
}

export type SourceEvent =
  /** TCP is about to connect. `known` is what the black-hole table says of the destination. */
  | {
      readonly type: 'connect';
      readonly source: IpAddress;
      readonly destination: IpAddress;
      readonly known: BlackHoleEntry | undefined;
      readonly tunnelsFull: boolean;
    }
  /** TCP sends the SYN, for the first time or again, and has `space` bytes left for options. */
  | { readonly type: 'syn'; readonly space: number }
  /** A SYN-ACK has arrived and TCP has not seen it yet. */
  | {
      readonly type: 'syn-ack';
      readonly reply: ReplyOption | undefined;
      /** Whether it acknowledges our SYN and nothing else; default: yes. */
      readonly acknowledges?: boolean;
      /** Whether the reply's MAC is that of one of our keys (key.ts); counts where `keyed`. */
      readonly authentic?: boolean;
      readonly known: BlackHoleEntry | undefined;
    }
  | { readonly type: 'close' };

export type SourceAction =
  | { readonly type: 'count'; readonly reason: ReasonCode }
  | { readonly type: 'send-syn'; readonly request: RequestOption | undefined }
  /** The SYN-ACK goes on to TCP. */
  | { readonly type: 'deliver' }
  /** TCP does not see the SYN-ACK. */
  | { readonly type: 'drop' }
  /** From the handshake's ACK on, every packet goes in the tunnel to this node. */
  | { readonly type: 'pin'; readonly reply: ReplyOption }
  | { readonly type: 'remember-black-hole'; readonly entry: BlackHoleEntry }
  | { readonly type: 'forget-black-hole' };

export interface SourceStep {
  readonly state: SourceState;
  readonly actions: readonly SourceAction[];
}

export const SOURCE_CLOSED: SourceState = {
  phase: 'closed',
  source: undefined,
  destination: undefined,
  syns: 0,
  requests: 0,
  omitting: undefined,
  node: undefined,
  reason: undefined,
};

/** Whose reply may pin a connection from `source` (rule 2): `reply-accepted`, or why the reply is dropped. */
export function judgeReply(
  reply: ReplyOption,
  source: IpAddress,
  config: Pick<SourceConfig, 'own' | 'trust'>,
): ReasonCode {
  const { address } = reply;
  // The outer header repeats the inner source, so a node of the other family could not be reached.
  if (address.family !== source.family || !isTunnelUnicast(address)) return 'drop-reply-not-unicast';
  if ([source, ...config.own].some((own) => sameIp(own, address))) return 'drop-reply-own';
  return config.trust.some((prefix) => prefixContains(prefix, address))
    ? 'reply-accepted'
    : 'drop-reply-untrusted';
}

function isLocal(address: IpAddress, own: readonly IpAddress[]): boolean {
  const [first = 0] = address.bytes;
  const loopback =
    address.family === 4
      ? first === 127
      : address.bytes.every((byte, index) => byte === (index === 15 ? 1 : 0));
  return loopback || own.some((candidate) => sameIp(candidate, address));
}

type Connect = Extract<SourceEvent, { type: 'connect' }>;

function judgeConnect(event: Connect, config: SourceConfig, now: number): ReasonCode | undefined {
  if (isLocal(event.destination, config.own)) return 'request-omitted-local';
  if (config.keyed === true && event.destination.family === 6) return 'request-omitted-keyed';
  if (isBlackHole(event.known, now)) return 'request-omitted-black-hole';
  return event.tunnelsFull ? 'request-omitted-limit' : undefined;
}

function count(reason: ReasonCode): SourceAction {
  return { type: 'count', reason };
}

function connect(event: Connect, config: SourceConfig, now: number): SourceStep {
  const omitting = config.hops === 0 ? undefined : judgeConnect(event, config, now);
  const { source, destination } = event;
  const state: SourceState = {
    ...SOURCE_CLOSED,
    phase: 'connecting',
    source,
    destination,
    omitting,
    reason: omitting,
  };
  return { state, actions: omitting === undefined ? [] : [count(omitting)] };
}

/** Why this SYN, not yet counted in `state`, goes without the request; undefined when it carries it. */
function judgeSyn(state: SourceState, config: SourceConfig, space: number): ReasonCode | undefined {
  if (state.omitting !== undefined) return state.omitting;
  if (state.syns >= config.synsWithRequest) return 'request-omitted-retries';
  const length = OPTION_LENGTH.request + (config.keyed === true ? OPTION_LENGTH.mac : 0);
  return space < length ? 'request-no-space' : undefined;
}

function sendSyn(state: SourceState, config: SourceConfig, space: number): SourceStep {
  const next = { ...state, syns: state.syns + 1 };
  if (config.hops === 0) return { state: next, actions: [{ type: 'send-syn', request: undefined }] };
  const omitting = judgeSyn(state, config, space);
  if (omitting === undefined) {
    const request: RequestOption = { type: 'request', hops: config.hops, capabilities: config.capabilities };
    return {
      state: { ...next, requests: state.requests + 1, reason: 'request-sent' },
      actions: [{ type: 'send-syn', request }, count('request-sent')],
    };
  }
  // Once a connection, however often its SYN is sent again.
  const counted = state.omitting === omitting ? [] : [count(omitting)];
  return {
    state: { ...next, omitting, reason: omitting },
    actions: [{ type: 'send-syn', request: undefined }, ...counted],
  };
}

function withReply(
  state: SourceState,
  { reply, authentic = false }: { readonly reply: ReplyOption; readonly authentic?: boolean },
  source: IpAddress,
  config: SourceConfig,
): SourceStep {
  const admitted = config.keyed === true ? authentic : reply.mac === undefined;
  const address = judgeReply(reply, source, config);
  const reason = address === 'reply-accepted' && !admitted ? 'drop-reply-unkeyed' : address;
  if (reason === 'reply-accepted') {
    return {
      state: { ...state, phase: 'tunnelled', node: reply.address, reason },
      actions: [{ type: 'pin', reply }, { type: 'deliver' }, { type: 'forget-black-hole' }, count(reason)],
    };
  }
  const omitting = 'request-omitted-untrusted';
  return { state: { ...state, omitting, reason: omitting }, actions: [{ type: 'drop' }, count(reason)] };
}

function withoutReply(
  state: SourceState,
  known: BlackHoleEntry | undefined,
  config: SourceConfig,
  now: number,
): SourceStep {
  const plain: SourceState = { ...state, phase: 'plain' };
  if (state.requests === 0) return { state: plain, actions: [{ type: 'deliver' }] };
  if (state.omitting === 'request-omitted-retries') {
    const entry = learnBlackHole(known, now, config.blackHoles);
    return {
      state: plain,
      actions: [{ type: 'deliver' }, { type: 'remember-black-hole', entry }, count('black-hole-learned')],
    };
  }
  // After an invalid reply the answer to the plain SYN says nothing about the request.
  if (state.omitting !== undefined) return { state: plain, actions: [{ type: 'deliver' }] };
  return {
    state: { ...plain, reason: 'reply-none' },
    actions: [{ type: 'deliver' }, { type: 'forget-black-hole' }, count('reply-none')],
  };
}

type SynAck = Extract<SourceEvent, { type: 'syn-ack' }>;

function receiveSynAck(state: SourceState, event: SynAck, config: SourceConfig, now: number): SourceStep {
  // A second SYN-ACK, of this node or another, changes nothing: TCP answers it with an ACK (RFC 5961 section 4).
  if (state.phase !== 'connecting') return { state, actions: [{ type: 'deliver' }] };
  // Made up by somebody who has not seen our SYN; TCP refuses it (RFC 9293 section 3.10.7.3).
  if (event.acknowledges === false) return { state, actions: [{ type: 'deliver' }] };
  // A reply that was not asked for is an option like any other that is not known.
  const { reply, authentic = false } = event;
  if (reply === undefined || state.requests === 0 || state.source === undefined) {
    return withoutReply(state, event.known, config, now);
  }
  return withReply(state, { reply, authentic }, state.source, config);
}

/** One step of a connection's source. `now` is in milliseconds, on the clock of the black-hole entries. */
export function stepSource(
  state: SourceState,
  event: SourceEvent,
  now: number,
  config: SourceConfig = DEFAULT_SOURCE,
): SourceStep {
  switch (event.type) {
    case 'connect':
      return connect(event, config, now);
    case 'syn':
      return state.phase === 'connecting' ? sendSyn(state, config, event.space) : { state, actions: [] };
    case 'syn-ack':
      return receiveSynAck(state, event, config, now);
    case 'close':
      return { state: SOURCE_CLOSED, actions: [] };
  }
}
