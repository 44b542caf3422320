/** ICMP errors as routers send them, about packets that never were. */
import { ip } from '../core/address.js';
import { buildIcmp } from '../wire/build.js';

const UNREACHABLE = 3; // RFC 792
const CODES = { unreachable: 1, 'too-big': 4 } as const; // host unreachable; fragmentation needed
const USUAL_MTU = 576;
const QUOTED = 28 * 2;

export interface ErrorSpec {
  readonly from: string;
  readonly to: string;
  readonly about: Uint8Array;
  /** Of "too big"; default 576. */
  readonly mtu?: number;
}

/** An error from `from` to `to` that quotes the head of `about`. */
export function icmpError(
  kind: keyof typeof CODES,
  { from, to, about, mtu = kind === 'too-big' ? USUAL_MTU : 0 }: ErrorSpec,
): Uint8Array {
  const message = { type: UNREACHABLE, code: CODES[kind], rest: mtu, source: ip(from), destination: ip(to) };
  return buildIcmp(message, about.subarray(0, QUOTED));
}
