/** Protocol behaviour: what is passed on, how, and what is refused. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until } from './harness.props.js';

let h: Harness;
beforeEach(() => {
  h = new Harness();
});
afterEach(() => h.close());

describe('requests', () => {
  it('go on with their fields in order and case, without those of the hop, with Via', async () => {
    const { port, seen } = await h.scripted('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    const front = await h.front(port);
    await h.raw(
      front,
      'GET /a?b HTTP/1.1\r\nHOST: Example.test\r\nX-One: 1\r\nx-two: caf\xe9\r\nX-One: 2\r\n' +
        'Connection: close, X-Hop\r\nX-Hop: gone\r\nKeep-Alive: timeout=5\r\nTE: gzip, trailers\r\nVia: 1.0 before\r\n\r\n',
    );
    expect(seen()).toBe(
      'GET /a?b HTTP/1.1\r\nHOST: Example.test\r\nX-One: 1\r\nx-two: caf\xe9\r\nX-One: 2\r\n' +
        'Via: 1.0 before\r\nVia: 1.1 p1\r\nTE: trailers\r\nConnection: keep-alive, TE\r\n\r\n',
    );
  });

  it('keep fields that Connection must not name', async () => {
    const { port, seen } = await h.scripted('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    const front = await h.front(port);
    await h.raw(
      front,
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close, content-length, host\r\n\r\nabc',
    );
    expect(seen()).toContain('Host: a\r\nContent-Length: 3\r\n');
    expect(seen().endsWith('\r\n\r\nabc')).toBe(true);
  });

  it('in absolute form go on as they are and are not cached', async () => {
    let count = 0;
    const origin = await h.origin((request, response) => {
      count++;
      response.setHeader('Cache-Control', 'max-age=60').end(request.url);
    });
    const front = await h.front(origin);
    for (let round = 0; round < 2; round++) {
      expect((await h.ask(front, 'http://example.test/x')).body.toString()).toBe('http://example.test/x');
    }
    expect(count).toBe(2);
  });

  it('of HTTP/1.0 with no Host are given the destination as authority', async () => {
    const { port, seen } = await h.scripted('HTTP/1.0 200 OK\r\n\r\nold');
    const front = await h.front(port, '192.0.2.9');
    const { text } = await h.raw(front, 'GET / HTTP/1.0\r\n\r\n');
    expect(seen()).toContain('Host: 192.0.2.9:80\r\n');
    expect(seen()).toContain('Via: 1.0 p1\r\n');
    expect(text.endsWith('\r\n\r\nold')).toBe(true);
  });

  it('with large chunked and measured bodies arrive whole, both ways', async () => {
    const origin = await h.origin((request, response) => void request.pipe(response));
    const front = await h.front(origin);
    const body = randomBytes(3_000_000);
    const chunked = await h.ask(front, '/', {
      method: 'PUT',
      body,
      headers: { 'transfer-encoding': 'chunked' },
    });
    const measured = await h.ask(front, '/', {
      method: 'PUT',
      body,
      headers: { 'content-length': body.length },
    });
    expect(chunked.body.equals(body)).toBe(true);
    expect(measured.body.equals(body)).toBe(true);
  });

  it('that are pipelined are answered in order, one after the other', async () => {
    let active = 0;
    let most = 0;
    const origin = await h.origin((request, response) => {
      most = Math.max(most, ++active);
      setImmediate(() => {
        active--;
        response.setHeader('Cache-Control', 'no-store').end(request.url);
      });
    });
    const front = await h.front(origin);
    const paths = Array.from({ length: 500 }, (_, index) => `/${index}-`);
    const last = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const { text } = await h.raw(
      front,
      paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join('') + last,
    );
    expect(text.match(/\/\d+-/g)).toEqual(paths);
    expect(text.endsWith('/last')).toBe(true);
    expect(most).toBe(1);
  });

  it('get their response although the client has ended its direction', async () => {
    const origin = await h.origin((_request, response) => setTimeout(() => response.end('late'), 30));
    const front = await h.front(origin);
    const socket = h.connect(front, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    socket.end();
    let text = '';
    for await (const chunk of socket) text += (chunk as Buffer).toString();
    expect(text).toMatch(/late$/);
  });
});

const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';

describe('refusals', () => {
  it.each([
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
    [
      'length and coding',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na', 400],
    [
      'a coding in HTTP/1.0',
      'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'another coding',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
      501,
    ],
    ['a coding after chunked', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400],
    ['chunked twice', `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, 400],
    ['codings in two lines', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n`, 400],
    ['a folded coding', `${POST}Content-Length: 3\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a quoted coding', `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`, 501],
    ['one length twice', `${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 400],
    ['a list of lengths', `${POST}Content-Length: 1, 1\r\n\r\na`, 400],
    ['a length with a sign', `${POST}Content-Length: +1\r\n\r\na`, 400],
    ['a length beyond all numbers', `${POST}Content-Length: 99999999999999999999\r\n\r\na`, 400],
    ['a folded field', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n', 400],
    ['a bare CR', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n', 400],
    ['a bare LF', 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n', 400],
    ['a NUL', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n', 400],
    ['a Host that is a list', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n', 400],
    ['a Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
    ['a Host with a user', 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', 400],
    ['a target that names another host', 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target with a user', 'GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target with a fragment', 'GET /#a HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target of *', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['another version', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    ['a space before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
    ['a header section of 20 KB', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    [
      'a length behind 1,000 other fields',
      `${POST}${'X:\r\n'.repeat(1000)}Content-Length: 5\r\n\r\nhello`,
      431,
    ],
  ])('%s', async (_name, text, status) => {
    let asked = 0;
    const origin = await h.origin((_request, response) => {
      asked++;
      response.end();
    });
    const front = await h.front(origin);
    const socket = h.connect(front, text);
    let answer = '';
    for await (const chunk of socket) answer += (chunk as Buffer).toString(); // until the node ends the connection
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*\r\nConnection: close\r\n`, 'i'));
    expect(asked).toBe(0);
  });

  it('never answer an open request in the name of a malformed one behind it', async () => {
    const origin = await h.origin((_request, response) => setTimeout(() => response.end('fine'), 200));
    const front = await h.front(origin);
    const { text } = await h.raw(front, 'GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n');
    expect(text).toBe('');
  });

  it('come when a header section does not end in time', async () => {
    const slow = new Harness({ headersTimeout: 100 });
    try {
      const front = await slow.front(1);
      expect((await slow.raw(front, 'GET / HTTP/1.1\r\nHost: a\r\n')).text).toMatch(/^HTTP\/1.1 408 /);
    } finally {
      await slow.close();
    }
  });
});

describe('responses', () => {
  it('keep their fields, duplicates and odd bytes included, and get Via and Cache-Status', async () => {
    const { port } = await h.scripted(
      'HTTP/1.1 207 Odd Reason\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-B: 1\r\nContent-Length: 2\r\nset-cookie: a\r\n' +
        'Set-Cookie: b\r\nContent-Disposition: attachment; filename="\xc3\xa9"\r\nConnection: close, X-H\r\nX-H: gone\r\n\r\nok',
    );
    const { text } = await h.raw(
      await h.front(port),
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(text).toBe(
      'HTTP/1.1 207 Odd Reason\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-B: 1\r\nset-cookie: a\r\nSet-Cookie: b\r\n' +
        'Content-Disposition: attachment; filename="\xc3\xa9"\r\nVia: 1.1 p1\r\n' +
        'Cache-Status: p1; fwd=uri-miss; fwd-status=207; detail=not-fresh\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok',
    );
  });

  it('carry trailers', async () => {
    const origin = await h.origin((_request, response) => {
      response.writeHead(200, { Trailer: 'X-Sum' });
      response.write('body');
      response.addTrailers({ 'X-Sum': '42' });
      response.end();
    });
    const answer = await h.ask(await h.front(origin), '/');
    expect(answer.trailers).toEqual({ 'x-sum': '42' });
    expect(answer.headers.trailer).toBe('X-Sum');
  });

  it('to HEAD, and 204 and 304, have no body and keep the connection', async () => {
    const origin = await h.origin((request, response) => {
      const status = Number(request.url?.slice(1));
      response.writeHead(status, status === 200 ? { 'Content-Length': 10 } : {});
      response.end();
    });
    const front = await h.front(origin);
    const { text } = await h.raw(
      front,
      'HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\nGET /204 HTTP/1.1\r\nHost: a\r\n\r\n' +
        'GET /304 HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x"\r\nConnection: close\r\n\r\n',
    );
    expect(text.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 204', 'HTTP/1.1 304']);
    expect(text).toContain('Content-Length: 10\r\n');
  });

  it('with 100 KB of fields pass', async () => {
    const origin = await h.origin((_request, response) =>
      response.setHeader('X-Large', 'x'.repeat(100_000)).end(),
    );
    const answer = await h.raw(await h.front(origin), 'GET / HTTP/1.0\r\n\r\n');
    expect(answer.text.length).toBeGreaterThan(100_000);
  });

  it('on which nothing moves are cut, not ended', async () => {
    const hasty = new Harness({ idleTimeout: 100 });
    try {
      const { port } = await hasty.scripted((socket) => socket.write('HTTP/1.0 200 OK\r\n\r\npart'));
      expect((await hasty.raw(await hasty.front(port), 'GET / HTTP/1.0\r\n\r\n')).cut).toBe(true);
    } finally {
      await hasty.close();
    }
  });

  it('that end with the connection are passed on as such', async () => {
    const { port } = await h.scripted('HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nuntil the end');
    const { text } = await h.raw(await h.front(port), 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(text).toContain('Connection: close\r\n');
    expect(text).toContain('Via: 1.0 p1\r\n');
    expect(text).not.toContain('chunked');
    expect(text.endsWith('\r\n\r\nuntil the end')).toBe(true);
    expect(h.stat('entries')).toBe(0);
  });

  it.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX: y\r\n\r\npart'],
    ['a stored length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nCache-Control: max-age=60\r\n\r\npart'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
    [
      'stored chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n4\r\npart\r\n',
    ],
  ])('cut short of %s are cut for the client too, and never stored', async (_name, bytes) => {
    const { port } = await h.scripted(bytes);
    const front = await h.front(port);
    for (const version of ['1.0', '1.1']) {
      const { cut, text } = await h.raw(front, `GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      expect(cut).toBe(true);
      expect(text).not.toContain('\r\n0\r\n');
    }
    expect(h.stat('entries')).toBe(0);
    expect(h.stat('inFlight')).toBe(0);
  });

  it('reset in a body that ends with the connection are cut', async () => {
    const { port } = await h.scripted((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\npart', () => setTimeout(() => socket.resetAndDestroy(), 20));
    });
    expect((await h.raw(await h.front(port), 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).cut).toBe(true);
  });

  it('of refused and of silent next hops are 502 and 504 that name the node', async () => {
    const refused = await h.ask(await h.front(1), '/');
    expect(refused.status).toBe(502);
    expect(refused.body.toString()).toMatch(/^tpot-node p1: .*ECONNREFUSED/);
    const slow = new Harness({ responseTimeout: 50 });
    try {
      const silent = await slow.origin(() => undefined);
      const answer = await slow.ask(await slow.front(silent), '/');
      expect(answer.status).toBe(504);
      expect(answer.headers['cache-status']).toBe('p1; fwd=uri-miss');
    } finally {
      await slow.close();
    }
  });
});

describe('interim responses', () => {
  it('100 comes from the origin, and the body after it', async () => {
    const { port, seen } = await h.scripted((socket) => {
      if (seen().endsWith('body')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    });
    const socket = h.connect(
      await h.front(port),
      'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n',
    );
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      if (text === '') socket.write('body');
      text += chunk.toString();
    });
    await new Promise((resolve) => socket.once('end', resolve));
    expect(text).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK\r\n/);
  });

  it('a final answer instead of 100 closes the connection, the body was never sent', async () => {
    const { port } = await h.scripted('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n');
    const { text } = await h.raw(
      await h.front(port),
      'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1.1 417 No\r\n[^]*Connection: close/);
  });

  it('103 passes', async () => {
    const { port } = await h.scripted(
      'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    );
    const { text } = await h.raw(
      await h.front(port),
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(text).toMatch(
      /^HTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload\r\n\r\nHTTP\/1.1 200 OK/,
    );
  });
});

it('drains: open exchanges end, idle connections close, later responses say close', async () => {
  let release = (): void => undefined;
  const origin = await h.origin((request, response) => {
    if (request.url === '/slow') release = () => void response.end('done');
    else response.end();
  });
  const front = await h.front(origin);
  const idle = h.connect(front, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await new Promise((resolve) => idle.once('data', resolve));
  const slow = h.raw(front, 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n');
  const before = release;
  await until(() => release !== before);
  h.service.drain();
  await new Promise((resolve) => idle.once('end', resolve));
  release();
  expect((await slow).text).toMatch(/done$/);
});

it('serves an unmodified curl, hit and miss', async () => {
  const body = randomBytes(500_000);
  const origin = await h.origin((_request, response) =>
    response.setHeader('Cache-Control', 'max-age=60').end(body),
  );
  const front = await h.front(origin);
  const curl = promisify(execFile);
  for (const member of ['p1; fwd=uri-miss; fwd-status=200; stored', 'p1; hit; ttl=']) {
    const { stdout } = await curl('curl', ['-sSi', `http://127.0.0.1:${front}/`], {
      encoding: 'buffer',
      maxBuffer: 2 ** 20,
    });
    expect(stdout.subarray(-body.length).equals(body)).toBe(true);
    expect(stdout.toString('latin1')).toContain(`Cache-Status: ${member}`);
  }
});
