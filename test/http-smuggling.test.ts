/**
 * Requests and responses that two readers could understand differently, over sockets: never two taken for one, nor one for
 * two. Every kind is met at least once; fuzz-http.long.test.ts goes on from here.
 */
import { afterEach, expect, test } from 'vitest';
import { Harness } from '../node/http/harness.props.js';
import { REQUEST_KINDS, refusedRequests } from './fuzz/http-requests.js';
import { RESPONSE_KINDS } from './fuzz/http-responses.js';
import { RequestFuzz, ResponseFuzz } from './fuzz/http-runner.js';
import { Random } from './fuzz/random.js';

const SEED = 7541;
const ROUNDS = 1;

const open: { close(): Promise<void> }[] = [];
afterEach(() => Promise.all(open.splice(0).map((one) => one.close())));

test('requests: the origin gets what is certain, in order, and nothing behind what is not', async () => {
  const fuzz = new RequestFuzz(new Random(SEED));
  open.push(fuzz.h);
  await fuzz.open();
  for (let number = 0; number < ROUNDS * REQUEST_KINDS; number++) await fuzz.run(number);
  expect(fuzz.seen.size).toBeGreaterThan(REQUEST_KINDS / 2);
  expect(fuzz.h.service.status()['front']).not.toMatchObject({ answered: 0 });
});

test('requests that are none are refused in words, and the connection ends', async () => {
  const h = new Harness();
  open.push(h);
  const front = await h.front(await h.origin((_request, response) => response.end()));
  for (const { what, bytes } of refusedRequests(new Random(SEED))) {
    const answer = await h.raw(front, bytes);
    expect([what, answer.text]).toEqual([
      what,
      expect.stringMatching(/^HTTP\/1\.1 (?:400|413|431|501|505) /),
    ]);
    expect([what, answer.text]).toEqual([what, expect.stringMatching(/\r\nConnection: close\r\n/)]);
  }
});

test('responses: each request gets its own or none, and nothing else is stored', async () => {
  const fuzz = new ResponseFuzz(new Random(SEED));
  open.push(fuzz.h);
  await fuzz.open();
  for (let number = 0; number < ROUNDS * RESPONSE_KINDS; number++) await fuzz.run(number);
  expect(fuzz.seen.size).toBeGreaterThanOrEqual(RESPONSE_KINDS);
});
