/**
 * How a source gets through to its node when a tunnel does not pass, for one connection: a pure function of state and
 * event. As long as the node has heard nothing, nothing is lost, and the connection may go on in another way.
 *
 * ```
 *   reply ──▶ IP in IP ── unheard, a port was offered ──▶ in UDP ── unheard ──▶ plain
 *     │           └────── unheard, none was ──────────────────────────────────────▲
 *     └── IP in IP did not pass to this node before ───────▲
 * ```
 *
 * Unheard: the node has sent its SYN-ACK again, twice, or the network says that the tunnel leads nowhere. To go on in UDP
 * is harmless, since the node takes both: there one repetition is enough when TCP has sent its data again twice. To go
 * on plain is not: what arrives late by tunnel makes the node pass plain segments by (rule 8).
 */
import { isBlackHole, type BlackHoleEntry } from './black-hole.js';
import type { ReplyOption } from './option.js';
import type { ReasonCode } from './reasons.js';
import { UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';

/** A node repeats its SYN-ACK after 1, 3 and 7 s: one repetition is a lost packet, two are a tunnel that does not pass. */
const UNHEARD_SYN_ACKS = 2;
/** After a silent change: what TCP has sent until the next repetition, 2 s or 4 s later, was in UDP. */
const UNHEARD_IN_UDP = 1;

export interface TunnelState {
  readonly way: 'ip' | 'udp' | 'plain';
  /** Where the node takes packets in UDP; undefined where it does not. */
  readonly udpPort: number | undefined;
  /** SYN-ACKs that came again. */
  readonly repeats: number;
}

/** `heard`: the node has acknowledged or sent something beyond its SYN-ACK. */
export type TunnelEvent =
  /**
   * The node has sent its SYN-ACK again, by its timer: a copy within 0.8 s of the last that counted is of a link's making.
   * `insistent`: TCP has sent its data again, twice.
   */
  | { readonly type: 'syn-ack-again'; readonly heard: boolean; readonly insistent: boolean }
  /** An ICMP error says that a tunnel packet of this kind cannot be delivered. */
  | { readonly type: 'unreachable'; readonly udp: boolean; readonly heard: boolean };

export type TunnelAction =
  /** Further connections to the node begin in UDP, for as long as a black hole is remembered. */
  | 'remember-udp'
  | 'forget-udp'
  /** The destination gets no requests for a while. */
  | 'remember-black-hole';

export interface TunnelStep {
  readonly state: TunnelState;
  readonly actions: readonly TunnelAction[];
  readonly reasons: readonly ReasonCode[];
}

/** Over IPv6, where a reply has no room for a port, a node that takes UDP takes it at the registered one. */
export function offeredUdpPort(reply: ReplyOption): number | undefined {
  if (reply.address.family === 6) return UDP_TUNNEL_PORT;
  return reply.udpPort === 0 ? undefined : reply.udpPort;
}

/** `known` is what is remembered of the node: that IP in IP did not pass to it. `now` in milliseconds. */
export function startTunnel(reply: ReplyOption, known: BlackHoleEntry | undefined, now: number): TunnelState {
  const udpPort = offeredUdpPort(reply);
  return { way: udpPort !== undefined && isBlackHole(known, now) ? 'udp' : 'ip', udpPort, repeats: 0 };
}

function nextWay(state: TunnelState, repeats: number): TunnelStep {
  if (state.way === 'ip' && state.udpPort !== undefined) {
    return {
      state: { ...state, way: 'udp', repeats },
      actions: ['remember-udp'],
      reasons: ['tunnel-udp'],
    };
  }
  const forget: readonly TunnelAction[] = state.way === 'udp' ? ['forget-udp'] : [];
  return {
    state: { ...state, way: 'plain' },
    actions: [...forget, 'remember-black-hole'],
    reasons: ['black-hole-learned', 'tunnel-blocked'],
  };
}

/** One step of a tunnel. What a connection sent before it went on in UDP says nothing about UDP. */
export function stepTunnel(state: TunnelState, event: TunnelEvent): TunnelStep {
  const unchanged: TunnelStep = { state, actions: [], reasons: [] };
  if (state.way === 'plain') return unchanged;
  if (event.type === 'unreachable') {
    return event.heard || event.udp !== (state.way === 'udp') ? unchanged : nextWay(state, 0);
  }
  const counted = { ...state, repeats: state.repeats + 1 };
  const harmless = state.way === 'ip' && state.udpPort !== undefined;
  const enough = counted.repeats >= UNHEARD_SYN_ACKS || (harmless && event.insistent);
  if (event.heard || !enough) return { ...unchanged, state: counted };
  return nextWay(counted, UNHEARD_SYN_ACKS - UNHEARD_IN_UDP);
}
