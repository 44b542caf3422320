/**
 * Room for the outer header in the maximum segment size (protocol rule 9; RFC 9293 section 3.7.1). The node lowers
 * what it advertises by the outer header; the source lowers it further where its own interface needs it.
 *
 * Room is left for the larger of the two headers, that with UDP: the MSS is said once, before anybody knows which passes.
 */
import type { Family } from '../core/address.js';
import { TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { UDP_TUNNEL_OVERHEAD } from '../wire/udp-tunnel.js';
import { TCP_MIN_HEADER } from '../wire/tcp.js';
import { tcpOptions } from '../wire/tcp-options.js';

/** Below this an MTU leaves no payload worth having, and the MSS stays as it is. */
const MIN_PAYLOAD = 8;

/** What every IPv6 link carries, and the least that a host can be told to send (RFC 8200 section 5). */
const IPV6_MIN_MTU = 1280;
const MAX_MSS = 0xffff;

/**
 * What a node advertises in a SYN-ACK with a reply, where TCP would have said `mss`. `synMss` is that of the SYN, 0
 * when it had none: a router that sets the MSS to what its links carry sets both, and knows nothing of the tunnel.
 */
export function advertisedMss(mss: number, family: Family, synMss = 0): number {
  const overhead = UDP_TUNNEL_OVERHEAD[family];
  const ceiling = synMss > overhead ? synMss - overhead : MAX_MSS;
  return Math.min(mss > overhead ? mss - overhead : mss, ceiling);
}

/**
 * The largest segment that fits an interface together with the outer headers, IP's and TCP's. Over IPv6 it also fits the
 * narrowest link there is: a host that is told of one cannot make its packets any smaller than that.
 */
export function clampedMss(mss: number, family: Family, mtu: number): number {
  const link = family === 6 ? Math.min(mtu, IPV6_MIN_MTU) : mtu;
  const ceiling = link - TUNNEL_OVERHEAD[family] - UDP_TUNNEL_OVERHEAD[family] - TCP_MIN_HEADER;
  return ceiling > MIN_PAYLOAD ? Math.min(mss, ceiling) : mss;
}

/** The option area with its first MSS option passed through `change`; all else stays byte for byte. */
export function rewriteMss(area: Uint8Array, change: (mss: number) => number): Uint8Array {
  const options = tcpOptions.parse(area);
  const first = options.find((option) => option.kind === 'mss');
  return tcpOptions.emit(
    options.map((option) => (option === first ? { ...first, mss: change(first.mss) } : option)),
  );
}
