/** What is stored of a response that leaves for the kernel on the way: the hand-over and the copies are given by hand. */
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ResponseCopy, SpliceConditions } from '../data-path.js';
import { Harness, until } from './harness.props.js';

const LEAST = 1000;
const GET = 'GET / HTTP/1.1\r\nHost: example.test\r\n\r\n';
const FIELDS = 'HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n';
const LENGTH = `${FIELDS}Content-Length: ${2 * LEAST}\r\n\r\n`;
const CHUNKED = `${FIELDS}Transfer-Encoding: chunked\r\n\r\n`;
const HALF = 'a'.repeat(LEAST);
const REST = 'b'.repeat(LEAST);

let harness: Harness;
afterEach(() => harness.close());

interface Asked {
  readonly client: Socket;
  readonly leg: Socket;
  readonly conditions: SpliceConditions;
  readonly settle: (spliced: boolean) => void;
}

/** An origin that answers every request with `reply` and what is then written, and a client that has asked once. */
async function begin(reply: string, request = GET, cacheBytes = 1 << 20) {
  harness = new Harness({}, cacheBytes, 0, { tapAbove: LEAST });
  const asked: Asked[] = [];
  harness.leave = (leg, conditions) =>
    new Promise((resolve) => {
      const settle = (spliced: boolean): void =>
        resolve(spliced ? { spliced: true } : { spliced: false, reason: 'relayed-busy' });
      asked.push({ client, leg, conditions, settle });
    });
  const legs: Socket[] = [];
  const { port, seen } = await harness.scripted((socket) => {
    legs.push(socket);
    socket.write(reply, 'latin1');
  });
  const front = await harness.front(port);
  const client = harness.connect(front, request);
  let text = '';
  client.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  const heard = (end: string): Promise<void> => until(() => text.endsWith(end));
  return {
    client,
    asked,
    front,
    heard,
    write: (more: string) => legs[0]?.write(more, 'latin1'),
    requests: () => seen().split('GET ').length - 1,
  };
}

/** A chunked response whose client has had more than {@link LEAST} bytes of it. */
async function beginChunks(first: string, cacheBytes?: number) {
  const begun = await begin(CHUNKED, GET, cacheBytes);
  await begun.heard('\r\n\r\n');
  begun.write(first);
  await begun.heard(first);
  await until(() => begun.asked[0]?.conditions.idle() === true);
  return begun;
}

/** The kernel takes over: both sockets are gone, and what follows comes as a copy. */
function leave({ client, leg, conditions, settle }: Asked): ResponseCopy {
  const { copy } = conditions;
  if (copy === undefined) throw new Error('no copy is wanted');
  copy.begin();
  client.resetAndDestroy();
  leg.destroy();
  settle(true);
  return copy;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const entries = (): number => harness.stat('entries');

describe('a large response that is stored', () => {
  it('is stored from what was relayed and what was copied', async () => {
    const { asked, front, heard, requests } = await begin(LENGTH + HALF);
    await heard(HALF);
    await until(() => asked[0]?.conditions.idle() === true);
    const copy = leave(asked[0]!);
    await until(() => harness.stat('connections') === 0);
    expect(copy.content(bytes(REST.slice(0, 10)))).toBe('more');
    expect(entries()).toBe(0);
    expect(copy.content(bytes(`${REST.slice(10)}HTTP/1.1 200 OK`))).toBe('complete');
    const { body, headers } = await harness.ask(front, '/');
    expect(body.toString()).toBe(HALF + REST);
    expect(headers['cache-status']).toMatch(/p1; hit/);
    expect(requests()).toBe(1);
  });

  it('may come in chunks, and is stored without them', async () => {
    const { asked, front } = await beginChunks(`3e8\r\n${HALF}\r\n3e8;x\r\nbb`);
    const copy = leave(asked[0]!);
    expect(copy.content(bytes(`${REST.slice(2)}\r`))).toBe('more');
    expect(copy.content(bytes('\n0\r\n\r\nHTTP/1.1'))).toBe('complete');
    expect((await harness.ask(front, '/')).body.toString()).toBe(HALF + REST);
  });

  it.each([
    ['a copy that is lost', (copy: ResponseCopy) => copy.lost(), undefined],
    ['bytes that are no chunk', (copy: ResponseCopy) => copy.content(bytes('x')), 'unwanted'],
    ['trailers', (copy: ResponseCopy) => copy.content(bytes(`\r\n0\r\nX: y\r\n\r\n`)), 'unwanted'],
  ])('is not stored after %s', async (_, spoil, said) => {
    const { asked } = await beginChunks(`3e8\r\n${HALF}`);
    expect(spoil(leave(asked[0]!))).toBe(said);
    expect(entries()).toBe(0);
    expect(harness.stat('inFlight')).toBe(0);
  });

  it('is not stored when it grows beyond what the cache keeps', async () => {
    const { asked } = await beginChunks(`ffffff\r\n${HALF}`, 8 * 4000);
    const copy = leave(asked[0]!);
    expect(copy.content(bytes(REST))).toBe('more');
    expect(copy.content(bytes(REST.repeat(4)))).toBe('unwanted');
    expect(entries()).toBe(0);
  });

  it.each([
    ['with a length', LENGTH, `${HALF}${REST}`],
    ['in chunks', CHUNKED, `7d0\r\n${HALF}${REST}\r\n0\r\n\r\n`],
  ])('is stored as before when its connection stays: %s', async (_, head, rest) => {
    const { asked, front, heard, write } = await begin(head);
    await heard('\r\n\r\n');
    write(rest.slice(0, -9));
    await until(() => asked.length === 1);
    asked[0]!.settle(false);
    write(rest.slice(-9));
    await heard(rest.slice(-9));
    await until(() => entries() === 1);
    expect((await harness.ask(front, '/')).body.toString()).toBe(HALF + REST);
  });

  it('stays where others read it too, and is not joined once it has left', async () => {
    const { asked, front, heard, requests } = await begin(LENGTH + HALF);
    await heard(HALF);
    await until(() => asked[0]?.conditions.idle() === true);
    let other = '';
    const second = harness.connect(front, GET);
    second.on('data', (chunk: Buffer) => (other += chunk.toString('latin1')));
    await until(() => other.endsWith(HALF));
    expect(asked[0]!.conditions.idle()).toBe(false);
    second.resetAndDestroy();
    await until(() => asked[0]!.conditions.idle());
    leave(asked[0]!);
    harness.connect(front, GET);
    await until(() => requests() === 2);
  });

  it.each([
    ['one that is small', LENGTH.replace(String(2 * LEAST), '9'), GET],
    ['one whose end is that of its connection', `${FIELDS}\r\n${HALF}`, GET],
    ['chunks to a client of HTTP/1.0', `${CHUNKED}3e8\r\n${HALF}\r\n`, GET.replace('1.1', '1.0')],
    ['one that is not to be stored', LENGTH.replace('max-age=60', 'no-store') + HALF, GET],
  ])('stays: %s', async (_, reply, request) => {
    const { asked, client } = await begin(reply, request);
    await until(() => client.bytesRead > 0);
    expect(asked).toEqual([]);
  });
});
