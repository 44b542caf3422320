/** Requests that Node's parser lets through and a careful intermediary must not: those that two servers could read differently. */
import { validAuthority, type RequestHead } from '../../cache/key.js';
import { MOST_FIELDS, transferCodingKnown } from './headers.js';

interface Refusal {
  readonly status: 400 | 431 | 501 | 505;
  readonly text: string;
}

const bad = (text: string): Refusal => ({ status: 400, text });

/** RFC 9112 section 3.2: the four forms of a target, each for its methods. */
function refuseTarget({ method, target, fields }: RequestHead): Refusal | undefined {
  if (target === '*') {
    return method === 'OPTIONS' ? undefined : bad('a target of * is for OPTIONS (RFC 9112 section 3.2.4)');
  }
  if (target.includes('#')) return bad('a target has no fragment (RFC 9112 section 3.2)');
  if (target.startsWith('/')) return undefined;
  const [, authority = ''] = /^https?:\/\/([^/?]*)/i.exec(target) ?? [];
  if (!validAuthority(authority)) return bad('the target cannot be read (RFC 9112 section 3.2)');
  const host = fields.get('host')?.[0]?.trim();
  const same = host === undefined || host.toLowerCase() === authority.toLowerCase();
  return same ? undefined : bad('Host and target name different authorities (RFC 9112 section 3.2.2)');
}

function refuseHost({ fields }: RequestHead, httpVersion: string): Refusal | undefined {
  const hosts = fields.get('host') ?? [];
  if (hosts.length === 0 && httpVersion === '1.1') return bad('no Host (RFC 9112 section 3.2)');
  if (hosts.length > 1) return bad('more than one Host (RFC 9112 section 3.2)');
  const host = hosts[0]?.trim() ?? '';
  return host === '' || validAuthority(host) ? undefined : bad('Host is no authority (RFC 9112 section 3.2)');
}

function refuseFraming(head: RequestHead, httpVersion: string): Refusal | undefined {
  if (!head.fields.has('transfer-encoding')) return undefined;
  if (httpVersion === '1.0') return bad('Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)');
  if (head.fields.has('content-length')) {
    return bad('Transfer-Encoding beside Content-Length (RFC 9112 section 6.1)');
  }
  if (transferCodingKnown(head)) return undefined;
  return { status: 501, text: 'unknown transfer coding (RFC 9112 section 6.1)' };
}

/** Why a request is answered here with an error, after which its connection ends; `undefined` for a good one. */
export function refuse(head: RequestHead, httpVersion: string): Refusal | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return { status: 505, text: `HTTP/${httpVersion} is not spoken here (RFC 9110 section 15.6.6)` };
  }
  if (head.rawHeaders.length > 2 * MOST_FIELDS) {
    return { status: 431, text: `more than ${MOST_FIELDS} header fields (RFC 6585 section 5)` };
  }
  return refuseHost(head, httpVersion) ?? refuseTarget(head) ?? refuseFraming(head, httpVersion);
}
