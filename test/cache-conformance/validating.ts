/** Validation, conditions and ranges. */
import { FRESH, get, hit, miss, stores, type Case, type Headers, type Step } from './case.js';

const ETAG: Headers = { 'Cache-Control': 'max-age=10', ETag: '"v1"' };
export const validating: Case[] = [
  {
    section: '9111 4.3.1',
    behaviour: 'a stale response is validated with both validators',
    steps: [
      stores({ ...ETAG, 'Last-Modified': 'Sat, 01 Jan 2000 00:00:00 GMT' }),
      {
        ...hit,
        after: 11,
        expect: 'validated',
        origin: { status: 304, headers: ETAG },
        asked: { 'if-none-match': '"v1"', 'if-modified-since': 'Sat, 01 Jan 2000 00:00:00 GMT' },
      },
      hit,
    ],
  },
  {
    section: '9111 4.3.4',
    behaviour: 'a 304 renews the stored fields but not those of the body',
    steps: [
      stores({ ...ETAG, 'X-A': '1', 'X-B': '1', 'Content-Type': 'text/plain' }),
      {
        ...hit,
        after: 11,
        expect: 'validated',
        origin: { status: 304, headers: { ...ETAG, 'X-A': '2', 'Content-Type': 'text/html' } },
        fields: { 'x-a': '2', 'x-b': '1', 'content-type': 'text/plain' },
      },
      { ...hit, fields: { 'x-a': '2', 'x-b': '1' } },
    ],
  },
  {
    section: '9111 4.3.3',
    behaviour: 'a 200 replaces what was validated',
    steps: [
      stores(ETAG),
      {
        after: 11,
        expect: 'validated',
        origin: { headers: { ...FRESH, ETag: '"v2"' }, body: 'new' },
        body: 'new',
      },
      { expect: 'hit', body: 'new' },
    ],
  },
  {
    section: '9111 5.2.2.4',
    behaviour: 'no-cache is stored and validated each time',
    steps: [
      stores({ 'Cache-Control': 'no-cache, max-age=60', ETag: '"v1"' }),
      {
        ...hit,
        expect: 'validated',
        origin: { status: 304, headers: { 'Cache-Control': 'no-cache, max-age=60', ETag: '"v1"' } },
      },
    ],
  },
  {
    section: '9111 4.3.2',
    behaviour:
      'If-None-Match is answered from the store, by weak comparison, and comes before If-Modified-Since',
    steps: [
      stores({ ...FRESH, ETag: 'W/"v1"', 'Last-Modified': 'Sat, 01 Jan 2000 00:00:00 GMT' }),
      get({ headers: { 'If-None-Match': '"v0", "v1"' }, status: 304, fields: { etag: 'W/"v1"' } }),
      get({ headers: { 'If-None-Match': '*' }, status: 304 }),
      get({
        headers: { 'If-None-Match': '"v2"', 'If-Modified-Since': 'Sun, 02 Jan 2000 00:00:00 GMT' },
        status: 200,
        body: 'first',
      }),
    ],
  },
  {
    section: '9111 4.3.2',
    behaviour: 'If-Modified-Since is compared with Last-Modified, or else with Date',
    steps: [
      stores({ ...FRESH, 'Last-Modified': 'Sat, 01 Jan 2000 00:00:00 GMT' }),
      get({ headers: { 'If-Modified-Since': 'Sat, 01 Jan 2000 00:00:00 GMT' }, status: 304 }),
      get({ headers: { 'If-Modified-Since': 'Saturday, 01-Jan-00 00:00:00 GMT' }, status: 304 }),
      get({ headers: { 'If-Modified-Since': 'Fri, 31 Dec 1999 00:00:00 GMT' }, status: 200 }),
      stores(FRESH, { path: '/dated' }),
      get({ path: '/dated', headers: { 'If-Modified-Since': { date: 60 } }, status: 304 }),
      get({ path: '/dated', headers: { 'If-Modified-Since': { date: -60 } }, status: 200 }),
    ],
  },
  {
    section: '9111 4.3.1',
    behaviour: 'a client that validates gets 304 after the stored response was validated',
    steps: [
      stores(ETAG),
      {
        after: 11,
        headers: { 'If-None-Match': '"v1"' },
        expect: 'validated',
        origin: { status: 304, headers: ETAG },
        status: 304,
      },
      hit,
    ],
  },
  {
    section: '9110 13.2.1',
    behaviour: 'conditions for origins only are not evaluated here',
    steps: [
      stores({ ...FRESH, ETag: '"v1"' }),
      { headers: { 'If-Match': '"v2"' }, expect: 'fetched', origin: { status: 412 }, status: 412 },
      hit,
    ],
  },
  {
    section: '9111 4.3.5',
    behaviour: 'a HEAD renews the stored response',
    steps: [
      stores({ ...ETAG, 'X-A': '1' }),
      {
        after: 11,
        method: 'HEAD',
        expect: 'fetched',
        origin: { headers: { ...FRESH, ETag: '"v1"', 'X-A': '2', 'Content-Length': '5' } },
      },
      { ...hit, fields: { 'x-a': '2' } },
    ],
  },
  {
    section: '9111 4.3.5',
    behaviour: 'a HEAD with another validator or length makes it invalid',
    steps: [
      stores({ ...FRESH, ETag: '"v1"', 'Cache-Control': 'max-age=10' }),
      {
        after: 11,
        method: 'HEAD',
        expect: 'fetched',
        origin: { headers: { ...FRESH, ETag: '"v1"', 'Content-Length': '6' } },
      },
      { ...miss, asked: { 'if-none-match': null } },
    ],
  },
  {
    section: '9110 9.3.2',
    behaviour: 'HEAD is answered from a stored GET',
    steps: [stores(), get({ method: 'HEAD', body: '' })],
  },
];

const RANGED: Headers = { ...FRESH, ETag: '"v1"' };
const part = (range: string, bytes: string, body: string, more: Partial<Step> = {}): Step => ({
  headers: { Range: range },
  expect: 'fetched',
  origin: { status: 206, headers: { ...RANGED, 'Content-Range': bytes }, body },
  status: 206,
  ...more,
});
export const ranges: Case[] = [
  {
    section: '9110 14.2',
    behaviour: 'ranges are served from a whole response',
    steps: [
      stores(FRESH, { origin: { body: '0123456789' } }),
      get({
        headers: { Range: 'bytes=2-4' },
        status: 206,
        body: '234',
        fields: { 'content-range': 'bytes 2-4/10' },
      }),
      get({ headers: { Range: 'bytes=7-' }, status: 206, body: '789' }),
      get({ headers: { Range: 'bytes=-2' }, status: 206, body: '89', fields: { 'content-length': '2' } }),
      get({ headers: { Range: 'bytes=10-' }, status: 416, fields: { 'content-range': 'bytes */10' } }),
      get({ headers: { Range: 'lines=1-2' }, status: 200, body: '0123456789' }),
    ],
  },
  {
    section: '9110 14.6',
    behaviour: 'several ranges are served in parts',
    steps: [
      stores({ ...FRESH, 'Content-Type': 'text/plain' }, { origin: { body: '0123456789' } }),
      get({
        headers: { Range: 'bytes=0-1, 8-' },
        status: 206,
        fields: { 'content-type': /^multipart\/byteranges; boundary=/, 'content-range': null },
      }),
    ],
  },
  {
    section: '9110 13.1.5',
    behaviour: 'If-Range holds for the same strong tag only',
    steps: [
      stores(RANGED, { origin: { body: '0123456789' } }),
      get({ headers: { Range: 'bytes=0-1', 'If-Range': '"v1"' }, status: 206 }),
      get({ headers: { Range: 'bytes=0-1', 'If-Range': '"v2"' }, status: 200 }),
      get({ headers: { Range: 'bytes=0-1', 'If-Range': 'W/"v1"' }, status: 200 }),
    ],
  },
  {
    section: '9111 3.3',
    behaviour: 'a part is stored, and answers what lies within it',
    steps: [
      part('bytes=2-6', 'bytes 2-6/10', '23456'),
      get({
        headers: { Range: 'bytes=3-4' },
        status: 206,
        body: '34',
        fields: { 'content-range': 'bytes 3-4/10' },
      }),
      part('bytes=6-7', 'bytes 6-7/10', '67'),
      get({ headers: { Range: 'bytes=2-7' }, status: 206, body: '234567' }),
    ],
  },
  {
    section: '9111 3.4',
    behaviour: 'parts of one strong tag are put together to a whole',
    steps: [
      part('bytes=5-', 'bytes 5-9/10', '56789'),
      part('bytes=0-4', 'bytes 0-4/10', '01234'),
      get({ status: 200, body: '0123456789', fields: { 'content-length': '10', 'content-range': null } }),
    ],
  },
  {
    section: '9111 3.4',
    behaviour: 'parts of different tags are not',
    steps: [
      part('bytes=5-', 'bytes 5-9/10', '56789'),
      part('bytes=0-4', 'bytes 0-4/10', 'abcde', {
        origin: {
          status: 206,
          headers: { ...FRESH, ETag: '"v2"', 'Content-Range': 'bytes 0-4/10' },
          body: 'abcde',
        },
      }),
      { ...miss, asked: { range: 'bytes=5-' } },
    ],
  },
  {
    section: '9111 3.4',
    behaviour: 'the missing part of a whole is fetched alone',
    steps: [
      part('bytes=0-4', 'bytes 0-4/10', '01234'),
      {
        expect: 'fetched',
        asked: { range: 'bytes=5-', 'if-range': '"v1"' },
        origin: { status: 206, headers: { ...RANGED, 'Content-Range': 'bytes 5-9/10' }, body: '56789' },
        status: 200,
        body: '0123456789',
        fields: { 'content-length': '10', 'content-range': null },
      },
      get({ body: '0123456789' }),
    ],
  },
  {
    section: '9111 3.4',
    behaviour: 'a whole in place of the missing part replaces what is stored',
    steps: [part('bytes=0-4', 'bytes 0-4/10', '01234'), miss, get({ body: 'second' })],
  },
  {
    section: '9110 14.4',
    behaviour: 'a part that is not as long as it says is not stored',
    steps: [part('bytes=0-4', 'bytes 0-4/10', '012'), part('bytes=0-4', 'bytes 0-4/10', '01234')],
  },
];
