import { describe, expect, it } from 'vitest';
import { indexFields } from './fields.js';
import type { RequestHead } from './key.js';
import { currentAge, freshFor, judgeResponse, type ResponseHead, type Verdict } from './rules.js';
import { parseRequestDirectives } from './directives.js';

const NOW = Date.parse('Wed, 15 May 2024 12:00:00 GMT');
const httpDate = (offsetSeconds: number): string => new Date(NOW + offsetSeconds * 1000).toUTCString();

function get(target = '/', rawHeaders: string[] = [], method = 'GET'): RequestHead {
  return { method, target, rawHeaders, fields: indexFields(rawHeaders), hasBody: false };
}

function judge(
  rawHeaders: string[],
  {
    status = 200,
    request = get(),
    framing = 'length',
    delay = 0,
  }: Partial<ResponseHead> & { request?: RequestHead; delay?: number } = {},
): Verdict {
  return judgeResponse(
    request,
    { status, statusMessage: '', httpVersion: '1.1', rawHeaders, fields: indexFields(rawHeaders), framing },
    { requestedAt: NOW - delay * 1000, receivedAt: NOW, receivedMonotonic: 1000 },
  );
}

const lifetime = (verdict: Verdict): number | string =>
  verdict.storable ? verdict.freshness.lifetime : verdict.reason;

describe('lifetime', () => {
  it.each<[string, string[], number | string]>([
    ['max-age', ['Cache-Control', 'max-age=60'], 60],
    ['MAX-AGE', ['Cache-Control', 'MAX-AGE=60'], 60],
    ['two lines', ['Cache-Control', 'public', 'cache-control', 'max-age=60'], 60],
    ['the same twice', ['Cache-Control', 'max-age=60, max-age=60'], 60],
    ['s-maxage before max-age', ['Cache-Control', 'max-age=60, s-maxage=10'], 10],
    ['max-age before Expires', ['Cache-Control', 'max-age=60', 'Expires', '0'], 60],
    ['Expires', ['Date', httpDate(0), 'Expires', httpDate(30)], 30],
    ['Expires without Date', ['Expires', httpDate(30)], 30],
    ['a huge max-age', ['Cache-Control', 'max-age=99999999999999999999'], 2 ** 31],
    ['immutable alone', ['Cache-Control', 'immutable'], 'not-fresh'],
    ['max-age=0', ['Cache-Control', 'max-age=0'], 'not-fresh'],
    ['proxy-revalidate', ['Cache-Control', 'max-age=60, proxy-revalidate'], 'not-fresh'],
    ['an empty member', ['Cache-Control', 'max-age=60, ,'], 60],
    ['Expires in the past', ['Expires', httpDate(-1)], 'not-fresh'],
    ['Expires: -1', ['Expires', '-1'], 'not-fresh'],
    ['Expires twice', ['Expires', httpDate(30), 'Expires', httpDate(30)], 'dates'],
    ['Expires in RFC 850 form', ['Expires', 'Wednesday, 15-May-24 13:00:00 GMT'], 'not-fresh'],
    ['Expires on a wrong weekday', ['Expires', 'Tue, 15 May 2024 13:00:00 GMT'], 'not-fresh'],
    ['a malformed Date', ['Date', 'yesterday', 'Cache-Control', 'max-age=60'], 'dates'],
    ['a malformed Age', ['Age', 'old', 'Cache-Control', 'max-age=60'], 'dates'],
    ['no value', ['Cache-Control', 'max-age'], 'response-directives'],
    ['a quoted value', ['Cache-Control', 'max-age="60"'], 'response-directives'],
    ['a negative value', ['Cache-Control', 'max-age=-1'], 'response-directives'],
    ['an open quote', ['Cache-Control', 'max-age=60, private="a'], 'response-directives'],
    ['nothing', [], 'not-fresh'],
  ])('%s', (_name, headers, expected) => expect(lifetime(judge(headers))).toBe(expected));

  it('is guessed as a tenth of the time since the last change, a day at most', () => {
    expect(lifetime(judge(['Last-Modified', httpDate(-1000)]))).toBe(100);
    expect(lifetime(judge(['Last-Modified', httpDate(-100 * 86_400)]))).toBe(86_400);
    expect(lifetime(judge(['Last-Modified', httpDate(1000)]))).toBe('not-fresh');
    expect(lifetime(judge(['Last-Modified', 'sometime']))).toBe('not-fresh');
  });

  it('is not guessed for queries, cookies or other statuses', () => {
    const headers = ['Last-Modified', httpDate(-1000)];
    expect(lifetime(judge(headers, { request: get('/a?b') }))).toBe('not-fresh');
    expect(
      lifetime(judge([...headers, 'Cache-Control', 'public'], { request: get('/', ['Cookie', 'a']) })),
    ).toBe('not-fresh');
    expect(lifetime(judge(headers, { status: 404 }))).toBe('not-fresh');
  });
});

describe('refusals', () => {
  const FRESH = ['Cache-Control', 'max-age=60'];
  it.each<[string, string, string[], Parameters<typeof judge>[1]]>([
    ['status', '302', FRESH, { status: 302 }],
    ['status', '206', FRESH, { status: 206 }],
    ['method', 'HEAD', FRESH, { request: get('/', [], 'HEAD') }],
    ['close-delimited', 'no length', FRESH, { framing: 'close' }],
    ['partial', 'Content-Range', [...FRESH, 'Content-Range', 'bytes 0-1/2'], {}],
    ['pragma', 'Pragma', [...FRESH, 'Pragma', 'No-Cache'], {}],
    ['vary', 'Vary malformed', [...FRESH, 'Vary', 'a b'], {}],
    ['vary', 'Vary * in a second line', [...FRESH, 'Vary', 'a', 'vary', '*'], {}],
    ['connection-options', 'Connection nominates', [...FRESH, 'Connection', 'close, etag'], {}],
    ['cookie', 'a cookie', FRESH, { request: get('/', ['Cookie', 'a']) }],
    ['encoding-without-vary', 'gzip', [...FRESH, 'Content-Encoding', 'gzip'], {}],
    [
      'no-store',
      'no-store with must-understand',
      ['Cache-Control', 'max-age=60, no-store, must-understand'],
      {},
    ],
  ])('%s: %s', (reason, _name, headers, options) => expect(lifetime(judge(headers, options))).toBe(reason));

  it('a cookie is no obstacle when the origin says public', () => {
    const request = get('/', ['Cookie', 'a']);
    expect(lifetime(judge(['Cache-Control', 'public, max-age=60'], { request }))).toBe(60);
  });
});

describe('age', () => {
  it('counts Age, the delay of the exchange, the time since Date, and residence (RFC 9111 section 4.2.3)', () => {
    const fresh = (headers: string[], delay = 0): number => {
      const verdict = judge(['Cache-Control', 'max-age=100', ...headers], { delay });
      return verdict.storable ? currentAge(verdict.freshness, 1000) : Number.NaN;
    };
    expect(fresh([])).toBe(0);
    expect(fresh(['Age', '10'], 3)).toBe(13);
    expect(fresh(['Date', httpDate(-20), 'Age', '10'], 3)).toBe(20);
    expect(fresh(['Date', httpDate(50)])).toBe(0);
    expect(fresh(['Age', '100'])).toBeNaN();
    expect(currentAge({ lifetime: 100, initialAge: 1.5, receivedMonotonic: 0 }, 2600)).toBe(4);
  });

  it('is weighed against what the request wants', () => {
    const freshness = { lifetime: 100, initialAge: 0, receivedMonotonic: 0 };
    const fresh = (text: string, at = 40_000): boolean =>
      freshFor(freshness, parseRequestDirectives(text === '' ? [] : [text]) ?? new Map(), at);
    expect(fresh('')).toBe(true);
    expect(fresh('', 100_000)).toBe(false);
    expect(fresh('max-stale', 100_000)).toBe(false); // may be ignored, and is
    expect([fresh('max-age=40'), fresh('max-age=39'), fresh('max-age=0', 0)]).toEqual([true, false, false]);
    expect([fresh('min-fresh=59'), fresh('min-fresh=60')]).toEqual([true, false]);
  });
});
