/** Stale use, what requests ask for, invalidation, and extensions. */
import { FRESH, get, hit, miss, notReused, reused, stores, type Case, type Step } from './case.js';

const swr = { 'Cache-Control': 'max-age=10, stale-while-revalidate=30' };
export const staleness: Case[] = [
  {
    section: '5861 3',
    behaviour: 'a stale response is used within its window, and renewed behind',
    steps: [
      stores(swr),
      {
        ...hit,
        after: 11,
        origin: { headers: FRESH, body: 'renewed' },
        fields: { 'cache-status': /; hit; ttl=-[12]$/ },
      },
      get({ body: 'renewed', after: 1 }),
    ],
  },
  { section: '5861 3', behaviour: 'not after its window', steps: [stores(swr), { ...miss, after: 41 }] },
  {
    section: '5861 4',
    behaviour: 'a stale response stands in for an error',
    steps: [
      stores({ 'Cache-Control': 'max-age=10, stale-if-error=30' }),
      { ...hit, after: 11, expect: 'fetched', origin: { status: 500 } },
      { after: 30, expect: 'fetched', origin: { status: 500 }, status: 500 },
    ],
  },
  {
    section: '9111 4.2.4',
    behaviour: 'a stale response stands in for an origin that cannot be reached',
    steps: [
      stores({ 'Cache-Control': 'max-age=10' }),
      {
        ...hit,
        after: 11,
        expect: 'fetched',
        origin: { down: true },
        fields: { 'cache-status': /stale-if-error/ },
      },
    ],
  },
  ...['must-revalidate', 'proxy-revalidate', 's-maxage=10', 'no-cache'].map((directive) => ({
    section: '9111 4.2.4',
    behaviour: `not with ${directive}`,
    steps: [
      stores({ 'Cache-Control': `max-age=10, stale-if-error=60, ${directive}`, ETag: '"v1"' }),
      { after: 11, expect: 'validated' as const, origin: { down: true }, status: 502 },
    ],
  })),
  reused('8246 2', 'immutable changes nothing for a shared cache: fresh is used', {
    'Cache-Control': 'max-age=60, immutable',
  }),
  notReused('8246 2', 'and stale is not', { 'Cache-Control': 'max-age=10, immutable' }, 11),
];

export const requests: Case[] = [
  ['max-age=5', 10],
  ['max-age=0', 0],
  ['min-fresh=55', 10],
  ['no-cache', 0],
  ['no-store', 0],
].map(([directive, after]) => ({
  section: '9111 5.2.1',
  behaviour: `a request with ${directive} gets what it asks for`,
  steps: [stores(), { ...miss, after: Number(after), headers: { 'Cache-Control': String(directive) } }],
}));
requests.push(
  {
    section: '9111 5.2.1.2',
    behaviour: 'max-stale allows what is stale by no more',
    steps: [
      stores({ 'Cache-Control': 'max-age=10' }),
      { ...hit, after: 15, headers: { 'Cache-Control': 'max-stale=10' } },
      { ...miss, after: 10, headers: { 'Cache-Control': 'max-stale=10' } },
    ],
  },
  {
    section: '9111 5.2.1.2',
    behaviour: 'max-stale does not overrule must-revalidate',
    steps: [
      stores({ 'Cache-Control': 'max-age=10, must-revalidate' }),
      { ...miss, after: 15, headers: { 'Cache-Control': 'max-stale' } },
    ],
  },
  {
    section: '9111 5.2.1.7',
    behaviour: 'only-if-cached is answered without the origin',
    steps: [
      get({ headers: { 'Cache-Control': 'only-if-cached' }, status: 504 }),
      stores(),
      { ...hit, headers: { 'Cache-Control': 'only-if-cached' } },
    ],
  },
  {
    section: '9111 5.4',
    behaviour: 'Pragma: no-cache counts without Cache-Control only',
    steps: [
      stores(),
      { ...hit, headers: { Pragma: 'no-cache', 'Cache-Control': 'x' } },
      { ...miss, headers: { Pragma: 'no-cache' } },
    ],
  },
);

export const invalidating: Case[] = [
  ...['POST', 'PUT', 'DELETE', 'M-SEARCH'].map((method) => ({
    section: '9111 4.4',
    behaviour: `${method} invalidates when it succeeds, and not when it fails`,
    steps: [
      stores(),
      { method, expect: 'fetched' as const, origin: { status: 500, headers: {} }, status: 500 },
      hit,
      { method, expect: 'fetched' as const, origin: { headers: {} } },
      miss,
    ],
  })),
  {
    section: '9111 4.4',
    behaviour: 'Location and Content-Location are invalidated too, of the same origin only',
    steps: [
      stores(FRESH, { path: '/a' }),
      stores(FRESH, { path: '/b' }),
      stores(FRESH, { path: '/c' }),
      {
        method: 'POST',
        expect: 'fetched',
        origin: { headers: { Location: '/a', 'Content-Location': 'http://other.test/c' } },
      },
      { ...miss, path: '/a' },
      { ...hit, path: '/b' },
      { ...hit, path: '/c' },
    ],
  },
  {
    section: '9875 3',
    behaviour: 'a group is invalidated by an unsafe request, not by a safe one',
    steps: [
      stores({ ...FRESH, 'Cache-Groups': '"a", "b"' }, { path: '/1' }),
      stores({ ...FRESH, 'Cache-Groups': '"b"' }, { path: '/2' }),
      { path: '/x', expect: 'fetched', origin: { headers: { 'Cache-Group-Invalidation': '"a"' } } },
      { ...hit, path: '/1' },
      {
        path: '/x',
        method: 'POST',
        expect: 'fetched',
        origin: { headers: { 'Cache-Group-Invalidation': '"a"' } },
      },
      { ...miss, path: '/1' },
      { ...hit, path: '/2' },
    ],
  },
  {
    section: '9875 2.1',
    behaviour: 'groups of the same name are those of one origin',
    steps: [
      stores({ ...FRESH, 'Cache-Groups': '"a"' }, { path: '/1', headers: { Host: 'one.test' } }),
      {
        path: '/x',
        headers: { Host: 'two.test' },
        method: 'POST',
        expect: 'fetched',
        origin: { headers: { 'Cache-Group-Invalidation': '"a"' } },
      },
      { ...hit, path: '/1', headers: { Host: 'one.test' } },
    ],
  },
  {
    section: '9875 2',
    behaviour: 'parameters of a group are ignored, and a list with anything but strings is none',
    steps: [
      stores({ ...FRESH, 'Cache-Groups': '"a";x=1' }, { path: '/1' }),
      stores({ ...FRESH, 'Cache-Groups': '"a", b' }, { path: '/2' }),
      {
        path: '/x',
        method: 'POST',
        expect: 'fetched',
        origin: { headers: { 'Cache-Group-Invalidation': '"a";y' } },
      },
      { ...miss, path: '/1' },
      { ...hit, path: '/2' },
    ],
  },
];

/** An answer that says this about queries. */
const search = (value: string, path: string, body: string): Step => ({
  expect: 'fetched',
  path,
  origin: { headers: { ...FRESH, 'No-Vary-Search': value }, body },
  body,
});

export const searches: Case[] = [
  {
    section: 'No-Vary-Search',
    behaviour: 'parameters that do not matter select the same response',
    steps: [
      search('params=("utm")', '/?a=1&utm=1', 'first'),
      { ...hit, path: '/?a=1&utm=2' },
      { ...hit, path: '/?utm=3&a=1' },
      { ...hit, path: '/?a=1' },
      { ...miss, path: '/?a=2&utm=1' },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'with all but some not mattering, those do',
    steps: [
      search('params, except=("id")', '/?id=1&x', 'first'),
      { ...hit, path: '/?y&id=1' },
      { ...miss, path: '/?id=2&x' },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'the order of names may not matter; that of values of one name does',
    steps: [
      search('key-order', '/?b=1&a=1&a=2', 'first'),
      { ...hit, path: '/?a=1&b=1&a=2' },
      { ...miss, path: '/?a=2&b=1&a=1' },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'a field that is not as it should be changes nothing',
    steps: [search('params=("a"), except=("x")', '/?a=1', 'first'), { ...miss, path: '/?a=2' }],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'what the origin says last counts',
    steps: [
      search('params', '/?a=1', 'first'),
      { ...search('params=("b")', '/?a=2', 'second'), headers: { 'Cache-Control': 'no-cache' } },
      { ...hit, path: '/?a=2&b=3', body: 'second' },
      { ...search('params=("b")', '/?a=3', 'third') },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'a stale one is validated under the name that was asked for',
    steps: [
      {
        ...search('params=("utm")', '/?utm=1', 'first'),
        origin: {
          headers: { 'Cache-Control': 'max-age=5', ETag: '"a"', 'No-Vary-Search': 'params=("utm")' },
          body: 'first',
        },
      },
      {
        after: 10,
        path: '/?utm=2',
        expect: 'validated',
        asked: { 'if-none-match': '"a"' },
        origin: { status: 304, headers: { ...FRESH, ETag: '"a"' } },
        body: 'first',
      },
      { ...hit, path: '/?utm=2' },
      { ...hit, path: '/?utm=3' },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'an unsafe request invalidates what stands for its target',
    steps: [
      search('params=("utm")', '/?utm=1', 'first'),
      { path: '/?utm=2', method: 'POST', expect: 'fetched' },
      { ...miss, path: '/?utm=3' },
    ],
  },
  {
    section: 'No-Vary-Search',
    behaviour: 'variants are selected as under any name',
    steps: [
      {
        ...search('params=("utm")', '/?utm=1', 'first'),
        headers: { 'X-Kind': 'a' },
        origin: { headers: { ...FRESH, Vary: 'X-Kind', 'No-Vary-Search': 'params=("utm")' }, body: 'first' },
      },
      { ...hit, path: '/?utm=2', headers: { 'X-Kind': 'a' } },
      { ...miss, path: '/?utm=2', headers: { 'X-Kind': 'b' } },
    ],
  },
];

export const extensions: Case[] = [
  reused('9213 2.2', 'a targeted field is used in place of Cache-Control', {
    'Cache-Control': 'no-store',
    'CDN-Cache-Control': 'max-age=60',
  }),
  notReused('9213 2.2', 'and of Expires', { 'CDN-Cache-Control': 'max-age=2', Expires: { date: 60 } }, 3),
  notReused('9213 2.1', 'one that is not valid is ignored', {
    'Cache-Control': 'no-store',
    'CDN-Cache-Control': 'max-age=60, &',
  }),
  notReused('9213 2.1', 'one with a value of the wrong type is ignored', {
    'Cache-Control': 'no-store',
    'CDN-Cache-Control': 'max-age="60"',
  }),
  {
    section: '9211 2',
    behaviour: 'Cache-Status says what was done, behind what was said before',
    steps: [
      stores(
        { ...FRESH, 'Cache-Status': 'below; hit' },
        {
          fields: { 'cache-status': 'below; hit, p1; fwd=uri-miss; fwd-status=200; stored' },
        },
      ),
      { ...hit, fields: { 'cache-status': /^below; hit, p1; hit; ttl=(59|60)$/ } },
      {
        ...miss,
        headers: { 'Cache-Control': 'no-cache' },
        fields: { 'cache-status': 'p1; fwd=request; fwd-status=200; stored' },
      },
    ],
  },
];
