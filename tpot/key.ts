/**
 * Keyed requests and replies (docs/protocol.md, "Keys"): SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF", 2012) over one handshake and its option, cut to 32 bits.
 *
 * ```
 *   0                16                   32      34      36    40    44                       64
 *  | source address | destination address | sport | dport | seq | ISN | option without its MAC |
 * ```
 *
 * Addresses are mapped where they are IPv4, numbers in network order, the ISN is 0 in a request, and so are the hops,
 * which nodes lower on the way.
 */
import { toMapped, type IpAddress } from '../core/address.js';
import { concat, writer } from '../wire/bytes.js';
import type { Seq } from '../wire/seq.js';
import {
  DEFAULT_NUMBERS,
  encodeOption,
  OPTION_LENGTH,
  type OptionNumbers,
  type TpotOption,
} from './option.js';

export interface Key {
  /** For people: never on the wire. */
  readonly id: string;
  /** 16 bytes. */
  readonly secret: Uint8Array;
}

/** TPOT_MAX_KEYS: one that signs, and those of before and after. */
export const MAX_KEYS = 4;
export const SECRET_BYTES = 16;

/** The SYN that an option is bound to, and, for a reply, the SYN-ACK. */
export interface Handshake {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
  /** Of the SYN: a SYN-ACK's acknowledgment number less one. */
  readonly seq: Seq;
  /** Of the SYN-ACK; undefined for a request. */
  readonly isn: Seq | undefined;
}

const INPUT_BYTES = 64;
const AT = { sourcePort: 32, destinationPort: 34, seq: 36, isn: 40, option: 44 } as const;
const WORD = 8;
const INITIAL = [0x736f6d6570736575n, 0x646f72616e646f6dn, 0x6c7967656e657261n, 0x7465646279746573n] as const;

const wrap = (value: bigint): bigint => BigInt.asUintN(64, value);
const rotate = (value: bigint, by: bigint): bigint => wrap(value << by) | (value >> (64n - by));

type State = readonly [bigint, bigint, bigint, bigint];

function round([v0, v1, v2, v3]: State): State {
  const a0 = wrap(v0 + v1);
  const a1 = rotate(v1, 13n) ^ a0;
  const a2 = wrap(v2 + v3);
  const a3 = rotate(v3, 16n) ^ a2;
  const b0 = wrap(rotate(a0, 32n) + a3);
  const b2 = wrap(a2 + a1);
  return [b0, rotate(a1, 17n) ^ b2, rotate(b2, 32n), rotate(a3, 21n) ^ b0];
}

function compress([v0, v1, v2, v3]: State, word: bigint): State {
  const [a0, a1, a2, a3] = round(round([v0, v1, v2, v3 ^ word]));
  return [a0 ^ word, a1, a2, a3];
}

/** The two halves of a key as the algorithm reads them. */
export function keyHalves({ secret }: Key): { readonly k0: bigint; readonly k1: bigint } {
  const data = writer(secret);
  return { k0: data.getBigUint64(0, true), k1: data.getBigUint64(WORD, true) };
}

/** SipHash-2-4 of any bytes. */
export function sipHash(key: Key, message: Uint8Array): bigint {
  const { k0, k1 } = keyHalves(key);
  const [i0, i1, i2, i3] = INITIAL;
  // The last word holds what does not fill one, and the length in its upper byte.
  const padded = new Uint8Array((Math.floor(message.length / WORD) + 1) * WORD);
  padded.set(message);
  padded[padded.length - 1] = message.length;
  const data = writer(padded);
  let state: State = [k0 ^ i0, k1 ^ i1, k0 ^ i2, k1 ^ i3];
  for (let at = 0; at < padded.length; at += WORD) state = compress(state, data.getBigUint64(at, true));
  const [v0, v1, v2, v3] = state;
  const [r0, r1, r2, r3] = round(round(round(round([v0, v1, v2 ^ 0xffn, v3]))));
  return r0 ^ r1 ^ r2 ^ r3;
}

/** An option that may have a MAC: an IPv6 reply has no room. */
function macInput(option: TpotOption, handshake: Handshake, numbers: OptionNumbers): Uint8Array {
  const steady = { ...option, mac: 0, ...(option.type === 'request' ? { hops: 0 } : {}) };
  const encoded = encodeOption(steady, numbers);
  const data = encoded.kind === 'unknown' ? encoded.data : new Uint8Array();
  const input = new Uint8Array(INPUT_BYTES);
  input.set(concat(toMapped(handshake.source), toMapped(handshake.destination)));
  const out = writer(input);
  out.setUint16(AT.sourcePort, handshake.sourcePort);
  out.setUint16(AT.destinationPort, handshake.destinationPort);
  out.setUint32(AT.seq, handshake.seq);
  out.setUint32(AT.isn, handshake.isn ?? 0);
  const body = data.subarray(0, data.length - OPTION_LENGTH.mac);
  input.set(concat(Uint8Array.of(numbers.kind, data.length + 2), body), AT.option);
  return input;
}

/** The MAC: the first four bytes of the hash as it is written (little-endian), as a number in network order. */
function macOf(option: TpotOption, handshake: Handshake, key: Key, numbers: OptionNumbers): number {
  const bytes = writer(new Uint8Array(WORD));
  bytes.setBigUint64(0, sipHash(key, macInput(option, handshake, numbers)), true);
  return bytes.getUint32(0);
}

/** The option with its MAC, by the first of the keys. An IPv6 reply, and any option without keys, stays as it is. */
export function signed<Option extends TpotOption>(
  option: Option,
  handshake: Handshake,
  keys: readonly Key[],
  numbers = DEFAULT_NUMBERS,
): Option {
  const [key] = keys;
  const room = option.type === 'request' || option.address.family === 4;
  return key === undefined || !room ? option : { ...option, mac: macOf(option, handshake, key, numbers) };
}

/** Whether one of the keys made the option's MAC for this handshake. */
export function isAuthentic(
  option: TpotOption,
  handshake: Handshake,
  keys: readonly Key[],
  numbers = DEFAULT_NUMBERS,
): boolean {
  return (
    option.mac !== undefined && keys.some((key) => macOf(option, handshake, key, numbers) === option.mac)
  );
}
