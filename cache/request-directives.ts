/** What a request allows a shared cache to do with it (RFC 9111 sections 3, 4 and 5.2.1), in doubt nothing. */
import { parseRequestDirectives, type RequestDirectives } from './cache-control.js';
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
      /** `noCache` also for a `Pragma: no-cache`. */
      readonly directives: RequestDirectives;
      /** The client validates a copy of its own. */
      readonly conditional: boolean;
      /** The client wants a part. */
      readonly ranged: boolean;
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
  // A cache must not evaluate conditions that only the origin can (RFC 9110 section 13.2.1).
  if (fields.has('if-match') || fields.has('if-unmodified-since')) return 'precondition';
  if (fields.has('if-range') && !fields.has('range')) return 'precondition';
  if (fields.has('proxy-authorization')) return 'authorization';
  if (fields.has('expect')) return 'expectation';
  if (nominatesFields(fields)) return 'connection-options';
  if (UNKEYED_ROUTING.some((name) => fields.has(name))) return 'unkeyed-field';
  return undefined;
}

/** RFC 9111 section 5.4: Pragma counts only beside no Cache-Control. */
function pragmaNoCache({ fields }: RequestHead): boolean {
  if (fields.has('cache-control')) return false;
  return fields.get('pragma')?.some((value) => /no-cache/i.test(value)) === true;
}

/** Classifies a GET or HEAD request; the caller has already sorted out the other methods. */
export function requestUse(request: RequestHead): RequestUse {
  const detail = bypassDetail(request);
  if (detail !== undefined) return { kind: 'bypass', detail };
  const { fields } = request;
  const directives = parseRequestDirectives(fields.get('cache-control'));
  // RFC 9111 section 5.2.1.5 lets a stored response be used; who asks for this wants none.
  if (directives.noStore) return { kind: 'bypass', detail: 'no-store' };
  return {
    kind: 'usable',
    directives: pragmaNoCache(request) ? { ...directives, noCache: true } : directives,
    conditional: fields.has('if-none-match') || fields.has('if-modified-since'),
    ranged: request.method === 'GET' && fields.has('range'),
  };
}
