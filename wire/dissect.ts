/**
 * Takes a packet apart, from its IP header on, one tunnel deep. For captures, labs and tests: what cannot be read is
 * described, never thrown.
 */
import type { Fault } from './codec.js';
import { isValid, pseudoHeaderSum } from './checksum.js';
import { icmp, icmpMeaning, quotedFlow, type IcmpMeaning, type IcmpRepr, type QuotedFlow } from './icmp.js';
import { ip, isFragment, protocolOf, type IpRepr } from './ip.js';
import { ipv4 } from './ipv4.js';
import { ipip } from './ipip.js';
import { PROTOCOL } from './protocols.js';
import { tcp, type TcpRepr } from './tcp.js';
import { tcpOptions, type TcpOption } from './tcp-options.js';
import { parseUdpReturn, parseUdpTunnel } from './udp-tunnel.js';

interface Enclosed {
  /** The tunnel's IP header; undefined when the packet came plain. Its protocol tells IP in IP from UDP. */
  readonly outer: IpRepr | undefined;
}

export interface TcpDissection extends Enclosed {
  readonly kind: 'tcp';
  readonly ip: IpRepr;
  readonly tcp: TcpRepr;
  readonly options: readonly TcpOption[];
  readonly payload: Uint8Array;
  /** All of them. Packets captured before the card fills checksums in are rightly `false`. */
  readonly checksumsValid: boolean;
}

export interface IcmpDissection extends Enclosed {
  readonly kind: 'icmp';
  readonly ip: IpRepr;
  readonly icmp: IcmpRepr;
  readonly meaning: IcmpMeaning;
  /** The connection an error is about. */
  readonly quoted: QuotedFlow | undefined;
}

/** Another protocol, a fragment, or a tunnel inside the tunnel. */
export interface OtherDissection extends Enclosed {
  readonly kind: 'other';
  readonly ip: IpRepr;
  readonly payload: Uint8Array;
}

export interface MalformedDissection extends Enclosed {
  readonly kind: 'malformed';
  /** The IP header, when the fault lies behind it. */
  readonly ip: IpRepr | undefined;
  readonly fault: Fault;
}

export type Dissection = TcpDissection | IcmpDissection | OtherDissection | MalformedDissection;

function headerValid(header: IpRepr, packet: Uint8Array): boolean {
  return header.family === 6 || ipv4.view(packet).checksumValid;
}

function dissectTcp(header: IpRepr, segment: Uint8Array, headersValid: boolean, outer?: IpRepr): Dissection {
  const parsed = tcp.parse(segment);
  if (!parsed.ok) return { kind: 'malformed', outer, ip: header, fault: parsed.fault };
  const pseudo = pseudoHeaderSum(header.source, header.destination, PROTOCOL.tcp, segment.length);
  return {
    kind: 'tcp',
    outer,
    ip: header,
    tcp: parsed.value,
    payload: parsed.payload,
    options: tcpOptions.parse(parsed.value.options),
    checksumsValid: headersValid && isValid(segment, pseudo),
  };
}

function dissectIcmp(header: IpRepr, message: Uint8Array, outer?: IpRepr): Dissection {
  const parsed = icmp.parse(message);
  if (!parsed.ok) return { kind: 'malformed', outer, ip: header, fault: parsed.fault };
  const meaning = icmpMeaning(header.family, parsed.value);
  const quoted = meaning.kind === 'other' ? undefined : quotedFlow(parsed.payload);
  return { kind: 'icmp', outer, ip: header, icmp: parsed.value, meaning, quoted };
}

function dissectInner(packet: Uint8Array, headersValid: boolean, outer?: IpRepr): Dissection {
  const parsed = ip.parse(packet);
  if (!parsed.ok) return { kind: 'malformed', outer, ip: undefined, fault: parsed.fault };
  const { value: header, payload } = parsed;
  const protocol = protocolOf(header);
  if (isFragment(header)) return { kind: 'other', outer, ip: header, payload };
  if (protocol === PROTOCOL.tcp) {
    return dissectTcp(header, payload, headersValid && headerValid(header, packet), outer);
  }
  if (protocol === (header.family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6)) {
    return dissectIcmp(header, payload, outer);
  }
  return { kind: 'other', outer, ip: header, payload };
}

/** Dissects a packet that starts at its (outermost) IP header. Tunnels in UDP are those to their registered port, and back. */
export function dissect(packet: Uint8Array): Dissection {
  for (const parse of [parseUdpTunnel, parseUdpReturn]) {
    const inUdp = parse(packet);
    if (!inUdp.ok) continue;
    return dissectInner(inUdp.value.inner, headerValid(inUdp.value.outer, packet), inUdp.value.outer);
  }
  const tunnel = ipip.parse(packet);
  if (!tunnel.ok || isFragment(tunnel.value.outer)) return dissectInner(packet, true);
  const { outer, inner } = tunnel.value;
  return dissectInner(inner, headerValid(outer, packet), outer);
}

/** One line for people: `[outer] ip tcp options length`. */
export function formatDissection(dissection: Dissection): string {
  const outer = dissection.outer === undefined ? '' : `[${ip.format(dissection.outer)}] `;
  switch (dissection.kind) {
    case 'tcp': {
      const options = dissection.options.length === 0 ? '' : ` <${tcpOptions.format(dissection.options)}>`;
      const { ip: header, tcp: segment, payload } = dissection;
      return `${outer}${ip.format(header)} ${tcp.format(segment)}${options} data ${payload.length}`;
    }
    case 'icmp':
      return `${outer}${ip.format(dissection.ip)} ${icmp.format(dissection.icmp)}`;
    case 'other':
      return `${outer}${ip.format(dissection.ip)} data ${dissection.payload.length}`;
    case 'malformed':
      return `${outer}${dissection.ip === undefined ? '' : `${ip.format(dissection.ip)} `}${dissection.fault}`;
  }
}
