/** Caches in a row, each a service of its own on loopback: where a response is found, how old it is, who keeps it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { Harness, ShiftedClock, until, type HarnessOptions } from './harness.props.js';

const open: Harness[] = [];
afterEach(() => Promise.all(open.splice(0).map((harness) => harness.close())));

/** Nodes p1 (nearest to the client) to pN before an origin, with one clock. */
async function chain(
  policies: readonly HarnessOptions[],
  answer: (request: IncomingMessage, response: ServerResponse, count: number) => void,
): Promise<{
  nodes: Harness[];
  fronts: number[];
  front: number;
  clock: ShiftedClock;
  asked: () => number;
}> {
  const clock = new ShiftedClock();
  const nodes = policies.map((policy, index) => {
    const harness = new Harness({}, undefined, 0, { ...policy, name: `p${index + 1}`, clock });
    open.push(harness);
    return harness;
  });
  let count = 0;
  let port = await nodes[0]!.origin((request, response) => answer(request, response, ++count));
  const fronts: number[] = [];
  for (const node of [...nodes].reverse()) fronts.unshift((port = await node.front(port)));
  return { nodes, fronts, front: port, clock, asked: () => count };
}

const fresh = (_request: IncomingMessage, response: ServerResponse, count: number): void => {
  response.setHeader('Cache-Control', 'max-age=60').setHeader('ETag', `"${count}"`).end(`#${count}`);
};

describe('a chain of three', () => {
  it('answers at the nearest node that has it, with the age it has had anywhere', async () => {
    const { nodes, fronts, front, clock, asked } = await chain([{}, {}, {}], fresh);
    const [p1] = nodes;
    const miss = await p1!.ask(front, '/');
    expect(miss.headers['cache-status']).toBe(
      ['p3', 'p2', 'p1'].map((name) => `${name}; fwd=uri-miss; fwd-status=200; stored`).join(', '),
    );
    clock.advance(20_000);
    // Another client, behind another edge node, finds it at the one in the middle.
    const edge = new Harness({}, undefined, 0, { name: 'q1', clock });
    open.push(edge);
    const edgeFront = await edge.front(fronts[1]!);
    const answer = await edge.ask(edgeFront, '/');
    expect(answer.headers['cache-status']).toMatch(
      /p2; hit; ttl=(39|40), q1; fwd=uri-miss; fwd-status=200; stored$/,
    );
    expect(Number(answer.headers.age)).toBeGreaterThanOrEqual(20);
    clock.advance(20_000);
    const hit = await edge.ask(edgeFront, '/');
    expect(Number(hit.headers.age)).toBeGreaterThanOrEqual(40);
    expect(hit.headers['cache-status']).toMatch(/q1; hit; ttl=(19|20)$/);
    expect(asked()).toBe(1);
  });

  it('renews at every level by one 304 of the origin, with all new fields', async () => {
    const { nodes, front, clock, asked } = await chain([{}, {}, {}], (request, response, count) => {
      response
        .setHeader('Cache-Control', 'max-age=60')
        .setHeader('ETag', '"v"')
        .setHeader('X-Count', String(count));
      if (request.headers['if-none-match'] === '"v"') response.writeHead(304).end();
      else response.end('body');
    });
    await nodes[0]!.ask(front, '/');
    clock.advance(61_000);
    const renewed = await nodes[0]!.ask(front, '/');
    expect(renewed.body.toString()).toBe('body');
    expect(renewed.headers['x-count']).toBe('2');
    expect(Number(renewed.headers.age)).toBeLessThan(5);
    expect(asked()).toBe(2);
    for (const node of nodes) expect(node.stat('revalidations')).toBe(1);
    expect((await nodes[0]!.ask(front, '/')).headers['cache-status']).toMatch(/p1; hit; ttl=(59|60)$/);
  });

  it('keeps a response at one level only, where it is told to', async () => {
    const policy = { keepHits: false };
    const { nodes, fronts, front, asked } = await chain([policy, policy, policy], fresh);
    const [p1] = nodes;
    await p1!.ask(front, '/'); // a miss everywhere: stored everywhere
    expect(p1!.stat('entries')).toBe(1);
    const edge = new Harness({}, undefined, 0, { ...policy, name: 'q1', clock: p1!.clock });
    open.push(edge);
    const edgeFront = await edge.front(fronts[1]!);
    for (let round = 0; round < 2; round++) {
      expect((await edge.ask(edgeFront, '/')).headers['cache-status']).toMatch(
        /p2; hit; ttl=\d+, q1; fwd=uri-miss/,
      );
    }
    expect([edge.stat('entries'), edge.stat('notAdmitted')]).toEqual([0, 2]);
    expect(asked()).toBe(1);
  });

  it('stores what is asked for twice, where it is told to', async () => {
    const { nodes, front, asked } = await chain([{}, { secondRequest: true }], fresh);
    const [p1, p2] = nodes;
    expect((await p1!.ask(front, '/')).headers['cache-status']).toBe(
      'p2; fwd=uri-miss; fwd-status=200; detail=first-request, p1; fwd=uri-miss; fwd-status=200; stored',
    );
    expect([p1!.stat('entries'), p2!.stat('entries')]).toEqual([1, 0]);
    await p1!.ask(front, '/', { headers: { 'cache-control': 'no-cache' } });
    expect(p2!.stat('entries')).toBe(1);
    expect(asked()).toBe(2);
  });
});

describe('a rule that says what is stored', () => {
  const again = { headers: { 'cache-control': 'no-cache' } };

  it('counts for its connections, in place of what the node says', async () => {
    const { nodes, fronts } = await chain([{ secondRequest: true }, {}], fresh);
    const [p1] = nodes;
    const all = await p1!.front(fronts[1]!, undefined, undefined, { secondRequest: false });
    await p1!.ask(all, '/1');
    expect(p1!.stat('entries')).toBe(1);
    // What it leaves out is as the node has it.
    const once = await p1!.front(fronts[1]!, undefined, undefined, { keepHits: true });
    await p1!.ask(once, '/2');
    expect([p1!.stat('entries'), p1!.stat('notAdmitted')]).toEqual([1, 1]);
    await p1!.ask(once, '/2', again);
    expect(p1!.stat('entries')).toBe(2);
  });

  it('may leave an object where it is', async () => {
    const { nodes, fronts, front } = await chain([{}, {}], fresh);
    const [p1, p2] = nodes;
    const middle = await p1!.front(fronts[1]!, undefined, undefined, { keepHits: false });
    await p2!.ask(fronts[1]!, '/');
    expect((await p1!.ask(middle, '/')).headers['cache-status']).toMatch(
      /p2; hit; .*detail=kept-by-next-hop$/,
    );
    expect(p1!.stat('entries')).toBe(0);
    await p1!.ask(front, '/');
    expect(p1!.stat('entries')).toBe(1);
  });
});

describe('a group that is invalidated', () => {
  it('takes along what is on its way, and nothing else', async () => {
    const held: ServerResponse[] = [];
    const { nodes, front, asked } = await chain([{}], (request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60');
      if (request.method === 'POST') response.setHeader('Cache-Group-Invalidation', '"a"').end();
      else if (count > 2) response.end(`#${count}`);
      else held.push(response.setHeader('Cache-Groups', request.url === '/in' ? '"a"' : '"b"'));
    });
    const [p1] = nodes;
    const both = [p1!.ask(front, '/in'), p1!.ask(front, '/out')];
    await until(() => held.length === 2);
    await p1!.ask(front, '/x', { method: 'POST' });
    for (const response of held) response.end('before');
    await Promise.all(both);
    expect((await p1!.ask(front, '/in')).body.toString()).toBe('#4');
    expect((await p1!.ask(front, '/out')).body.toString()).toBe('before');
    expect(asked()).toBe(4);
  });
});

describe('renewal behind an answer', () => {
  it('is one request, whoever asks meanwhile and whoever leaves', async () => {
    let release = (): void => undefined;
    const { nodes, front, clock, asked } = await chain([{}], (_request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=10, stale-while-revalidate=60');
      if (count === 1) response.end('old');
      else release = () => void response.end('new');
    });
    const [p1] = nodes;
    await p1!.ask(front, '/');
    clock.advance(15_000);
    const answers = await Promise.all(Array.from({ length: 5 }, () => p1!.ask(front, '/')));
    expect(new Set(answers.map(({ body }) => body.toString()))).toEqual(new Set(['old']));
    await until(() => asked() === 2);
    expect(p1!.stat('renewals')).toBe(1);
    release();
    await until(() => p1!.stat('inFlight') === 0);
    expect((await p1!.ask(front, '/')).body.toString()).toBe('new');
    expect(asked()).toBe(2);
  });

  it('that fails leaves what is stored, until its window is over', async () => {
    const { nodes, front, clock } = await chain([{}], (_request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=1, stale-while-revalidate=60');
      if (count === 1) response.end('old');
      else response.socket?.resetAndDestroy();
    });
    const [p1] = nodes;
    await p1!.ask(front, '/');
    clock.advance(5000);
    for (let round = 0; round < 2; round++) {
      expect((await p1!.ask(front, '/')).body.toString()).toBe('old');
      await until(() => p1!.stat('inFlight') === 0);
    }
  });
});

it('an error of the origin is covered for all who wait', async () => {
  let fail = (): void => undefined;
  const { nodes, front, clock, asked } = await chain([{}], (_request, response, count) => {
    response.setHeader('Cache-Control', 'max-age=1, stale-if-error=60').setHeader('ETag', '"a"');
    if (count === 1) response.end('old');
    else fail = () => void response.writeHead(503).end('down');
  });
  const [p1] = nodes;
  await p1!.ask(front, '/');
  clock.advance(5000);
  const answers = Promise.all(Array.from({ length: 10 }, () => p1!.ask(front, '/')));
  await until(() => asked() === 2 && p1!.stat('misses') === 11);
  fail();
  for (const { status, body } of await answers) expect([status, body.toString()]).toEqual([200, 'old']);
  expect(asked()).toBe(2);
});

it('a large object is completed from its stored beginning, for all who ask at once', async () => {
  const whole = Buffer.alloc(1_000_000, 'abcdefghij');
  const asked: (string | undefined)[] = [];
  const { nodes, front } = await chain([{}], (request, response) => {
    asked.push(request.headers.range);
    response.setHeader('Cache-Control', 'max-age=60').setHeader('ETag', '"a"');
    const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const end = last === '' ? whole.length - 1 : Number(last);
    response.statusCode = 206;
    response.setHeader('Content-Range', `bytes ${first}-${end}/${whole.length}`);
    response.end(whole.subarray(Number(first), end + 1));
  });
  const [p1] = nodes;
  await p1!.ask(front, '/', { headers: { range: 'bytes=0-399999' } });
  const answers = await Promise.all(Array.from({ length: 5 }, () => p1!.ask(front, '/')));
  for (const { status, body, headers } of answers) {
    expect(status).toBe(200);
    expect(headers['content-length']).toBe('1000000');
    expect(body.equals(whole)).toBe(true);
  }
  expect(asked).toEqual(['bytes=0-399999', 'bytes=400000-']);
  expect((await p1!.ask(front, '/', { headers: { range: 'bytes=-3' } })).body.toString()).toBe('hij');
});
