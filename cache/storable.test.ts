import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRequestDirectives } from './cache-control.js';
import { freshFor } from './decision.js';
import { indexFields } from './fields.js';
import { currentAge, freshnessLeft, initialAge } from './freshness.js';
import type { RequestHead } from './key.js';
import { judgeResponse, type ResponseHead, type Verdict } from './storable.js';

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
    ['cdn-cache-control'],
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
    ['two that differ', ['Cache-Control', 'max-age=60, max-age=50'], 'not-fresh'],
    ['an unknown directive', ['Cache-Control', 'max-age=60, frobnicate="max-age=1"'], 60],
    ['s-maxage before max-age', ['Cache-Control', 'max-age=60, s-maxage=10'], 10],
    ['max-age before Expires', ['Cache-Control', 'max-age=60', 'Expires', '0'], 60],
    ['Expires', ['Date', httpDate(0), 'Expires', httpDate(30)], 30],
    ['Expires without Date', ['Expires', httpDate(30)], 30],
    ['Expires beside an unreadable Date', ['Date', 'yesterday', 'Expires', httpDate(30)], 30],
    ['a huge max-age', ['Cache-Control', 'max-age=99999999999999999999'], 2 ** 31],
    ['a quoted value', ['Cache-Control', 'max-age="60"'], 60],
    ['immutable alone', ['Cache-Control', 'immutable'], 'not-fresh'],
    ['max-age=0', ['Cache-Control', 'max-age=0'], 'not-fresh'],
    ['max-age=0 that can be validated', ['Cache-Control', 'max-age=0', 'ETag', '"a"'], 0],
    ['an empty member', ['Cache-Control', 'max-age=60, ,'], 60],
    ['Expires in the past', ['Expires', httpDate(-1)], 'not-fresh'],
    ['Expires: -1', ['Expires', '-1'], 'not-fresh'],
    ['Expires twice', ['Expires', httpDate(30), 'Expires', httpDate(30)], 'not-fresh'],
    ['Expires in RFC 850 form', ['Expires', 'Wednesday, 15-May-24 13:00:00 GMT'], 3600],
    ['an Age that is none', ['Age', 'old', 'Cache-Control', 'max-age=60'], 60],
    ['an Age beyond it', ['Age', '70, 0', 'Cache-Control', 'max-age=60'], 'not-fresh'],
    ['no value', ['Cache-Control', 'max-age'], 'not-fresh'],
    ['a space before =', ['Cache-Control', 'max-age =60'], 'not-fresh'],
    ['a negative value', ['Cache-Control', 'max-age=-1'], 'not-fresh'],
    ['an open quote', ['Cache-Control', 'max-age=60, private="a'], 'no-store'],
    ['a targeted field', ['Cache-Control', 'no-store', 'CDN-Cache-Control', 'max-age=60'], 60],
    ['one that is not valid', ['Cache-Control', 'max-age=5', 'CDN-Cache-Control', 'max-age=60, &'], 5],
    ['a targeted field beside Expires', ['CDN-Cache-Control', 'public', 'Expires', httpDate(9)], 'not-fresh'],
    ['nothing', [], 'not-fresh'],
  ])('%s', (_name, headers, expected) => expect(lifetime(judge(headers))).toBe(expected));

  it('is guessed as a tenth of the time since the last change, a day at most', () => {
    expect(lifetime(judge(['Last-Modified', httpDate(-1000)]))).toBe(100);
    expect(lifetime(judge(['Last-Modified', httpDate(-100 * 86_400)]))).toBe(86_400);
    expect(lifetime(judge(['Last-Modified', httpDate(1000)]))).toBe(0);
    expect(lifetime(judge(['Last-Modified', 'sometime']))).toBe('not-fresh');
  });

  it('is not guessed for queries, cookies, old-style no-cache and other statuses', () => {
    const headers = ['Last-Modified', httpDate(-1000)];
    expect(lifetime(judge(headers, { request: get('/a?b') }))).toBe(0);
    expect(lifetime(judge(headers, { request: get('/', ['Cookie', 'a']) }))).toBe('not-fresh');
    expect(lifetime(judge([...headers, 'Set-Cookie', 'a=b']))).toBe('not-fresh');
    expect(lifetime(judge([...headers, 'Pragma', 'No-Cache']))).toBe(0);
    expect(lifetime(judge(headers, { status: 403 }))).toBe('not-fresh');
    expect(lifetime(judge([...headers, 'Cache-Control', 'public'], { status: 403 }))).toBe(100);
  });
});

describe('refusals', () => {
  const FRESH = ['Cache-Control', 'max-age=60'];
  it.each<[string, string, string[], Parameters<typeof judge>[1]]>([
    ['status', '304', FRESH, { status: 304 }],
    ['status', '416', FRESH, { status: 416 }],
    ['partial', '206 without Content-Range', FRESH, { status: 206 }],
    ['partial', '206 with a wrong one', [...FRESH, 'Content-Range', 'bytes 3-2/9'], { status: 206 }],
    ['method', 'HEAD', FRESH, { request: get('/', [], 'HEAD') }],
    ['method', 'POST', FRESH, { request: get('/', ['Host', 'a'], 'POST') }],
    ['close-delimited', 'no length', FRESH, { framing: 'close' }],
    ['vary', 'Vary malformed', [...FRESH, 'Vary', 'a b'], {}],
    ['vary', 'Vary * in a second line', [...FRESH, 'Vary', 'a', 'vary', '*'], {}],
    ['connection-options', 'Connection malformed', [...FRESH, 'Connection', 'close etag'], {}],
    ['authorization', 'credentials', FRESH, { request: get('/', ['Authorization', 'Basic eA==']) }],
    ['no-store', 'no-store', ['Cache-Control', 'No-Store, max-age=60'], {}],
    ['private', 'private', ['Cache-Control', 'max-age=60, PRIVATE'], {}],
    [
      'must-understand',
      'an unknown status',
      ['Cache-Control', 'max-age=60, must-understand'],
      { status: 299 },
    ],
    ['no-cache', 'no-cache without a validator', ['Cache-Control', 'no-cache'], {}],
  ])('%s: %s', (reason, _name, headers, options) => expect(lifetime(judge(headers, options))).toBe(reason));

  it('end where the origin says more', () => {
    const credentials = get('/', ['Authorization', 'Basic eA==']);
    for (const more of ['public', 's-maxage=60', 'must-revalidate']) {
      expect(lifetime(judge(['Cache-Control', `max-age=60, ${more}`], { request: credentials }))).toBe(60);
    }
    expect(lifetime(judge(['Cache-Control', 'max-age=60, no-store, must-understand']))).toBe(60);
    const post = get('/form', ['Host', 'a'], 'POST');
    for (const location of ['/form', 'http://a/form']) {
      expect(lifetime(judge([...FRESH, 'Content-Location', location], { request: post }))).toBe(60);
    }
  });

  it('an encoding nobody varies by reaches only who accepts the same', () => {
    const verdict = judge([...FRESH, 'Content-Encoding', 'gzip', 'Vary', 'X']);
    expect(verdict.storable && verdict.vary).toEqual(['accept-encoding', 'x']);
  });
});

describe('age', () => {
  const seconds = fc.integer({ min: -(2 ** 33), max: 2 ** 33 });

  it('is never negative, never less than what any node before said, and grows with time', () => {
    fc.assert(
      fc.property(
        seconds,
        fc.nat(2 ** 31),
        fc.nat(100_000),
        fc.nat(1_000_000),
        (date, age, delay, resident) => {
          const times = { requestedAt: NOW - delay, receivedAt: NOW, receivedMonotonic: 5000 };
          const initial = initialAge(NOW + date * 1000, age, times);
          const freshness = { lifetime: 100, heuristic: false, initialAge: initial, receivedMonotonic: 5000 };
          expect(initial).toBeGreaterThanOrEqual(Math.max(age + delay / 1000, -date, 0));
          const later = currentAge(freshness, 5000 + resident);
          expect(later).toBe(Math.floor(initial + resident / 1000));
          expect(freshnessLeft(freshness, 5000 + resident)).toBe(100 - later);
        },
      ),
    );
  });

  it('over a chain of caches is at least the time the response has been anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ delay: fc.nat(3000), resident: fc.nat(100_000) }), { maxLength: 6 }),
        (nodes) => {
          let clock = NOW;
          let age = 0;
          for (const { delay, resident } of nodes) {
            const requestedAt = clock;
            clock += delay;
            // A Date that says nothing, as from an origin with a clock that is ahead.
            const times = { requestedAt, receivedAt: clock, receivedMonotonic: 0 };
            const freshness = {
              lifetime: 0,
              heuristic: false,
              initialAge: initialAge(clock, age, times),
              receivedMonotonic: 0,
            };
            clock += resident;
            age = currentAge(freshness, resident);
          }
          // Whole seconds are passed on: each node may lose less than one.
          expect(age).toBeGreaterThan((clock - NOW) / 1000 - nodes.length - 1);
        },
      ),
    );
  });

  it('is weighed against what the request wants', () => {
    const verdict = judge(['Cache-Control', 'max-age=100']);
    if (!verdict.storable) throw new Error(verdict.reason);
    const fresh = (text: string, at = 41_000): boolean =>
      freshFor(verdict, parseRequestDirectives([text]), at);
    expect(fresh('')).toBe(true);
    expect(fresh('', 101_000)).toBe(false);
    expect([fresh('max-age=40'), fresh('max-age=39'), fresh('max-age=0', 1000)]).toEqual([
      true,
      false,
      false,
    ]);
    expect([fresh('min-fresh=59'), fresh('min-fresh=60')]).toEqual([true, false]);
    expect([fresh('No-Cache'), fresh('max-age=x'), fresh('min-fresh=x')]).toEqual([false, false, true]);
  });
});
