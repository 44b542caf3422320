import { describe, expect, it } from 'vitest';
import { HttpCache } from './cache.js';
import { Fill, FillBudget, type FillReader } from './fill.js';
import { NO_REQUEST_DIRECTIVES, NO_RESPONSE_DIRECTIVES } from './cache-control.js';
import type { Asker } from './decision.js';
import type { Outcome } from './flight.js';
import { indexFields } from './fields.js';
import type { RequestHead } from './key.js';
import type { ExchangeTimes } from './freshness.js';
import type { ResponseHead } from './storable.js';
import { MemoryStore } from './store.js';
import type { StoredResponse } from './stored.js';
import { evaluateConditions, updatedBy, validators } from './validation.js';

const times: ExchangeTimes = { requestedAt: 0, receivedAt: 0, receivedMonotonic: 0 };

function request(...rawHeaders: string[]): RequestHead {
  return { method: 'GET', target: '/', rawHeaders, fields: indexFields(rawHeaders), hasBody: false };
}

function response(...rawHeaders: string[]): ResponseHead {
  const fields = indexFields(rawHeaders);
  return { status: 200, statusMessage: 'OK', httpVersion: '1.1', rawHeaders, fields, framing: 'chunked' };
}

function stored(body: Buffer, overrides: Partial<StoredResponse> = {}): StoredResponse {
  return {
    ...response('ETag', '"a"'),
    freshness: { lifetime: 60, heuristic: false, initialAge: 0, receivedMonotonic: 0 },
    directives: NO_RESPONSE_DIRECTIVES,
    vary: [],
    variant: '',
    forEverybody: true,
    body: [body],
    bodyLength: body.length,
    pieces: undefined,
    since: 0,
    groups: [],
    ...overrides,
  };
}

const asker = (...headers: string[]): Asker => ({
  request: request(...headers),
  directives: NO_REQUEST_DIRECTIVES,
});

describe('MemoryStore', () => {
  it('stays within its bytes, the least recently used leave, and its index leaves with them', () => {
    const store = new MemoryStore(100_000, 100_000);
    for (let index = 0; index < 50; index++) {
      store.get('key 0', new Map());
      store.put(`key ${index}`, stored(Buffer.alloc(10_000)));
      expect(store.stats().bytes).toBeLessThanOrEqual(100_000);
    }
    expect(store.stats().evictions).toBe(50 - store.stats().entries);
    expect(store.vary('key 0')).toEqual([]);
    expect(store.vary('key 1')).toBeUndefined();
    expect(store.get('key 49', new Map())).toBeDefined();
  });

  it('refuses what is too large, and then has nothing of that variant', () => {
    const store = new MemoryStore(100_000, 10_000);
    expect(store.put('k', stored(Buffer.alloc(100)))).toBe(true);
    expect(store.put('k', stored(Buffer.alloc(10_000)))).toBe(false);
    expect(store.stats()).toMatchObject({ entries: 0, bytes: 0 });
    expect(store.vary('k')).toBeUndefined();
  });

  it('keeps variants of one Vary side by side, and drops them when it changes', () => {
    const store = new MemoryStore(100_000, 100_000);
    for (const value of ['1', '2']) {
      store.put('k', stored(Buffer.from(value), { vary: ['x'], variant: `${value}\n` }));
    }
    expect(store.get('k', indexFields(['X', '1']))?.body[0]?.toString()).toBe('1');
    expect(store.get('k', indexFields(['X', '2']))?.body[0]?.toString()).toBe('2');
    expect(store.get('k', indexFields([]))).toBeUndefined();
    store.put('k', stored(Buffer.from('3'), { vary: ['y'], variant: '\0\n' }));
    expect(store.get('k', indexFields(['X', '1']))?.body[0]?.toString()).toBe('3');
    expect(store.stats().entries).toBe(1);
  });

  it('bounds the variants of one resource', () => {
    const store = new MemoryStore(10_000_000, 100_000);
    for (let index = 0; index < 1000; index++) {
      store.put('k', stored(Buffer.alloc(1), { vary: ['x'], variant: `${index}\n` }));
    }
    expect(store.stats().entries).toBeLessThanOrEqual(64);
  });
});

describe('Fill', () => {
  const silent = {
    overflowed: (): void => undefined,
    abandoned: (): void => undefined,
    completed: (): void => undefined,
  };
  const drain = (reader: FillReader): string => {
    let text = '';
    for (let next = reader.next(); typeof next !== 'string'; next = reader.next()) text += next.toString();
    return text;
  };

  it('gives every reader everything, whenever it came', () => {
    const fill = new Fill(1000, new FillBudget(1000), silent);
    let woken = 0;
    const early = fill.read(() => woken++);
    fill.push(Buffer.from('a'), () => undefined);
    expect(woken).toBe(1);
    expect(drain(early)).toBe('a');
    const late = fill.read(() => undefined);
    fill.push(Buffer.from('b'), () => undefined);
    fill.finish();
    expect(drain(early)).toBe('b');
    expect(drain(late)).toBe('ab');
    expect(early.next()).toBe('end');
  });

  it('once it overflows, lets the slowest reader set the pace, and gives all memory back', () => {
    const budget = new FillBudget(2 ** 20);
    let overflowed = 0;
    const fill = new Fill(100_000, budget, { ...silent, overflowed: () => overflowed++ });
    const fast = fill.read(() => undefined);
    const slow = fill.read(() => undefined);
    let drained = 0;
    let pushed = 0;
    while (fill.push(Buffer.alloc(10_000), () => drained++)) {
      pushed++;
      fast.next();
    }
    expect(overflowed).toBe(1);
    expect(pushed).toBeLessThan(40);
    expect([fill.holdsUp(slow), fill.holdsUp(fast)]).toEqual([true, false]);
    drain(slow);
    drain(fast);
    expect(drained).toBe(1);
    fill.fail();
    slow.leave();
    fast.leave();
    expect(budget.take(2 ** 20)).toBe(true);
  });

  it('tells readers of a failure instead of what is left', () => {
    const fill = new Fill(1000, new FillBudget(1000), silent);
    const reader = fill.read(() => undefined);
    fill.push(Buffer.from('a'), () => undefined);
    fill.fail();
    expect(reader.next()).toBe('failed');
  });
});

describe('HttpCache', () => {
  const clock = { now: () => 0, monotonic: () => 0 };
  const open = (): HttpCache => new HttpCache({ maxBytes: 2 ** 20, clock });
  const FRESH = ['Cache-Control', 'max-age=60'];

  it('abandons a fetch only when nobody is left, in whatever order they leave', () => {
    const cache = open();
    let abandoned = 0;
    const flight = cache.lead('k', asker(), { shared: true });
    flight.abandoned = () => abandoned++;
    const leave = cache.flightFor('k', request())?.follow(asker(), () => undefined);
    flight.leave();
    expect(abandoned).toBe(0);
    leave?.();
    expect(abandoned).toBe(1);
    expect(cache.flightFor('k', request())).toBeUndefined();
    expect(cache.stats().inFlight).toBe(0);
  });

  it('abandons a fetch whose remaining followers cannot use the response', () => {
    const cache = open();
    let abandoned = 0;
    const outcomes: string[] = [];
    const flight = cache.lead('k', asker('X', '1'), { shared: true });
    flight.abandoned = () => abandoned++;
    flight.follow(asker('X', '2'), (outcome) => outcomes.push(outcome.kind));
    flight.leave();
    flight.offer(response(...FRESH, 'Vary', 'X'), times);
    expect(outcomes).toEqual(['alone']);
    expect(abandoned).toBe(1);
  });

  it('lets a cookie follow a cookie only, and have nothing that is fresh by a guess', () => {
    const cache = open();
    const flight = cache.lead('k', asker(), { shared: true });
    expect(cache.flightFor('k', request('Cookie', 'a'))).toBeUndefined();
    const outcomes: Outcome[] = [];
    flight.follow(asker('Cookie', 'a'), (outcome) => outcomes.push(outcome));
    const offer = flight.offer(response(...FRESH), times);
    expect(outcomes.map(({ kind }) => kind)).toEqual(['fill']);
    if (offer.kind === 'fill') offer.fill.finish();
    expect(cache.decide('k', asker()).kind).toBe('serve');
    expect(cache.decide('k', asker('Cookie', 'a')).kind).toBe('serve');
  });

  it('forgets what is stored when the origin says it must not be any more', () => {
    const cache = open();
    const store = (...headers: string[]): void => {
      const offer = cache.lead('k', asker(), { shared: false }).offer(response(...headers), times);
      if (offer.kind === 'fill') offer.fill.finish();
    };
    store(...FRESH);
    expect(cache.decide('k', asker()).kind).toBe('serve');
    store('Cache-Control', 'no-store');
    expect(cache.decide('k', asker())).toEqual({ kind: 'fetch', fwd: 'uri-miss' });
  });

  it('with no bytes stores nothing and still passes everything on', () => {
    const cache = new HttpCache({ maxBytes: 0, clock });
    const offer = cache.lead('k', asker(), { shared: true }).offer(response(...FRESH), times);
    if (offer.kind === 'fill') {
      const reader = offer.fill.read(() => undefined);
      offer.fill.push(Buffer.from('x'), () => undefined);
      offer.fill.finish();
      expect(reader.next().toString()).toBe('x');
    }
    expect(cache.stats().entries).toBe(0);
  });
});

describe('stored responses', () => {
  const entry = (...headers: string[]): ReturnType<typeof response> => response(...headers);
  const MAY = 'Wed, 15 May 2024 12:00:00 GMT';
  const JUNE = 'Sat, 15 Jun 2024 12:00:00 GMT';
  const NOW = Date.parse(JUNE);

  it('are validated by what they have', () => {
    expect(validators(entry('ETag', 'W/"a"', 'Last-Modified', MAY).fields, NOW)).toEqual([
      'If-None-Match',
      'W/"a"',
      'If-Modified-Since',
      MAY,
    ]);
    expect(validators(entry('ETag', 'a', 'Last-Modified', 'x').fields, NOW)).toEqual([]);
  });

  it('take the fields of a 304 but not its framing, unless it is about something else', () => {
    const old = entry('ETag', '"a"', 'X-A', '1', 'x-a', '2', 'Content-Length', '1', 'Date', MAY);
    const merged = updatedBy(
      old,
      response('etag', 'W/"a"', 'X-A', '3', 'Content-Length', '0', 'Connection', 'close'),
    );
    expect(merged).toEqual(['Content-Length', '1', 'etag', 'W/"a"', 'X-A', '3']);
    expect(updatedBy(old, response('ETag', '"b"'))).toBeUndefined();
    expect(updatedBy(old, response('Last-Modified', MAY))).toBeUndefined();
  });

  it.each<[string, string[], string[], ReturnType<typeof evaluateConditions>]>([
    ['the tag', ['If-None-Match', '"a"'], ['ETag', '"a"'], 'not-modified'],
    ['its weak form', ['If-None-Match', '"x,y", W/"a"'], ['ETag', '"a"'], 'not-modified'],
    ['any', ['If-None-Match', '*'], ['ETag', '"a"'], 'not-modified'],
    [
      'another tag, whatever the date',
      ['If-None-Match', '"b"', 'If-Modified-Since', JUNE],
      ['ETag', '"a"', 'Last-Modified', MAY],
      'full',
    ],
    ['no tag to compare', ['If-None-Match', '"a"'], [], 'full'],
    ['a malformed tag', ['If-None-Match', 'a'], ['ETag', '"a"'], 'full'],
    ['an older date', ['If-Modified-Since', MAY], ['Last-Modified', JUNE], 'full'],
    ['a younger date', ['If-Modified-Since', JUNE], ['Last-Modified', MAY], 'not-modified'],
    ['a malformed date', ['If-Modified-Since', 'May'], ['Last-Modified', MAY], 'full'],
    ['no date to compare', ['If-Modified-Since', MAY], [], 'full'],
  ])('decide about %s', (_name, condition, headers, expected) => {
    const { fields } = entry(...headers);
    const since = Date.parse(fields.get('last-modified')?.[0] ?? 'Sun, 16 Jun 2024 12:00:00 GMT');
    expect(evaluateConditions(indexFields(condition), fields, since, NOW)).toBe(expected);
  });
});
