/** ICMP errors as routers send them, about packets that never were. */
import { ip } from '../core/address.js';
import { concat } from '../wire/bytes.js';
import { checksum } from '../wire/checksum.js';
import { ipv4, IPV4_FLAG, IPV4_MIN_HEADER } from '../wire/ipv4.js';
import { PROTOCOL } from '../wire/protocols.js';

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
  const message = concat(
    Uint8Array.of(UNREACHABLE, CODES[kind], 0, 0, 0, 0, mtu >> 8, mtu & 0xff),
    about.subarray(0, QUOTED),
  );
  const sum = checksum(message);
  message.set([sum >> 8, sum & 0xff], 2);
  const header = ipv4.emit({
    family: 4,
    tos: 0,
    totalLength: IPV4_MIN_HEADER + message.length,
    identification: 0,
    flags: IPV4_FLAG.dontFragment,
    fragmentOffset: 0,
    ttl: 64,
    protocol: PROTOCOL.icmp,
    source: ip(from),
    destination: ip(to),
    options: new Uint8Array(),
  });
  return concat(header, message);
}
