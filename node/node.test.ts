import { DEFAULT_POLICY } from '../cache/policy.js';
import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ip } from '../core/address.js';
import { systemClock } from '../core/clock.js';
import { silentLogger } from '../core/log.js';
import { accepted, failure, LoopbackDataPath, portOf, readAll, readSome, Sockets } from '../test/loopback.js';
import { CAPABILITY } from '../tpot/option.js';
import type { NodeConfig } from './config.js';
import type { ConnectionRow } from './connections.js';
import type { DataPathOptions } from './data-path.js';
import { HttpService } from './http/service.js';
import { TpotNode } from './node.js';

const sockets = new Sockets();
const nodes: TpotNode[] = [];
afterEach(async () => {
  sockets.close();
  await Promise.all(nodes.splice(0).map((node) => node.stopNow()));
});

const CONFIG: NodeConfig = {
  name: 'p1',
  addresses: { 4: ip('198.18.1.1'), 6: ip('2001:db8::1') },
  addressGiven: true,
  interfaces: undefined,
  bypass: [],
  source: 'node',
  rules: [{ sources: [], destinations: [], ports: [], action: 'relay' }],
  mode: 'basic',
  hops: 8,
  trust: [],
  keys: [],
  requireKey: false,
  edge: false,
  cacheBytes: 1 << 20,
  cacheDisk: undefined,
  spliceAbove: 0,
  tapAbove: 0,
  udp: undefined,
  returnTunnel: true,
  cachePolicy: DEFAULT_POLICY,
  stallTimeoutMs: 30_000,
  verifyHost: false,
  maxConnections: 100,
  maxPerClient: 0,
  maxSplices: 100,
  spliceIdleMs: 86_400_000,
  transforms: { bits: 0, storeBytes: 1024, connections: 1, passOn: true, estimate: false },
  content: { kept: 1024, largest: 1024, timeout: 1000, processes: 1, memory: 268435456 },
  headersTimeoutMs: 60_000,
  idleTimeoutMs: 600_000,
  drainTimeoutMs: 60_000,
};
const CACHE_ALL: Partial<NodeConfig> = {
  rules: [{ sources: [], destinations: [], ports: [], action: 'cache' }],
};

async function conns(node: TpotNode): Promise<ConnectionRow[]> {
  const rows: ConnectionRow[] = [];
  for await (const some of node.conns()) rows.push(...some);
  return rows;
}

/** A node on loopback whose legs go to a new origin, or to `originPort`. */
async function startNode(settings: Partial<NodeConfig> = {}, originPort?: number) {
  const origin = await sockets.listen();
  const dataPath = new LoopbackDataPath(originPort ?? portOf(origin));
  let options: DataPathOptions | undefined;
  const node = new TpotNode(
    { ...CONFIG, ...settings },
    {
      room: (connections) => connections,
      createDataPath: (given) => {
        options = given;
        return dataPath;
      },
      http: new HttpService({ name: 'p1', cacheBytes: 1 << 20, logger: silentLogger, clock: systemClock }),
      logger: silentLogger,
      clock: systemClock,
    },
  );
  nodes.push(node);
  await node.start();
  return { node, dataPath, origin, options, client: () => sockets.dial(dataPath.port) };
}

describe('a relay rule', () => {
  it('opens the next leg at once, so that a server may speak first', async () => {
    const { node, origin, client } = await startNode();
    const arrived = accepted(origin);
    const socket = client();
    (await arrived).end('220 ready\r\n');
    socket.end('quit');
    expect((await readAll(socket)).toString()).toBe('220 ready\r\n');
    await vi.waitFor(async () => expect(await conns(node)).toEqual([]));
    expect((await node.stats()).connections).toMatchObject({
      total: 1,
      open: 0,
      bytesIn: 4,
      bytesOut: 11,
      byAction: { relay: 1 },
      byReason: { taken: 1, 'plain-no-reply': 1 },
    });
  });

  it('sends one hop less', async () => {
    const { dataPath, origin, client } = await startNode();
    const first = accepted(origin);
    client();
    await first;
    dataPath.taken = { via: 'edge', hops: undefined, capabilities: 0 };
    const second = accepted(origin);
    client();
    await second;
    dataPath.taken = { via: 'tunnel', hops: 0, capabilities: 0 };
    const third = accepted(origin);
    client();
    await third;
    expect(dataPath.legs.map(({ hops }) => hops)).toEqual([2, 8, 0]);
  });

  it('opens no leg for a trace, and ends it', async () => {
    const { node, dataPath, client } = await startNode();
    dataPath.taken = { via: 'tunnel', hops: 1, capabilities: CAPABILITY.trace };
    const socket = client();
    socket.write('never read');
    await readAll(socket).catch(() => Buffer.alloc(0)); // a FIN, or a reset for the unread bytes
    await vi.waitFor(async () => expect(await conns(node)).toEqual([]));
    expect(dataPath.legs).toEqual([]);
    expect((await node.stats()).connections.byReason).toEqual({ taken: 1, trace: 1 });
    dataPath.taken = { via: 'edge', hops: undefined, capabilities: CAPABILITY.trace };
    client();
    await vi.waitFor(() => expect(dataPath.legs).toHaveLength(1));
  });

  it('resets the client when the next leg is refused, and counts why', async () => {
    const { node, client } = await startNode({}, await sockets.refusingPort());
    expect(await failure(client())).toBe('ECONNRESET');
    await vi.waitFor(async () =>
      expect((await node.stats()).connections.byReason).toMatchObject({ 'leg-refused': 1 }),
    );
  });
});

describe('a cache rule', () => {
  it('relays what is not HTTP, early bytes included', async () => {
    const { node, origin, client } = await startNode(CACHE_ALL);
    const arrived = accepted(origin);
    const socket = client();
    socket.write('SSH-2.0-x\r\n');
    const server = await arrived;
    expect((await readSome(server, 11)).toString()).toBe('SSH-2.0-x\r\n');
    await vi.waitFor(async () =>
      expect(await conns(node)).toMatchObject([{ action: 'relay', state: 'relaying' }]),
    );
  });

  it('does not make a server wait that speaks first', async () => {
    const { origin, client } = await startNode(CACHE_ALL);
    const arrived = accepted(origin);
    const socket = client();
    (await arrived).write('220 ready\r\n');
    expect((await readSome(socket, 11)).toString()).toBe('220 ready\r\n');
  });

  it('passes on a FIN that comes before the first byte', async () => {
    const { origin, client } = await startNode(CACHE_ALL);
    const arrived = accepted(origin);
    const socket = client();
    socket.end();
    const server = await arrived;
    expect((await readAll(server)).length).toBe(0);
    server.end('bye');
    expect((await readAll(socket)).toString()).toBe('bye');
  });

  it('resets a silent client when the next leg is refused', async () => {
    const { client } = await startNode(CACHE_ALL, await sockets.refusingPort());
    expect(await failure(client())).toBe('ECONNRESET');
  });

  it('answers HTTP, the second time without the origin', async () => {
    const { node, origin, client } = await startNode(CACHE_ALL);
    let requests = 0;
    origin.on('connection', (socket) => {
      socket.on('data', () => {
        requests++;
        socket.write('HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello');
      });
    });
    for (let round = 0; round < 2; round++) {
      const socket = client();
      socket.write('GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n');
      expect((await readAll(socket)).toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nhello$/);
    }
    expect(requests).toBe(1);
    await vi.waitFor(async () =>
      expect((await node.stats()).connections).toMatchObject({ open: 0, byAction: { cache: 2 } }),
    );
  });

  it('serves over the leg that silence has opened', async () => {
    const { dataPath, origin, client } = await startNode(CACHE_ALL);
    const arrived = accepted(origin);
    const socket = client();
    const server = await arrived;
    socket.write('GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n');
    await once(server, 'data');
    server.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect((await readAll(socket)).toString()).toMatch(/ok$/);
    expect(dataPath.legs).toHaveLength(1);
  });
});

describe('the node', () => {
  it('hands its configuration to the data path and shows it', async () => {
    const { node, options } = await startNode({ edge: true });
    expect(options).toMatchObject({ name: 'p1', edge: true, maxConnections: 100 });
    expect(options?.policy).toMatchObject([{ portFrom: 0, portTo: 65535, take: true }]);
    expect(node.status()).toMatchObject({
      name: 'p1',
      address: '198.18.1.1',
      addresses: ['198.18.1.1', '2001:db8::1'],
      state: 'running',
      pid: process.pid,
      connections: 0,
      counters: { taken: 1 },
      blackHoles: [],
      udpNodes: [],
    });
  });

  it('drains: takes nothing new, and ends when its connections have', async () => {
    const { node, dataPath, origin, client } = await startNode();
    const arrived = accepted(origin);
    const socket = client();
    const server = await arrived;
    let stopped = false;
    const stopping = node.stop().then(() => (stopped = true));
    await vi.waitFor(() => expect(node.status().state).toBe('draining'));
    expect(await failure(client())).toBe('ECONNREFUSED');
    server.end('last words');
    expect((await readAll(socket)).toString()).toBe('last words');
    expect(stopped).toBe(false);
    socket.end();
    await stopping;
    expect(dataPath.closed).toBe(true);
    expect(node.status().state).toBe('stopped');
  });

  it('resets what is left after drainTimeout', async () => {
    const { node, origin, client } = await startNode({ drainTimeoutMs: 50 });
    const arrived = accepted(origin);
    const socket = client();
    const server = await arrived;
    const failed = Promise.all([failure(socket), failure(server)]);
    await node.stop();
    expect(await failed).toEqual(['ECONNRESET', 'ECONNRESET']);
  });

  it('ends at once when asked twice', async () => {
    const { node, origin, client } = await startNode();
    const arrived = accepted(origin);
    const failed = failure(client());
    await arrived;
    const stopping = node.stop();
    await node.stopNow();
    await stopping;
    expect(await failed).toBe('ECONNRESET');
  });

  it('carries a thousand connections at once', async () => {
    const { node, origin, client } = await startNode();
    origin.on('connection', (socket) => socket.pipe(socket));
    const clients = Array.from({ length: 1000 }, client);
    await Promise.all(
      clients.map(async (socket, index) => {
        const echo = readAll(socket);
        socket.write(`${index}`);
        let heard = 0;
        while (heard < `${index}`.length) heard += ((await once(socket, 'data')) as [Buffer])[0].length;
        socket.end();
        expect((await echo).toString()).toBe(`${index}`);
      }),
    );
    await vi.waitFor(async () =>
      expect((await node.stats()).connections).toMatchObject({ total: 1000, open: 0 }),
    );
  });
});
