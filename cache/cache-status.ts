/** Cache-Status (RFC 9211): what this node did, and what the nodes towards the origin say they did. */
import type { Fields } from './fields.js';
import { parseList } from './structured.js';

/** Why a request was forwarded (RFC 9211 section 2.2). */
export type ForwardReason =
  'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'miss' | 'request' | 'stale' | 'partial';

/** This node's member of Cache-Status. */
export type CacheStatus =
  | {
      readonly hit: true;
      /** Seconds of freshness left; negative when a stale response is used (RFC 9211 section 2.4). */
      readonly ttl: number;
      readonly detail?: string | undefined;
    }
  | {
      readonly hit: false;
      readonly fwd: ForwardReason;
      /** The status the next hop answered with. */
      readonly status?: number | undefined;
      readonly stored?: boolean | undefined;
      readonly collapsed?: boolean | undefined;
      /** A token that says more. */
      readonly detail?: string | undefined;
    };

/** A name as sf-token or sf-string (RFC 9211 section 2). */
export function cacheStatusName(printable: string): string {
  const token = /^[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*$/.test(printable);
  return token ? printable : `"${printable.replace(/["\\]/g, '\\$&')}"`;
}

/** One list member; `name` as {@link cacheStatusName} gives it. */
export function formatCacheStatus(name: string, status: CacheStatus): string {
  let member: string;
  if (status.hit) {
    member = `${name}; hit; ttl=${status.ttl}`;
  } else {
    member = `${name}; fwd=${status.fwd}`;
    if (status.status !== undefined) member += `; fwd-status=${status.status}`;
    if (status.stored === true) member += '; stored';
    if (status.collapsed === true) member += '; collapsed';
  }
  return status.detail === undefined ? member : `${member}; detail=${status.detail}`;
}

/** Whether the next hop, the last one to add itself, has answered from its store. */
export function nextHopHit(fields: Fields): boolean {
  const values = fields.get('cache-status');
  const last = values && parseList(values)?.at(-1);
  const hit = last && 'item' in last ? last.parameters.get('hit') : undefined;
  return hit?.kind === 'boolean' && hit.value;
}
