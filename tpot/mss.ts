/**
 * Room for the outer header in the maximum segment size (protocol rule 9; RFC 9293 section 3.7.1). The node lowers
 * what it advertises by the outer header; the source lowers it further where its own interface needs it.
 */
import type { Family } from '../core/address.js';
import { TUNNEL_OVERHEAD } from '../wire/ipip.js';
import { TCP_MIN_HEADER } from '../wire/tcp.js';
import { tcpOptions } from '../wire/tcp-options.js';

/** Below this an MTU leaves no payload worth having, and the MSS stays as it is. */
const MIN_PAYLOAD = 8;

/** What a node advertises in a SYN-ACK with a reply, where TCP would have said `mss`. */
export function advertisedMss(mss: number, family: Family): number {
  const overhead = TUNNEL_OVERHEAD[family];
  return mss > overhead ? mss - overhead : mss;
}

/** The largest segment that fits an interface together with both IP headers and TCP's. */
export function clampedMss(mss: number, family: Family, mtu: number): number {
  const ceiling = mtu - 2 * TUNNEL_OVERHEAD[family] - TCP_MIN_HEADER;
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
