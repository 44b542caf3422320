/** The client side of SOCKS 5 without authentication (RFC 1928), as bytes. IPv4 destinations only. */
import { ip } from '../../core/address.js';

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const CONNECT = 1;
const ATYP_IPV4 = 1;
const SUCCEEDED = 0;

/** Section 3: the methods offered. */
export const SOCKS_GREETING: Uint8Array = Uint8Array.of(VERSION, 1, NO_AUTHENTICATION);
export const SOCKS_METHOD_LENGTH = 2;
/** Section 6, with the IPv4 address that every server here answers with. */
export const SOCKS_REPLY_LENGTH = 10;

/** Section 4: a CONNECT request. */
export function socksRequest(address: string, port: number): Uint8Array {
  return Uint8Array.of(VERSION, CONNECT, 0, ATYP_IPV4, ...ip(address).bytes, port >> 8, port & 0xff);
}

export function socksMethodAccepted(answer: Uint8Array): boolean {
  return answer[0] === VERSION && answer[1] === NO_AUTHENTICATION;
}

export function socksConnected(answer: Uint8Array): boolean {
  return answer[0] === VERSION && answer[1] === SUCCEEDED && answer[3] === ATYP_IPV4;
}
