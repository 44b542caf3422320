import { expect, it } from 'vitest';
import { NO_RESPONSE_DIRECTIVES } from './cache-control.js';
import { indexFields } from './fields.js';
import { withPart } from './renewal.js';
import type { StoredHead, StoredResponse } from './stored.js';

function head(etag: string): StoredHead {
  const rawHeaders = ['ETag', etag];
  return {
    status: 200,
    statusMessage: 'OK',
    httpVersion: '1.1',
    rawHeaders,
    fields: indexFields(rawHeaders),
    freshness: { lifetime: 60, heuristic: false, initialAge: 0, receivedMonotonic: 0 },
    directives: NO_RESPONSE_DIRECTIVES,
    vary: [],
    variant: '',
    forEverybody: false,
    since: 0,
    groups: [],
  };
}

/** One byte after the other, at these places. */
function bytes(places: readonly number[], total: number, etag = '"a"'): StoredResponse | undefined {
  let stored: StoredResponse | undefined;
  for (const at of places) {
    const part = { first: at, last: at, blocks: [Buffer.from([at % 256])] };
    stored = withPart(stored, head(etag), part, total);
  }
  return stored;
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

it('parts put together to the whole are a whole, in few blocks however small they were', () => {
  const whole = bytes(numbers(300), 300);
  expect(whole?.pieces).toBeUndefined();
  expect(Buffer.concat(whole?.body ?? [])).toEqual(Buffer.from(numbers(300).map((at) => at % 256)));
  expect(whole?.body.length).toBeLessThanOrEqual(64);
});

it('parts apart from each other are bounded in number', () => {
  const many = numbers(500).map((at) => 2 * at);
  for (let count = 1; count <= many.length; count += 61) {
    expect(bytes(many.slice(0, count), 10_000)?.pieces?.pieces.length).toBeLessThanOrEqual(64);
  }
});

it('nothing is put together under weak tags or none', () => {
  for (const etag of ['W/"a"', '']) expect(bytes([0, 1], 2, etag)?.pieces?.pieces).toHaveLength(1);
});

it('a part of what is there as a whole changes nothing', () => {
  const whole = bytes(numbers(3), 3);
  expect(withPart(whole, head('"a"'), { first: 0, last: 0, blocks: [Buffer.from('x')] }, 3)).toBeUndefined();
});
