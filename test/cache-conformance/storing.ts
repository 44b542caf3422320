/** What is stored, for how long it is fresh, and for whom. */
import { FRESH, hit, miss, notReused, reused, stores, type Case } from './case.js';

export const storing: Case[] = [
  notReused('9111 3', 'no-store is not stored, in whatever case', {
    'Cache-Control': 'No-Store, max-age=60',
  }),
  notReused('9111 3', 'private is not stored', { 'Cache-Control': 'PRIVATE, max-age=60' }),
  reused('9111 3', 'what is private in quotes of an extension is not private', {
    'Cache-Control': 'max-age=60, x="a, private"',
  }),
  {
    section: '9111 3',
    behaviour: 'an unknown status with a lifetime is stored',
    steps: [
      stores({ 'Cache-Control': 'max-age=60' }, { origin: { status: 299 }, status: 299 }),
      { ...hit, status: 299 },
    ],
  },
  {
    section: '9111 3',
    behaviour: 'must-understand beside an unknown status is not stored',
    steps: [
      stores({ 'Cache-Control': 'max-age=60, must-understand' }, { origin: { status: 299 }, status: 299 }),
      miss,
    ],
  },
  reused('9111 5.2.2.3', 'must-understand beside a known status overrides no-store', {
    'Cache-Control': 'max-age=60, no-store, must-understand',
  }),
  {
    section: '9111 3.1',
    behaviour: 'fields that Connection names, and those of the hop, are not stored',
    steps: [
      stores({
        ...FRESH,
        Connection: 'X-Hop',
        'X-Hop': '1',
        'Keep-Alive': 'x',
        'Proxy-Authenticate': 'Basic',
        'X-Kept': '2',
      }),
      { ...hit, fields: { 'x-hop': null, 'proxy-authenticate': null, 'x-kept': '2' } },
    ],
  },
  {
    section: '9111 7.3',
    behaviour: 'Set-Cookie is stored with a lifetime that is explicit',
    steps: [stores({ ...FRESH, 'Set-Cookie': 'a=b' }), { ...hit, fields: { 'set-cookie': 'a=b' } }],
  },
  notReused('9111 7.3', 'Set-Cookie is not stored on a guess', {
    'Last-Modified': { date: -100_000 },
    'Set-Cookie': 'a=b',
  }),
  {
    section: '9111 5.2.2.4',
    behaviour: 'fields that no-cache names are not sent again unvalidated',
    steps: [
      stores({ 'Cache-Control': 'max-age=60, no-cache="X-A"', 'X-A': '1' }),
      { ...hit, fields: { 'x-a': null } },
    ],
  },
  {
    section: '9111 3.5',
    behaviour: 'an answer to credentials is not for others',
    steps: [stores(FRESH, { headers: { Authorization: 'Basic eA==' } }), miss],
  },
  ...['public', 's-maxage=60', 'must-revalidate'].map((directive) => ({
    section: '9111 3.5',
    behaviour: `an answer to credentials is for others with ${directive}`,
    steps: [
      stores({ 'Cache-Control': `max-age=60, ${directive}` }, { headers: { Authorization: 'Basic eA==' } }),
      hit,
    ],
  })),
  {
    section: '9110 9.3.3',
    behaviour: 'an answer to POST that names its own URL and a lifetime stands for GET',
    steps: [stores({ ...FRESH, 'Content-Location': '/' }, { method: 'POST' }), hit],
  },
  {
    section: '9110 9.3.3',
    behaviour: 'an answer to POST about another URL does not',
    steps: [stores({ ...FRESH, 'Content-Location': '/other' }, { method: 'POST' }), miss],
  },
];

export const freshness: Case[] = [
  notReused('9111 4.2', 'a response is stale when its lifetime is over', { 'Cache-Control': 'max-age=2' }, 3),
  reused('9111 4.2.1', 's-maxage comes before max-age', { 'Cache-Control': 'max-age=1, s-maxage=60' }, 3),
  reused('9111 4.2.1', 'max-age comes before Expires', { ...FRESH, Expires: { date: -10 } }, 3),
  reused('9111 4.2.1', 'Expires counts from Date', { Expires: { date: 60 } }, 3),
  notReused('9111 4.2.1', 'two lifetimes that differ are none', {
    'Cache-Control': 'max-age=60, max-age=50',
  }),
  notReused('9111 4.2.1', 'a lifetime that is no number is none', { 'Cache-Control': 'max-age=60s' }),
  reused(
    '9111 1.2.2',
    'a lifetime too large for 32 bits is a long one',
    { 'Cache-Control': 'max-age=99999999999' },
    3600,
  ),
  notReused('9111 5.3', 'an Expires that is no date is in the past', { Expires: '0' }),
  notReused('9111 5.3', 'two Expires are in the past', {
    Expires: ['Thu, 18 Aug 2050 02:01:18 GMT', 'Thu, 18 Aug 2050 02:01:19 GMT'],
  }),
  reused('9110 5.6.7', 'an Expires in an obsolete form counts', {
    Expires: 'Thursday, 18-Aug-50 02:01:18 GMT',
  }),
  reused('9111 4.2', 'the case of the letters of a date does not matter', {
    Expires: 'THU, 18 aug 2050 02:01:18 gmt',
  }),
  notReused('9110 5.6.7', 'a date of another time zone is none', {
    Expires: 'Thu, 18 Aug 2050 02:01:18 UTC',
  }),
  reused(
    '9111 4.2.2',
    'a lifetime is guessed from Last-Modified',
    { 'Last-Modified': { date: -100_000 } },
    60,
  ),
  notReused('9111 4.2.2', 'none is guessed without Last-Modified', {}),
  {
    section: '9111 4.2.2',
    behaviour: 'none is guessed for a status that does not allow it',
    steps: [
      stores({ 'Last-Modified': { date: -100_000 } }, { origin: { status: 403 }, status: 403 }),
      { expect: 'fetched', origin: { status: 403, body: 'second' }, status: 403, body: 'second' },
    ],
  },
  notReused('9111 4.2.3', 'an Age beyond the lifetime makes it stale', { ...FRESH, Age: '61' }),
  notReused('9111 4.2.3', 'a Date beyond the lifetime ago makes it stale', { ...FRESH, Date: { date: -61 } }),
  notReused('9111 5.1', 'the first of several ages counts', { ...FRESH, Age: ['70', '0'] }),
  reused('9111 5.1', 'an Age that is no number is ignored', { ...FRESH, Age: '-70' }),
  {
    section: '9111 5.1',
    behaviour: 'Age is that of the response as it came and the time since',
    steps: [stores({ ...FRESH, Age: '30' }), { ...hit, after: 10, fields: { age: /^4[01]$/ } }],
  },
  {
    section: '9110 6.6.1',
    behaviour: 'Date stays what it was, and one is added where it is missing',
    steps: [
      stores({ ...FRESH, Date: 'Tue, 15 Nov 1994 12:45:26 GMT' }),
      { ...miss, fields: { date: /GMT$/ } },
    ],
  },
];

export const selecting: Case[] = [
  {
    section: '9111 4.1',
    behaviour: 'variants are kept apart, and side by side',
    steps: [
      stores({ ...FRESH, Vary: 'X' }, { headers: { X: '1' } }),
      { ...miss, headers: { X: '2' }, origin: { headers: { ...FRESH, Vary: 'X' }, body: 'second' } },
      { ...hit, headers: { X: '1' } },
      { expect: 'hit', body: 'second', headers: { X: '2' } },
      { ...miss, origin: { headers: { ...FRESH, Vary: 'X' }, body: 'second' } },
    ],
  },
  {
    section: '9111 4.1',
    behaviour: 'Vary: * matches nothing',
    steps: [stores({ ...FRESH, Vary: 'X, *' }), miss],
  },
  {
    section: '9111 4.1',
    behaviour: 'lines and white space do not make a variant',
    steps: [
      stores({ ...FRESH, Vary: 'X' }, { headers: { X: '1, 2' } }),
      { ...hit, headers: { X: ['1', ' 2 '] } },
    ],
  },
  {
    section: '9111 4.1',
    behaviour: 'order and case of languages do not make a variant',
    steps: [
      stores({ ...FRESH, Vary: 'Accept-Language' }, { headers: { 'Accept-Language': 'en, de;q=0.5' } }),
      { ...hit, headers: { 'Accept-Language': 'DE;q=0.5 ,EN' } },
    ],
  },
  {
    section: '9111 4.1',
    behaviour: 'a response in the language that is preferred to all others is selected',
    steps: [
      stores(
        { ...FRESH, Vary: 'Accept-Language', 'Content-Language': 'de' },
        { headers: { 'Accept-Language': 'en, de' } },
      ),
      { ...hit, headers: { 'Accept-Language': 'fr;q=0.5, de' } },
    ],
  },
  {
    section: '9111 4.1',
    behaviour: 'an encoding that Vary forgets reaches only who accepts the same',
    steps: [
      stores({ ...FRESH, 'Content-Encoding': 'x-odd' }, { headers: { 'Accept-Encoding': 'x-odd' } }),
      { ...hit, headers: { 'Accept-Encoding': 'x-odd' } },
      miss,
    ],
  },
  {
    section: '9111 2',
    behaviour: 'another query or host is another resource',
    steps: [
      stores(FRESH, { path: '/?a' }),
      { ...miss, path: '/?b' },
      { ...miss, path: '/?a', headers: { host: 'other.test' } },
      { ...hit, path: '/?a' },
    ],
  },
];
