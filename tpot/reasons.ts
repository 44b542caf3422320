/**
 * Every decision and every drop of the protocol has one of these codes, and every code a counter. They are stable:
 * people script against them. In the BPF programs `pass-hops` is `TPOT_R_PASS_HOPS`, and so on.
 */

/** A SYN arrives at a node, or the first segment after its SYN-ACK (rules 5 and 8). */
const TAKING = {
  taken: 'a SYN with a request was taken',
  'taken-edge': 'a SYN without a request was taken, at an edge',
  'taken-reply-stripped': 'the reply was lost on the way; the connection goes on as with a transparent proxy',
  'trace-forwarded': 'a trace went on to the node it asks for, with one hop less',
  'pass-hops': 'the request allows no more nodes',
  'pass-bypass': 'a bypass list names the source or the destination',
  'pass-policy': 'no rule takes the connection',
  'pass-transforms':
    'the request asks for transforms of which this node would do none, and it would only relay or splice',
  'pass-unkeyed': 'the request has no MAC of a key that this node has, and needs one',
  'pass-draining': 'the node is draining',
  'pass-limit': 'the node has as many connections as it may have',
  'pass-client-limit': 'the client has as many connections as one client may have',
  'pass-time-wait': 'an earlier connection of the same ends and ports is in TIME_WAIT here',
  'pass-no-listener': 'nobody listens: the node is starting or has ended',
  'pass-loop': 'the SYN comes from an address of this node',
  'pass-mp-join': 'the SYN adds a subflow to an MPTCP connection',
  'pass-local': 'the SYN is addressed to this node itself',
  'pass-plain-of-tunnelled': 'a plain segment of a connection that counts only in its tunnel',
} as const;

/** A tunnel packet arrives at a node (rule 7). */
const DECAPSULATION = {
  'decap-ok': 'a tunnelled segment was delivered',
  'decap-udp-ok': 'a segment tunnelled in UDP was delivered',
  'drop-decap-unknown': 'the inner segment is of no tunnelled connection of this node',
  'drop-decap-source': 'the tunnel packet comes from another address than the connection does',
  'drop-decap-malformed': 'a header is cut, contradicts itself, or belongs to a fragment',
  'drop-decap-options': 'the inner TCP header has an option of illegal length',
  'drop-decap-not-tcp': 'the inner packet is not TCP',
} as const;

/** A connection that a node took makes progress. */
const ANSWERING = {
  'synack-reply': 'a SYN-ACK left with a reply',
  established: 'the handshake with the source is complete',
  'table-full': 'a connection was established but its table has no room',
} as const;

/** A source opens a connection (rules 1 to 3). */
const SOURCE = {
  'request-sent': 'a SYN left with the request',
  'request-omitted-black-hole': 'the path to this destination is known to lose SYNs with a request',
  'request-omitted-retries': 'earlier SYNs with the request were not answered',
  'request-omitted-local': 'the destination is on this machine',
  'request-omitted-limit': 'there is no room for another tunnel',
  'request-omitted-untrusted': 'an invalid reply was dropped before',
  'request-omitted-keyed': 'with keys no request is sent over IPv6, where a reply has no room for a MAC',
  'request-no-space': 'the other options of the SYN leave no room',
  'reply-accepted': 'a valid reply pinned the connection to its node',
  'reply-none': 'the SYN-ACK has no reply: plain TCP',
  'drop-reply-untrusted': 'the address in the reply is in no trusted prefix',
  'drop-reply-not-unicast':
    "the address in the reply is not unicast, is loopback, or is not of the connection's family",
  'drop-reply-own': 'the address in the reply is our own',
  'drop-reply-unkeyed': 'the reply has no MAC of a key that this source has',
  'black-hole-learned': 'a SYN without the request was answered after SYNs with it were not',
} as const;

/** A segment of a pinned connection leaves its source. */
const ENCAPSULATION = {
  'encap-ok': 'a segment left in its tunnel',
  'encap-udp-ok': 'a segment left in its tunnel in UDP',
  'encap-failed': 'a segment was dropped because the outer header could not be added',
  'tunnel-blocked':
    'nothing sent through a tunnel arrived: the connection went on plain before anything was lost',
  'tunnel-udp': 'nothing sent by IP in IP arrived: the tunnel went on in UDP before anything was lost',
  'tunnel-udp-remembered': 'a tunnel began in UDP, because IP in IP did not pass to this node before',
  'return-tunnel':
    'what was sent to the source of a connection stayed without an answer: it goes on in a tunnel to it',
  'return-remembered': 'a connection began in a return tunnel, because its source has needed one before',
  'return-given-up':
    'what was sent in a return tunnel stayed without an answer, too: the connection goes on without it',
  'icmp-translated': 'a "too big" about a tunnel packet became one about its segment',
  'icmp-delivered':
    'an error about a segment sent in the name of a destination reached the socket that sent it',
} as const;

/** A segment of a spliced connection arrives. */
const SPLICING = {
  'splice-forwarded': 'a segment of a spliced connection was mapped and sent on',
  'splice-cut': 'bytes that were relayed before the splice were cut from a segment',
  'splice-forgotten': 'a SYN came for a spliced connection that is over: it is a new connection',
  'drop-splice-hold': 'data came during a hand-over: it is sent on after it, or sent again by its sender',
  'drop-splice-ttl': 'a segment has passed as many routers as it may',
  'drop-splice-congestion': 'a segment marked by a router goes to an end that does not understand the mark',
  'drop-splice-too-big':
    'a segment is larger than the other leg takes; its sender is told, now or when it sends the next one',
  'splice-told': 'the sender of a spliced segment was told by ICMP what fits',
  'splice-resized': 'a segment larger than the other leg takes was made smaller ones of',
  'drop-icmp-spliced':
    'an ICMP error about a spliced connection does not fit what was sent, or says nothing new',
  'drop-splice-no-route': 'the kernel knows no route for the other leg',
  'drop-splice-failed': 'a segment could not be rewritten',
  'tap-copied': 'a copy of a segment went to the cache',
  'tap-lost': 'a copy of a segment found no room, or could not be made: what it is of will not be stored',
} as const;

/** Code to meaning, in one line each. */
export const REASONS = {
  ...TAKING,
  ...DECAPSULATION,
  ...ANSWERING,
  ...SOURCE,
  ...ENCAPSULATION,
  ...SPLICING,
} as const;

export type ReasonCode = keyof typeof REASONS;

const ENUM_PREFIX = 'TPOT_R_';

/** The code of an enumerator of the BPF programs; `undefined` for one that is not in the list. */
export function reasonOfEnumerator(name: string): ReasonCode | undefined {
  if (!name.startsWith(ENUM_PREFIX)) return undefined;
  const code = name.slice(ENUM_PREFIX.length).toLowerCase().replaceAll('_', '-');
  return Object.hasOwn(REASONS, code) ? (code as ReasonCode) : undefined;
}
