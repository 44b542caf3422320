/** The way to the next hop: framing and trailers both ways, HTTP/1.0 at either end, limits, and what breaks off. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, until } from './harness.props.js';

let h: Harness;
beforeEach(() => {
  h = new Harness();
});
afterEach(() => h.close());

/** Closes when the other side does. */
const closing = (socket: Socket): Socket => socket.on('end', () => socket.end());

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('requests', () => {
  it('keep their trailers', async () => {
    const { port, seen } = await h.scripted((socket) => {
      if (seen().endsWith('0\r\nX-Sum: 1\r\n\r\n')) socket.end(OK);
    });
    const front = await h.front(port);
    const head =
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n';
    const { text } = await h.raw(front, `${head}5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen()).toContain('\r\nTrailer: X-Sum\r\n');
  });

  it('have no trailers that would mean something else in their head', async () => {
    const { port, seen } = await h.scripted((socket) => {
      if (/0\r\n(?:.+\r\n)*\r\n$/.test(seen())) socket.end(OK);
    });
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
    const trailers = 'Cookie: a=b\r\nX-Sum: 1\r\nHOST: b\r\nAuthorization: Basic YQ==\r\n';
    const { text } = await h.raw(await h.front(port), `${head}5\r\nhello\r\n0\r\n${trailers}\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen()).toMatch(/\r\n0\r\nX-Sum: 1\r\n\r\n$/);
  });

  it('whose client leaves in the middle do not stay open at the next hop', async () => {
    let leg: Socket | undefined;
    const origin = await h.rawOrigin((socket) => (leg = closing(socket).resume()));
    const client = h.connect(
      await h.front(origin),
      'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf',
    );
    await until(() => (leg?.bytesRead ?? 0) > 0);
    client.destroy();
    await until(() => leg?.closed === true);
  });

  it('that are answered before their end do not stay open either, once the client leaves', async () => {
    let leg: Socket | undefined;
    const origin = await h.rawOrigin((socket) => {
      leg = closing(socket);
      socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'));
    });
    const client = h.connect(
      await h.front(origin),
      'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf',
    );
    const heard: Buffer[] = [];
    client.on('data', (chunk: Buffer) => heard.push(chunk));
    await until(() => Buffer.concat(heard).includes('413'));
    client.destroy();
    await until(() => leg?.closed === true);
  });

  describe.each([
    ['without Host', 'GET /first HTTP/1.1\r\n\r\n'],
    ['with two', 'GET /first HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ])('%s are refused, and nothing behind them is read:', (_, refused) => {
    it.each([
      ['a request', 'GET /second HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['an upgrade', 'GET /second HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
      ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n'],
    ])('%s', async (_kind, behind) => {
      const { port, seen } = await h.scripted('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      const { text, cut } = await h.raw(await h.front(port), refused + behind);
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400']);
      expect([text.includes('\r\nConnection: close\r\n'), cut]).toEqual([true, false]);
      await until(() => h.stat('connections') === 0);
      expect(seen()).toBe('');
    });
  });

  it('behind a refused one are not answered from what is stored either', async () => {
    const origin = await h.origin((_request, response) =>
      response.setHeader('Cache-Control', 'max-age=60').end('stored'),
    );
    const front = await h.front(origin);
    const stored = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    const client = h.connect(front, stored);
    let heard = '';
    client.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
    const answers = (): number => heard.split('HTTP/1.1 200 OK').length - 1;
    for (let count = 1; count <= 4; count++) {
      await until(() => answers() === count);
      if (count < 4) client.write(stored);
    }
    expect(h.service.status()['front']).toMatchObject({ answered: 3 });
    client.write(`GET / HTTP/1.1\r\n\r\n${stored}${stored}`);
    client.on('end', () => client.end());
    await once(client, 'close');
    expect(answers()).toBe(4);
    expect(heard.match(/HTTP\/1\.1 400/g)).toHaveLength(1);
  });

  it('whose content is malformed are refused, and break off at the next hop', async () => {
    const { port, seen } = await h.scripted(() => undefined);
    const front = await h.front(port);
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
    const { text } = await h.raw(front, `${head}5\r\nhello\r\n5x\r\nhello\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*\r\nConnection: close\r\n[^]*HPE_INVALID_CHUNK_SIZE/);
    expect(seen()).not.toContain('\r\n0\r\n');
    await until(() => h.stat('connections') === 0);
  });

  it('of HTTP/1.0 get what is chunked without its chunks, and an end', async () => {
    const origin = await h.origin((_request, response) => {
      response.write('one ');
      response.end('two');
    });
    const { text, cut } = await h.raw(await h.front(origin), 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect(text).not.toMatch(/transfer-encoding/i);
    expect([text.endsWith('\r\n\r\none two'), cut]).toEqual([true, false]);
  });
});

describe('responses', () => {
  it.each([
    ['with a length', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['that keep the connection', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok'],
    ['that end with it', 'HTTP/1.0 200 OK\r\n\r\nok'],
  ])('of HTTP/1.0 %s pass', async (_, reply) => {
    const { port } = await h.scripted(reply);
    const front = await h.front(port);
    for (let round = 0; round < 2; round++) {
      const { body, headers } = await h.ask(front, '/');
      expect([body.toString(), headers.via]).toEqual(['ok', '1.0 p1']);
    }
  });

  it('of HTTP/1.0 in chunks pass, and the leg is not used again', async () => {
    let legs = 0;
    const reply = 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n';
    const origin = await h.rawOrigin((socket) => {
      legs++;
      closing(socket).on('data', () => socket.write(reply));
    });
    const front = await h.front(origin);
    for (let round = 1; round <= 2; round++) {
      expect((await h.ask(front, '/')).body.toString()).toBe('ok');
      expect(legs).toBe(round);
    }
  });

  it('before the final one are 64 at most', async () => {
    for (const [count, status] of [
      [64, 200],
      [65, 502],
    ] as const) {
      const { port } = await h.scripted(`${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(count)}${OK}`);
      expect((await h.ask(await h.front(port), '/')).status).toBe(status);
    }
  });

  it('with fields that are not read are not passed on, nor stored', async () => {
    for (const [count, status] of [
      [998, 200],
      [999, 502],
    ] as const) {
      const fields = `Content-Length: 2\r\n${'X:\r\n'.repeat(count)}Cache-Control: private, max-age=60\r\n`;
      const { port } = await h.scripted(`HTTP/1.1 200 OK\r\n${fields}\r\nok`);
      expect((await h.ask(await h.front(port), '/')).status).toBe(status);
    }
    expect(h.stat('entries')).toBe(0);
  });

  it('with a reason that cannot be written again get the usual one, and are stored', async () => {
    const reply = 'HTTP/1.1 200 O\0K\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok';
    const { port } = await h.scripted(reply);
    const front = await h.front(port);
    for (let round = 0; round < 2; round++) {
      const { text } = await h.raw(front, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    }
  });
});

describe('legs that are kept', () => {
  it('are as many as the limit for one destination, and in all', async () => {
    const own = new Harness({ idleLegsPerName: 2, idleLegs: 3 });
    try {
      const waiting: (() => void)[] = [];
      const origin = await own.origin((request, response) => {
        const hash = createHash('sha256')
          .update(request.url ?? '')
          .digest('hex');
        waiting.push(() => void response.end(hash));
      });
      const one = await own.front(origin);
      const other = await own.front(origin, '127.0.0.2');
      const asked = [one, one, one, one, other, other, other].map((front, at) => own.ask(front, `/${at}`));
      await until(() => waiting.length === asked.length);
      for (const answer of waiting) answer();
      await Promise.all(asked);
      const idle = (): number => (own.service.status()['legs'] as { idle: number }).idle;
      await until(() => idle() === 3);
    } finally {
      await own.close();
    }
  });
});
