/**
 * The node's side of the handshake (protocol rules 5, 8 and 11), for one connection: pure functions.
 *
 * ```
 *   SYN, judged         SYN-ACK leaves           tunnelled segment
 *   ──────▶ syn-received ────────▶ syn-answered ─────────────────────────▶ tunnelled
 *      │                                 └───────────────────────────────▶ plain
 *      └──▶ edge (no request)             plain segment that acknowledges our initial sequence number
 * ```
 */
import { sameIp, type IpAddress } from '../core/address.js';
import { add, type Seq } from '../wire/seq.js';
import { hasFlags, type TcpRepr } from '../wire/tcp.js';
import { iterateOptions, TCP_OPTION } from '../wire/tcp-options.js';
import { clientOf } from './client.js';
import { isAuthentic, type Key } from './key.js';
import {
  CAPABILITY,
  DEFAULT_NUMBERS,
  findOption,
  lowerHops,
  TRANSFORM_CAPABILITIES,
  type OptionNumbers,
  type RequestOption,
} from './option.js';
import { bypasses, type BypassEntry } from './bypass.js';
import { matchingRow, type PolicyRow } from './policy.js';
import type { ReasonCode } from './reasons.js';

/** What a node knows when a SYN arrives. */
export interface NodeView {
  /** Every address of this machine. */
  readonly own: readonly IpAddress[];
  readonly policy: readonly PolicyRow[];
  /** Default: none. */
  readonly bypass?: readonly BypassEntry[];
  /** Takes SYNs without a request too. */
  readonly edge: boolean;
  readonly draining: boolean;
  /** As many connections as the limit allows. */
  readonly full: boolean;
  /** Whether a client ({@link clientOf}) has as many as it may have. Default: there is no such limit. */
  readonly clientFull?: (client: IpAddress) => boolean;
  readonly listening: boolean;
  /** What this node does of what a request may ask for. */
  readonly capabilities: number;
  /** What a request's MAC is checked with. Default: none, and a request with a MAC is not taken. */
  readonly keys?: readonly Key[];
  /** Takes no request without a MAC. */
  readonly requireKey?: boolean;
}

/** A SYN without ACK. */
export interface Syn {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
  readonly seq: Seq;
  /** Raw TCP option area. */
  readonly options: Uint8Array;
}

export interface SynDecision {
  readonly take: boolean;
  /** Undefined for a SYN that is none of this node's business, which is not counted either. */
  readonly reason: ReasonCode | undefined;
  /** Present when the SYN carries one. */
  readonly request: RequestOption | undefined;
  /** With `trace-forwarded`: the option area with which the SYN travels on. */
  readonly forwarded: Uint8Array | undefined;
}

const MPTCP_JOIN = 1;

/** RFC 8684 section 3.2: the subtype is the upper half of the byte behind the length. */
function isMpJoin(area: Uint8Array): boolean {
  for (const option of iterateOptions(area)) {
    if (option.kind !== 'unknown' || option.code !== TCP_OPTION.mptcp) continue;
    const [first] = option.data;
    if (first !== undefined && first >> 4 === MPTCP_JOIN) return true;
  }
  return false;
}

/** A MAC must be right where there is one, or has to be one. */
function isAdmitted(request: RequestOption, syn: Syn, node: NodeView, numbers: OptionNumbers): boolean {
  if (request.mac === undefined) return node.requireKey !== true;
  return isAuthentic(request, { ...syn, isn: undefined }, node.keys ?? [], numbers);
}

function limitReached({ source }: Syn, { full, clientFull }: NodeView): ReasonCode | undefined {
  if (full) return 'pass-limit';
  return clientFull?.(clientOf(source)) === true ? 'pass-client-limit' : undefined;
}

/** No transforms: rules of a policy do not choose among these. */
const HANDSHAKE = CAPABILITY.trace | CAPABILITY.returnTunnel;

/** Of what a request asks for, what the reply accepts. */
function accepted(request: RequestOption, row: PolicyRow, node: Pick<NodeView, 'capabilities'>): number {
  return request.capabilities & node.capabilities & ((row.capabilities ?? 0xffff) | HANDSHAKE);
}

/** Whether it asks for transforms of which this node would do none. */
function asksInVain(request: RequestOption | undefined, row: PolicyRow, node: NodeView): boolean {
  if (request === undefined || (request.capabilities & TRANSFORM_CAPABILITIES) === 0) return false;
  return (accepted(request, row, node) & TRANSFORM_CAPABILITIES) === 0;
}

/** Why the policy lets a SYN pass. */
function policyReason(syn: Syn, request: RequestOption | undefined, node: NodeView): ReasonCode | undefined {
  const row = matchingRow(node.policy, syn);
  if (row?.take !== true) return 'pass-policy';
  return row.yields === true && asksInVain(request, row, node) ? 'pass-transforms' : undefined;
}

function judge(
  syn: Syn,
  request: RequestOption | undefined,
  node: NodeView,
  numbers: OptionNumbers,
): ReasonCode | undefined {
  const isOwn = (address: IpAddress): boolean => node.own.some((own) => sameIp(own, address));
  if (request === undefined && !node.edge) return undefined;
  if (isOwn(syn.destination)) return 'pass-local';
  if (isOwn(syn.source)) return 'pass-loop';
  if (request?.hops === 0) return 'pass-hops';
  if (isMpJoin(syn.options)) return 'pass-mp-join';
  if (node.draining) return 'pass-draining';
  if (bypasses(node.bypass ?? [], syn)) return 'pass-bypass';
  const policy = policyReason(syn, request, node);
  if (policy !== undefined) return policy;
  if (request !== undefined && !isAdmitted(request, syn, node, numbers)) return 'pass-unkeyed';
  const limit = limitReached(syn, node);
  if (limit !== undefined) return limit;
  if (!node.listening) return 'pass-no-listener';
  if (request === undefined) return 'taken-edge';
  return request.hops > 1 && (request.capabilities & node.capabilities & CAPABILITY.trace) !== 0
    ? 'trace-forwarded'
    : 'taken';
}

/**
 * Rules 5 and 11. The order of the tests is part of the contract: the first that fails names the reason. The one that
 * looks at earlier connections (`pass-time-wait`) is the kernel's: here every SYN is the first of its ends and ports.
 */
export function decideSyn(syn: Syn, node: NodeView, numbers = DEFAULT_NUMBERS): SynDecision {
  const request = findOption(syn.options, 'request', numbers);
  const reason = judge(syn, request, node, numbers);
  return {
    take: reason === 'taken' || reason === 'taken-edge',
    reason,
    request,
    forwarded: reason === 'trace-forwarded' ? lowerHops(syn.options, numbers) : undefined,
  };
}

export type TakenState =
  | { readonly phase: 'syn-received' }
  /** `isn` is the sequence number of our SYN-ACK. */
  | { readonly phase: 'syn-answered'; readonly isn: Seq }
  | { readonly phase: 'tunnelled' }
  /** The reply was stripped on the way: an ordinary transparent proxy. */
  | { readonly phase: 'plain' }
  | { readonly phase: 'edge' };

/** The state of a connection whose SYN was just taken. */
export function takenState(decision: SynDecision): TakenState {
  return { phase: decision.request === undefined ? 'edge' : 'syn-received' };
}

export type TakenEvent =
  | { readonly type: 'syn-ack-sent'; readonly isn: Seq }
  /** A segment from the source, not a SYN without ACK: {@link decideSyn} sees those. */
  | { readonly type: 'segment'; readonly tunnelled: boolean; readonly tcp: Pick<TcpRepr, 'flags' | 'ack'> };

export interface TakenStep {
  readonly state: TakenState;
  /** `deliver` to our TCP, `pass` on untouched as if no node were here, `drop`; undefined when nothing arrived. */
  readonly verdict: 'deliver' | 'pass' | 'drop' | undefined;
  readonly reason: ReasonCode | undefined;
}

type Segment = Extract<TakenEvent, { type: 'segment' }>;

/** Whether a tunnel packet may belong to a connection in this state. A SYN never travels in a tunnel. */
export function takesFromTunnel(state: TakenState, tcp: Pick<TcpRepr, 'flags'>): boolean {
  return state.phase !== 'edge' && state.phase !== 'plain' && !hasFlags(tcp, 'syn');
}

function plainSegment(state: TakenState, { tcp }: Segment): TakenStep {
  if (state.phase === 'edge' || state.phase === 'plain')
    return { state, verdict: 'deliver', reason: undefined };
  // The initial sequence number counts one (RFC 9293 section 3.4), and before this segment nothing else was sent.
  if (state.phase === 'syn-answered' && hasFlags(tcp, 'ack') && tcp.ack === add(state.isn, 1)) {
    return { state: { phase: 'plain' }, verdict: 'deliver', reason: 'taken-reply-stripped' };
  }
  return { state, verdict: 'pass', reason: 'pass-plain-of-tunnelled' };
}

function tunnelledSegment(state: TakenState, { tcp }: Segment): TakenStep {
  if (!takesFromTunnel(state, tcp)) return { state, verdict: 'drop', reason: 'drop-decap-unknown' };
  return { state: { phase: 'tunnelled' }, verdict: 'deliver', reason: 'decap-ok' };
}

/** Rule 8: one step of a connection that was taken. A retransmitted SYN-ACK changes nothing. */
export function stepTaken(state: TakenState, event: TakenEvent): TakenStep {
  if (event.type === 'segment') {
    return event.tunnelled ? tunnelledSegment(state, event) : plainSegment(state, event);
  }
  const open = state.phase === 'syn-received' || state.phase === 'syn-answered';
  return {
    state: open ? { phase: 'syn-answered', isn: event.isn } : state,
    verdict: undefined,
    reason: undefined,
  };
}
