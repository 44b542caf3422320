/** What a request allows a shared cache to do with it (RFC 9111 sections 3, 4 and 5.2.1), in doubt nothing. */
import type { Directives } from './directives.js';
import { parseRequestDirectives } from './directives.js';
import { nominatesFields } from './fields.js';
import type { RequestHead } from './key.js';

export type RequestUse =
  | {
      /** Neither answered from the store nor stored; `detail` is a stable token that says why. */
      readonly kind: 'bypass';
      readonly detail: string;
    }
  | {
      readonly kind: 'usable';
      readonly directives: Directives;
      /** The client wants an answer from the origin (`no-cache`); it may still be stored. */
      readonly reload: boolean;
      /** The client validates a copy of its own. */
      readonly conditional: boolean;
    };

/**
 * Fields by which some origins choose another resource than the target's. They are not part of the key, so a
 * response to a request that has one is nobody else's.
 */
const UNKEYED_ROUTING = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'x-forwarded-host',
  'x-forwarded-scheme',
  'x-host',
];

function bypassDetail(request: RequestHead): string | undefined {
  const { fields } = request;
  if (request.hasBody) return 'request-content';
  if (fields.has('authorization') || fields.has('proxy-authorization')) return 'authorization';
  if (fields.has('range') || fields.has('if-range')) return 'range';
  if (fields.has('if-match') || fields.has('if-unmodified-since')) return 'precondition';
  if (fields.has('expect')) return 'expectation';
  if (nominatesFields(fields)) return 'connection-options';
  if (UNKEYED_ROUTING.some((name) => fields.has(name))) return 'unkeyed-field';
  return undefined;
}

/** Classifies a GET or HEAD request; the caller has already sorted out the other methods. */
export function requestUse(request: RequestHead): RequestUse {
  const detail = bypassDetail(request);
  if (detail !== undefined) return { kind: 'bypass', detail };
  const directives = parseRequestDirectives(request.fields.get('cache-control') ?? []);
  if (directives === undefined) return { kind: 'bypass', detail: 'request-directives' };
  if (directives.has('no-store')) return { kind: 'bypass', detail: 'no-store' };
  const pragma = request.fields.get('pragma')?.some((value) => /no-cache/i.test(value)) ?? false;
  return {
    kind: 'usable',
    directives,
    reload: directives.has('no-cache') || pragma,
    conditional: request.fields.has('if-none-match') || request.fields.has('if-modified-since'),
  };
}
