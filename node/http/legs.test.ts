/** Which leg a request takes, what happens when it is gone, and what is joined to one for good. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until } from './harness.props.js';

let h: Harness;
beforeEach(() => {
  h = new Harness({ keepAliveTimeout: 1000 });
});
afterEach(() => h.close());

describe('legs', () => {
  it('are reused by other clients for what can be repeated', async () => {
    const ports = new Set<number | undefined>();
    const origin = await h.origin((request, response) => {
      ports.add(request.socket.remotePort);
      response.setHeader('Cache-Control', 'no-store').end('x');
    });
    const front = await h.front(origin);
    for (let round = 0; round < 5; round++) await h.ask(front, '/');
    expect(ports.size).toBe(1);
  });

  it('that the origin has closed meanwhile are replaced without the client noticing', async () => {
    let answered = 0;
    const { port } = await h.scripted((socket) => {
      // The first leg answers once and dies on the next request.
      if (answered++ === 1) socket.resetAndDestroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const front = await h.front(port);
    expect((await h.ask(front, '/')).status).toBe(200);
    expect((await h.ask(front, '/')).status).toBe(200);
    expect(answered).toBe(3);
  });

  it('of unsafe requests are the client connection’s own, and their race is the client’s to see', async () => {
    let answered = 0;
    const { port } = await h.scripted((socket) => {
      if (answered++ === 1) socket.resetAndDestroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const front = await h.front(port);
    const post = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n';
    const { text, cut } = await h.raw(front, post + post);
    expect(text.match(/HTTP\/1.1 200/g)).toHaveLength(1);
    expect(cut).toBe(true);
    expect((await h.ask(front, '/', { method: 'POST' })).status).toBe(200);
  });

  it('on which an origin says more than it was asked are not used again', async () => {
    const { port } = await h.scripted((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'), 30);
    });
    const front = await h.front(port);
    await h.ask(front, '/');
    await until(() => (h.service.status()['legs'] as { idle: number }).idle === 0);
    expect((await h.ask(front, '/')).body.toString()).toBe('ok');
  });

  it('are pinned once a client authenticates its connection', async () => {
    const legs: (number | undefined)[] = [];
    const origin = await h.origin((request, response) => {
      legs.push(request.socket.remotePort);
      response.setHeader('Cache-Control', 'max-age=60').end('mine');
    });
    const front = await h.front(origin);
    await h.raw(
      front,
      'GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM abc\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    await h.ask(front, '/', { headers: { host: 'a' } });
    expect(legs[0]).toBe(legs[1]);
    expect(legs[2]).not.toBe(legs[0]);
  });
});

describe('tunnels', () => {
  it('an upgrade passes unmodified and becomes bytes both ways', async () => {
    const { port, seen } = await h.scripted((socket) => {
      if (seen().endsWith('ping')) socket.end('pong');
      else if (seen().endsWith('\r\n\r\n'))
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n');
    });
    const request = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n';
    const socket = h.connect(await h.front(port), request);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      if (text === '') socket.end('ping');
      text += chunk.toString();
    });
    await new Promise((resolve) => socket.once('end', resolve));
    expect(text).toBe('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\npong');
    expect(seen()).toBe(`${request}ping`);
  });

  it('CONNECT likewise, with what came behind it', async () => {
    const { port, seen } = await h.scripted('HTTP/1.1 200 Yes\r\n\r\nbytes');
    const request = 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03';
    expect((await h.raw(await h.front(port), request)).text).toBe('HTTP/1.1 200 Yes\r\n\r\nbytes');
    expect(seen()).toBe(request);
  });
});
