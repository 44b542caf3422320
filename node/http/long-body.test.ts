import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { SpliceConditions } from '../data-path.js';
import { Harness, until } from './harness.props.js';

const LEAST = 1000;
const GET = 'GET / HTTP/1.1\r\nHost: example.test\r\n\r\n';
const CHUNKED = 'HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n';
const LENGTH = `HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: ${2 * LEAST}\r\n\r\n`;
const EVENTS = `${CHUNKED}Content-Type: text/event-stream; charset=utf-8\r\n\r\n`;

let harness: Harness;
afterEach(() => harness.close());

/** An origin that answers every request with `reply`, and a client that has asked once. */
async function begin(reply: string, request = GET) {
  harness = new Harness({}, undefined, LEAST);
  const asked: { leg: Socket; conditions: SpliceConditions }[] = [];
  harness.leave = (leg, conditions) => {
    asked.push({ leg, conditions });
    return Promise.resolve({ spliced: false, reason: 'relayed-busy' });
  };
  const legs: Socket[] = [];
  const { port, seen } = await harness.scripted((socket) => {
    if (!legs.includes(socket)) legs.push(socket);
    socket.write(reply, 'latin1');
  });
  const client = harness.connect(await harness.front(port), request);
  let text = '';
  client.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  return {
    client,
    asked,
    origin: () => legs[0]!,
    seen,
    text: () => text,
    body: () => text.split('\r\n\r\n').slice(1).join('\r\n\r\n'),
  };
}

describe('chunks', () => {
  const BODY = '5;a=b\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX: y\r\n\r\n';

  it('pass as the origin made them, behind 1xx, trailers included, and nothing behind them', async () => {
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
    const { body, text } = await begin(`${hints}${CHUNKED}Trailer: X\r\n\r\n${BODY}`);
    await until(() => text().endsWith('X: y\r\n\r\n'));
    expect(body()).toContain(BODY);
    expect(text().match(/transfer-encoding: chunked/gi)).toHaveLength(1);
  });

  it('pass wherever the bytes are cut, and the connection goes on', async () => {
    const { client, origin, text, seen } = await begin(`${CHUNKED}\r`);
    await until(() => seen().endsWith('\r\n\r\n'));
    for (const byte of `\n${BODY}`) {
      origin().write(byte, 'latin1');
      await new Promise(setImmediate);
    }
    await until(() => text().endsWith(BODY));
    client.write(GET);
    await until(() => seen().split('GET').length === 3);
  });

  it('are taken off for a client of HTTP/1.0', async () => {
    const { body, client } = await begin(
      `${CHUNKED}\r\n${BODY}`,
      'GET / HTTP/1.0\r\nHost: example.test\r\n\r\n',
    );
    await once(client, 'end');
    expect(body()).toBe('hello0123456789');
    expect(harness.stays).toEqual([]);
  });

  it('that break off reset the client', async () => {
    const { client, origin, text } = await begin(`${CHUNKED}\r\n5\r\nhello\r\n`);
    await until(() => text().includes('hello'));
    const lost = once(client, 'error');
    origin().resetAndDestroy();
    await lost;
  });
});

describe('a long body wants to leave', () => {
  it.each([
    ['a large one', LENGTH],
    ['an event stream', EVENTS],
    ['one that has grown large', `${CHUNKED}\r\n7d0\r\n`],
    ['one that ends with the connection', `HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\nx`],
  ])('%s', async (_, reply) => {
    const { asked, origin, text } = await begin(reply);
    await until(() => text().includes('200 OK'));
    origin().write('x'.repeat(LEAST));
    await until(() => asked.length > 0);
    await until(() => asked[0]!.conditions.idle());
    expect(asked[0]!.conditions.over()).toBe(false);
    expect(harness.stays).toEqual([]);
  });

  it.each([
    ['a small one', LENGTH.replace(String(2 * LEAST), '9')],
    ['one that may be stored', LENGTH.replace('no-store', 'max-age=60')],
    ['one that is still short', `${CHUNKED}\r\n5\r\nhello\r\n`],
  ])('but not %s', async (_, reply) => {
    const { asked, text, origin } = await begin(reply);
    await until(() => text().includes('200 OK'));
    origin().write('x');
    await until(() => origin().writableLength === 0);
    expect(asked).toEqual([]);
  });

  it.each([
    [
      'the client ends',
      LENGTH,
      GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'),
      'relayed-persistence',
    ],
    [
      'the origin ends',
      LENGTH.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'),
      GET,
      'relayed-persistence',
    ],
    ['the origin is old', LENGTH.replace('1.1', '1.0'), GET, 'relayed-persistence'],
    ['the client is old', EVENTS, GET.replace('1.1', '1.0'), 'relayed-framing'],
  ])('and stays when %s', async (_, reply, request, reason) => {
    const { asked } = await begin(reply, request);
    await until(() => harness.stays.length > 0);
    expect(harness.stays).toEqual([reason]);
    expect(asked).toEqual([]);
  });

  it('and not with a part of a further request, nor with one that waits', async () => {
    const { asked, client, origin, text } = await begin(LENGTH);
    await until(() => asked.length > 0);
    const { conditions } = asked[0]!;
    await until(() => conditions.idle());
    client.write(GET.slice(0, 3));
    await until(() => !conditions.idle());
    client.write(GET.slice(3));
    origin().write('x');
    await until(() => text().endsWith('x'));
    expect(conditions.idle()).toBe(false);
  });

  it('and not with a part of a further request that came along with the first', async () => {
    const { asked, text, origin } = await begin(LENGTH, `${GET}GE`);
    await until(() => asked.length > 0);
    origin().write('x');
    await until(() => text().endsWith('x'));
    expect(asked[0]!.conditions.idle()).toBe(false);
  });

  it('and not when it is over', async () => {
    const { asked, origin, text } = await begin(LENGTH);
    await until(() => asked.length > 0);
    origin().write('x'.repeat(2 * LEAST));
    await until(() => text().endsWith('x'.repeat(2 * LEAST)));
    await until(() => asked[0]!.conditions.over());
  });
});
