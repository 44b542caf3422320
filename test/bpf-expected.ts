/** What the pure model says should become of a frame, in the terms of the programs under test. */
import { expect } from 'vitest';
import { sameIp, type Family } from '../core/address.js';
import { decideTunnelled, type Flow, type TakenConnection, type TunnelEnd } from '../tpot/decap.js';
import { decideSyn, type NodeView, type TakenState } from '../tpot/node.js';
import { concat } from '../wire/bytes.js';
import { ipv4 } from '../wire/ipv4.js';
import { hasFlags } from '../wire/tcp.js';
import { UDP_HEADER } from '../wire/udp.js';
import { UDP_PORT } from './bpf-node.js';
import { flows, nodeAddresses, segmentOf, type Expected } from './bpf-programs.js';

/** Of a frame that belongs to no connection the node knows. */
export function expectedOfSyn(frame: Uint8Array, node: NodeView): Expected {
  const segment = segmentOf(frame);
  if (segment === undefined || !hasFlags(segment.tcp, 'syn') || hasFlags(segment.tcp, 'ack')) {
    return { verdict: 'untouched' };
  }
  const { header, tcp } = segment;
  const { source, destination } = header;
  const { take, reason } = decideSyn({ source, destination, ...tcp }, node);
  expect(take).toBe(false);
  return { verdict: 'untouched', reason };
}

/** A node that is the source of no connection that it has pinned. */
const NODE: TunnelEnd = { own: Object.values(nodeAddresses), udpPort: UDP_PORT };

export function isFlow(a: Flow, b: Flow): boolean {
  return (
    a.sourcePort === b.sourcePort &&
    a.destinationPort === b.destinationPort &&
    sameIp(a.source, b.source) &&
    sameIp(a.destination, b.destination)
  );
}

/**
 * Of a packet that may be a tunnel's, when `flows[family]` is the one connection that was taken, if any was; `untouched`
 * also for packets that IP itself throws away before a tunnel could see them.
 */
export function expectedOfTunnelled(
  packet: Uint8Array,
  family: Family,
  state: TakenState | undefined,
  end = NODE,
): Expected {
  if ((packet[0] ?? 0) >> 4 !== family) return { verdict: 'untouched' };
  const find = (flow: Flow): TakenConnection | undefined =>
    state !== undefined && isFlow(flow, flows[family])
      ? { outerSource: flows[family].source, state }
      : undefined;
  const decision = decideTunnelled(packet, end, find);
  if (decision.verdict === 'pass') return { verdict: 'untouched' };
  if (decision.verdict === 'drop') return decision;
  const ipHeader = family === 4 ? ipv4.view(packet).headerLength : 40;
  const outerHeader = ipHeader + (decision.reason === 'decap-udp-ok' ? UDP_HEADER : 0);
  // Padding of the frame stays where it is: behind what the packet says is its end.
  const padding = packet.subarray(outerHeader + decision.packet.length);
  // What is returned goes on as a plain segment would.
  const verdict = decision.returned ? 'untouched' : 'deliver';
  return { verdict, reason: decision.reason, packet: concat(decision.packet, padding) };
}
