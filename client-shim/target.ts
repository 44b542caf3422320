/** `HOST[:PORT]` as people write it. */
import { lookup } from 'node:dns/promises';
import { ip, parseIp, type IpAddress } from '../core/address.js';
import { TpotError } from '../core/errors.js';

export interface Target {
  readonly host: string;
  readonly port: number;
}

const DEFAULT_PORT = 80;

/** Parses `name`, `name:port`, `192.0.2.1:port`, `2001:db8::1`, `[2001:db8::1]:port`; undefined when it is none. */
export function parseTarget(text: string): Target | undefined {
  if (parseIp(text) !== undefined) return { host: text, port: DEFAULT_PORT };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host === undefined || port < 1 || port > 0xffff) return undefined;
  if (match?.[1] !== undefined && parseIp(host) === undefined) return undefined;
  return { host, port };
}

/** @throws TpotError `host-not-found`. */
export async function resolveTarget({ host }: Target): Promise<IpAddress> {
  const literal = parseIp(host);
  if (literal !== undefined) return literal;
  try {
    return ip((await lookup(host)).address);
  } catch (cause) {
    throw new TpotError('host-not-found', `${host} has no address`, {
      hint: 'Check the name, or give an address.',
      cause,
      retryable: true,
    });
  }
}
