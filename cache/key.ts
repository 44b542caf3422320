/**
 * Cache keys.
 *
 * The primary key is the original destination (address and port), the Host authority and the request target. The
 * destination is part of it because a translucent node does not choose it: a client can send `Host: bank.example` to any
 * address it likes, and what comes back must never be given to somebody who asked the real one.
 */
import type { Fields, RawHeaders } from './fields.js';
import { single } from './fields.js';

/** Where the client's packets were addressed to. */
export interface Destination {
  /** Canonical text form of the IP address. */
  readonly address: string;
  readonly port: number;
}

/** A request's head as the client sent it. */
export interface RequestHead {
  readonly method: string;
  /** The request target, any form (RFC 9112 section 3.2). */
  readonly target: string;
  readonly rawHeaders: RawHeaders;
  readonly fields: Fields;
  /** Whether content follows: a Transfer-Encoding, or a Content-Length other than 0. */
  readonly hasBody: boolean;
}

/** uri-host [":" port] (RFC 9110 section 7.2), lax in the host, without anything that could imitate a separator. */
const AUTHORITY = /^(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
const ABSOLUTE_FORM = /^http:\/\/([^/?#]+)([^#]*)$/i;

/** Whether `Host`, or the authority of a target, is one: nothing in it could be taken for something else. */
export function validAuthority(text: string): boolean {
  return AUTHORITY.test(text);
}

function compose(destination: Destination, authority: string, target: string): string | undefined {
  if (!AUTHORITY.test(authority) || !target.startsWith('/') || /[\s#]/.test(target)) return undefined;
  // None of the parts can hold a space, so the parts can be told apart: the key is injective.
  return `${destination.address} ${destination.port} ${authority.toLowerCase()} ${target}`;
}

/**
 * The primary key of an origin-form request; `undefined` when the request has none (another form, a missing, repeated or odd Host).
 * GET and HEAD share it; only GET responses are ever stored under it.
 */
export function resourceKey(destination: Destination, request: RequestHead): string | undefined {
  const host = single(request.fields, 'host');
  return typeof host === 'string' ? compose(destination, host, request.target) : undefined;
}

/** The key that an unsafe request may have changed; absolute-form included (RFC 9111 section 4.4). */
export function invalidatedKey(destination: Destination, request: RequestHead): string | undefined {
  const absolute = ABSOLUTE_FORM.exec(request.target);
  if (absolute === null) return resourceKey(destination, request);
  const [, authority = '', rest = ''] = absolute;
  return compose(destination, authority, rest.startsWith('/') ? rest : `/${rest}`);
}

/** The part of a key that its origin's other resources share. */
export function originOf(key: string): string {
  return key.slice(0, key.lastIndexOf(' '));
}
