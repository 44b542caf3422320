/**
 * The TLS ClientHello that opens a connection: who is asked for, and in which protocol. RFC 8446 sections 4.1.2 and 5.1
 * (the layout is that of RFC 5246 too), server_name of RFC 6066 section 3, ALPN of RFC 7301 section 3.1.
 *
 * ```
 *   record     │ 22 │ 3 │ 0…4 │ length 2 │ fragment …            one handshake message may span several records
 *   handshake  │ 1 │ length 3 │ version 2 │ random 32 │ session ‹1› │ ciphers ‹2› │ compression ‹1› │ extensions ‹2›
 *   extension  │ type 2 │ data ‹2›                               ‹n›: a vector behind its length of n bytes
 * ```
 *
 * Reading never fails: bytes that begin otherwise are `other`, a hello that contradicts itself is `malformed`, and
 * neither is a reason to treat a connection worse. With Encrypted Client Hello the name is the public, outer one.
 */
import { ByteView } from './bytes.js';

/** What a ClientHello says in the clear. */
export interface ClientHello {
  /** Lower case, without the dot at its end; A-labels as written. Undefined: none, or none that is a host name. */
  readonly serverName: string | undefined;
  /** Most wanted first; bytes that are not printable ASCII stand as `\xNN`. */
  readonly alpn: readonly string[];
}

export type TlsStart =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'hello'; readonly hello: ClientHello }
  /** Not the beginning of a ClientHello. */
  | { readonly kind: 'other' }
  /** Begins as one, and is none. */
  | { readonly kind: 'malformed' }
  /** More than {@link MOST_HELLO_BYTES}, record headers included. */
  | { readonly kind: 'too-long' };

/** Post-quantum key shares make about 2 KiB; nothing in use comes near this. */
export const MOST_HELLO_BYTES = 16 * 1024;

const RECORD_HEADER = 5;
const RECORD_HANDSHAKE = 22;
const MOST_FRAGMENT = 2 ** 14;
const HANDSHAKE_HEADER = 4;
const CLIENT_HELLO = 1;
const RANDOM = 32;
const EXTENSION = { serverName: 0, alpn: 16 } as const;
const HOST_NAME = 0;

const MOST_NAME = 253;
/** Letters, digits, hyphens, and underscores, which names in use have. */
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;

/** A host name in its canonical form, or undefined for anything else: an address, an empty label, a U-label. */
export function hostName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  if (name.length === 0 || name.length > MOST_NAME) return undefined;
  const labels = name.split('.');
  const numeric = /^\d+$/.test(labels.at(-1) ?? '');
  return !numeric && labels.every((label) => LABEL.test(label)) ? name : undefined;
}

/** Total reads, one behind the other: beyond the end they give nothing and set {@link failed}. */
class Reader {
  readonly #view: ByteView;
  #at = 0;
  failed = false;

  constructor(bytes: Uint8Array) {
    this.#view = new ByteView(bytes);
  }

  /** Nothing is left to read. */
  get done(): boolean {
    return this.failed || this.#at === this.#view.bytes.length;
  }

  /** Everything was read, and it was all there. */
  get complete(): boolean {
    return !this.failed && this.done;
  }

  number(size: 1 | 2): number {
    const at = this.#skip(size);
    return at === undefined ? 0 : size === 1 ? this.#view.u8(at) : this.#view.u16(at);
  }

  bytes(count: number): Uint8Array {
    const at = this.#skip(count);
    return at === undefined ? new Uint8Array(0) : this.#view.range(at, at + count);
  }

  /** What stands behind its own length of `size` bytes; fewer than `least` bytes fail. */
  vector(size: 1 | 2, least = 0): Uint8Array {
    const count = this.number(size);
    if (count < least) this.failed = true;
    return this.bytes(count);
  }

  #skip(count: number): number | undefined {
    const at = this.#at;
    if (this.failed || at + count > this.#view.bytes.length) {
      this.failed = true;
      return undefined;
    }
    this.#at += count;
    return at;
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/** The host_name of a ServerNameList; `null` when there is none, undefined when the list is malformed. */
function readServerNames(data: Uint8Array): string | null | undefined {
  const extension = new Reader(data);
  const list = new Reader(extension.vector(2, 1));
  let name: string | null = null;
  while (!list.done) {
    const type = list.number(1);
    // RFC 6066: the name of any type begins with a length of two bytes, and no type comes twice.
    const bytes = list.vector(2, 1);
    if (type !== HOST_NAME) continue;
    if (name !== null) return undefined;
    name = latin1(bytes);
  }
  return !list.complete || !extension.complete ? undefined : name;
}

function readProtocols(data: Uint8Array): string[] | undefined {
  const extension = new Reader(data);
  const list = new Reader(extension.vector(2, 2));
  const protocols: string[] = [];
  while (!list.done) {
    const written = latin1(list.vector(1, 1));
    protocols.push(
      written.replace(/[^\x21-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`),
    );
  }
  return !list.complete || !extension.complete ? undefined : protocols;
}

/** The extensions read here, by type; undefined when the list is malformed or one comes twice (RFC 8446 section 4.2). */
function readExtensions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const found = new Map<number, Uint8Array>();
  const reader = new Reader(bytes);
  while (!reader.done) {
    const type = reader.number(2);
    const data = reader.vector(2);
    if (found.has(type)) return undefined;
    found.set(type, data);
  }
  return reader.complete ? found : undefined;
}

/** The body of a ClientHello, without its handshake header. */
function readHello(body: Uint8Array): ClientHello | undefined {
  const reader = new Reader(body);
  reader.bytes(2 + RANDOM); // legacy_version and random
  const session = reader.vector(1);
  const ciphers = reader.vector(2, 2);
  reader.vector(1, 1); // compression methods
  if (reader.failed || session.length > 32 || ciphers.length % 2 !== 0) return undefined;
  if (reader.done) return { serverName: undefined, alpn: [] }; // before TLS 1.3 there may be no extensions
  const extensions = readExtensions(reader.vector(2));
  if (extensions === undefined || !reader.complete) return undefined;
  const names = extensions.get(EXTENSION.serverName);
  const protocols = extensions.get(EXTENSION.alpn);
  const name = names === undefined ? null : readServerNames(names);
  const alpn = protocols === undefined ? [] : readProtocols(protocols);
  if (name === undefined || alpn === undefined) return undefined;
  return { serverName: name === null ? undefined : hostName(name), alpn };
}

/** Whether the first bytes may begin a record with a ClientHello in it, as far as there are any. */
function beginsHello(view: ByteView): boolean {
  const length = view.bytes.length;
  const expects = (at: number, test: (byte: number) => boolean): boolean => at >= length || test(view.u8(at));
  const fragment = view.u16(3);
  return (
    expects(0, (type) => type === RECORD_HANDSHAKE) &&
    expects(1, (major) => major === 3) &&
    expects(2, (minor) => minor <= 4) &&
    (length < RECORD_HEADER || (fragment > 0 && fragment <= MOST_FRAGMENT)) &&
    expects(RECORD_HEADER, (type) => type === CLIENT_HELLO)
  );
}

/** The handshake message out of its records, as far as it is there; undefined when a record is wrong. */
function gather(view: ByteView): Uint8Array | undefined {
  const { bytes } = view;
  const message = new Uint8Array(bytes.length);
  let length = 0;
  for (let at = 0; at + RECORD_HEADER <= bytes.length;) {
    const fragment = view.u16(at + 3);
    const right = view.u8(at) === RECORD_HANDSHAKE && view.u8(at + 1) === 3;
    // RFC 8446 section 5.1: no other record in between, and no empty one.
    if (!right || fragment === 0 || fragment > MOST_FRAGMENT) return undefined;
    const body = view.range(at + RECORD_HEADER, at + RECORD_HEADER + fragment);
    message.set(body, length);
    length += body.length;
    if (length >= HANDSHAKE_HEADER && length >= messageLength(message)) break;
    at += RECORD_HEADER + fragment;
  }
  return message.subarray(0, length);
}

/** With its header. */
function messageLength(message: Uint8Array): number {
  return HANDSHAKE_HEADER + (new ByteView(message).u32(0) & 0xffffff);
}

/** Looks at all that a client has sent so far. What follows the ClientHello is not looked at. */
export function readTlsStart(bytes: Uint8Array): TlsStart {
  const view = new ByteView(bytes);
  if (!beginsHello(view)) return { kind: 'other' };
  const message = gather(view);
  if (message === undefined) return { kind: 'malformed' };
  const length = message.length < HANDSHAKE_HEADER ? HANDSHAKE_HEADER : messageLength(message);
  if (length > MOST_HELLO_BYTES) return { kind: 'too-long' };
  if (message.length < length) {
    return { kind: bytes.length < MOST_HELLO_BYTES ? 'need-more' : 'too-long' };
  }
  const hello = readHello(message.subarray(HANDSHAKE_HEADER, length));
  return hello === undefined ? { kind: 'malformed' } : { kind: 'hello', hello };
}
