/**
 * The TPOT option (docs/protocol.md, "The option"), an experimental TCP option shared by ExID (RFC 6994).
 *
 * ```
 * request, 8      | kind | 8  | ExID (2) | version 4b, type 4b = 1 | hops (1)  | capabilities (2) |
 * request, 12     | as above                                                           | MAC (4) |
 * reply v4, 12    | kind | 12 | ExID (2) | version 4b, type 4b = 2 | flags (1) | capabilities (2) | IPv4 (4) |
 * reply v4, 14    | as above                                                                        | UDP port (2) |
 * reply v4, 16/18 | as 12 or 14                                                                      | MAC (4) |
 * reply v6, 20    | kind | 20 | ExID' + capabilities (2) | IPv6 (16) |
 * ```
 *
 * Reading is total: whatever is not one of these forms is not ours, and no error.
 */
import type { IpAddress } from '../core/address.js';
import { addressBytes, ByteView, writer } from '../wire/bytes.js';
import { iterateOptions, tcpOptions, type TcpOption } from '../wire/tcp-options.js';

/** The numbers by which the option is known; both ends of a path need the same. */
export interface OptionNumbers {
  /** 253 or 254 (RFC 4727 section 4). */
  readonly kind: number;
  /** Requests and IPv4 replies. */
  readonly exId: number;
  /** IPv6 replies, which have no room for a type; as many ExIDs behind it say which transforms were accepted. */
  readonly exIdIpv6: number;
}

export const DEFAULT_NUMBERS: OptionNumbers = { kind: 253, exId: 0x5450, exIdIpv6: 0x5456 };

/** Bits of `capabilities`. Transforms count from the lowest, what concerns the handshake from the highest. */
export const CAPABILITY = {
  /** In a request: asks for the node `hops` nodes away. In a reply: that was understood, and no next leg opens. */
  trace: 0x8000,
  /** In a request: segments of this connection may come back in a tunnel, too (rule 13). In a reply: that was understood. */
  returnTunnel: 0x4000,
} as const;

/** Bits that mean a transform of the stream, those to come included: as many as an IPv6 reply can say. */
export const TRANSFORM_CAPABILITIES = 0x007f;

export interface RequestOption {
  readonly type: 'request';
  /** How many more nodes may take the connection, 0 to 255. */
  readonly hops: number;
  /** 16 bits: transforms the sender can do on this leg. */
  readonly capabilities: number;
  /** 32 bits (key.ts). */
  readonly mac?: number;
}

export interface ReplyOption {
  readonly type: 'reply';
  /** The node's end of the tunnel. */
  readonly address: IpAddress;
  /** 8 bits, none defined yet; 0 in an IPv6 reply. */
  readonly flags: number;
  /** 16 bits: the transforms the node accepted; the lowest 7 in an IPv6 reply. */
  readonly capabilities: number;
  /** Where the node takes UDP encapsulation; only in an IPv4 reply. */
  readonly udpPort?: number;
  /** 32 bits (key.ts); only in an IPv4 reply. */
  readonly mac?: number;
}

export type TpotOption = RequestOption | ReplyOption;

const VERSION = 1;
const TYPE = { request: 1, reply: 2 } as const;
/** Whole lengths, kind and length bytes included. */
export const OPTION_LENGTH = { mac: 4, request: 8, replyIpv4: 12, replyIpv4Udp: 14, replyIpv6: 20 } as const;
/** Of the forms with a MAC. A reply of 12 bytes is none: the types tell that from a request of 12. */
const KEYED_LENGTHS: Readonly<Record<TpotOption['type'], readonly number[]>> = {
  request: [OPTION_LENGTH.request + OPTION_LENGTH.mac],
  reply: [OPTION_LENGTH.replyIpv4 + OPTION_LENGTH.mac, OPTION_LENGTH.replyIpv4Udp + OPTION_LENGTH.mac],
};
/** Offsets in the option without its kind and length. */
const AT = {
  exId: 0,
  versionType: 2,
  hopsOrFlags: 3,
  capabilities: 4,
  address: 6,
  udpPort: 10,
  addressIpv6: 2,
} as const;
const HEADER = 2;

function decodeTyped(data: ByteView): TpotOption | undefined {
  const length = data.bytes.length + HEADER;
  const type = data.u8(AT.versionType) & 0xf;
  if (data.u8(AT.versionType) >> 4 !== VERSION) return undefined;
  const capabilities = data.u16(AT.capabilities);
  const keyed = KEYED_LENGTHS[type === TYPE.request ? 'request' : 'reply'].includes(length);
  const unkeyed = keyed ? length - OPTION_LENGTH.mac : length;
  const mac = keyed ? { mac: data.u32(unkeyed - HEADER) } : {};
  if (type === TYPE.request && unkeyed === OPTION_LENGTH.request) {
    return { type: 'request', hops: data.u8(AT.hopsOrFlags), capabilities, ...mac };
  }
  const withPort = unkeyed === OPTION_LENGTH.replyIpv4Udp;
  if (type !== TYPE.reply || !(withPort || unkeyed === OPTION_LENGTH.replyIpv4)) return undefined;
  const address = data.address(AT.address, 4);
  const reply = { type: 'reply' as const, address, flags: data.u8(AT.hopsOrFlags), capabilities, ...mac };
  return withPort ? { ...reply, udpPort: data.u16(AT.udpPort) } : reply;
}

/** Reads one option; `undefined` when it is not a TPOT option of this version in one of its forms. */
export function decodeOption(option: TcpOption, numbers = DEFAULT_NUMBERS): TpotOption | undefined {
  if (option.kind !== 'unknown' || option.code !== numbers.kind) return undefined;
  const data = new ByteView(option.data);
  const exId = data.u16(AT.exId);
  const beyond = (exId - numbers.exIdIpv6) & 0xffff;
  if (beyond <= TRANSFORM_CAPABILITIES && data.bytes.length + HEADER === OPTION_LENGTH.replyIpv6) {
    return { type: 'reply', address: data.address(AT.addressIpv6, 6), flags: 0, capabilities: beyond };
  }
  return exId === numbers.exId ? decodeTyped(data) : undefined;
}

/** The length of the whole option on the wire. */
export function optionLength(option: TpotOption): number {
  const mac = option.mac === undefined ? 0 : OPTION_LENGTH.mac;
  if (option.type === 'request') return OPTION_LENGTH.request + mac;
  if (option.address.family === 6) return OPTION_LENGTH.replyIpv6;
  return (option.udpPort === undefined ? OPTION_LENGTH.replyIpv4 : OPTION_LENGTH.replyIpv4Udp) + mac;
}

/** The option as wire/ knows it, to be put in a list with others. Values too wide lose their upper bits. */
export function encodeOption(option: TpotOption, numbers = DEFAULT_NUMBERS): TcpOption {
  const data = new Uint8Array(optionLength(option) - HEADER);
  const out = writer(data);
  if (option.type === 'reply' && option.address.family === 6) {
    out.setUint16(AT.exId, numbers.exIdIpv6 + (option.capabilities & TRANSFORM_CAPABILITIES));
    data.set(option.address.bytes, AT.addressIpv6);
    return { kind: 'unknown', code: numbers.kind, data };
  }
  out.setUint16(AT.exId, numbers.exId);
  out.setUint8(AT.versionType, (VERSION << 4) | TYPE[option.type]);
  out.setUint8(AT.hopsOrFlags, option.type === 'request' ? option.hops : option.flags);
  out.setUint16(AT.capabilities, option.capabilities);
  if (option.type === 'reply') {
    data.set(addressBytes(option.address, 4), AT.address);
    if (option.udpPort !== undefined) out.setUint16(AT.udpPort, option.udpPort);
  }
  if (option.mac !== undefined) out.setUint32(data.length - OPTION_LENGTH.mac, option.mac);
  return { kind: 'unknown', code: numbers.kind, data };
}

/**
 * The first valid option of the wanted type in an option area. Everything else is skipped; an illegal length ends the
 * search, since nothing behind it can be told apart.
 */
export function findOption<Type extends TpotOption['type']>(
  area: Uint8Array,
  type: Type,
  numbers = DEFAULT_NUMBERS,
): Extract<TpotOption, { type: Type }> | undefined {
  for (const candidate of iterateOptions(area)) {
    const option = decodeOption(candidate, numbers);
    if (option?.type === type) return option as Extract<TpotOption, { type: Type }>;
  }
  return undefined;
}

/** The area with one hop less in the request that {@link findOption} finds; every other byte is kept. */
export function lowerHops(area: Uint8Array, numbers = DEFAULT_NUMBERS): Uint8Array {
  let found = false;
  const options = tcpOptions.parse(area).map((candidate) => {
    const option = found ? undefined : decodeOption(candidate, numbers);
    if (option?.type !== 'request') return candidate;
    found = true;
    return encodeOption({ ...option, hops: option.hops - 1 }, numbers);
  });
  return tcpOptions.emit(options);
}
