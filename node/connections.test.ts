import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import type { Clock } from '../core/clock.js';
import { accepted, portOf, readSome, Sockets } from '../test/loopback.js';
import { ConnectionTable, formatEndpoint, type ConnectionRow } from './connections.js';
import type { LegInfo, SplicedConnection, TakenInfo } from './data-path.js';

const sockets = new Sockets();
afterEach(() => sockets.close());

let now = 0;
const clock: Clock = { now: () => now, monotonic: () => now };
const client = { address: ip('192.0.2.1'), port: 40000 };
const destination = { address: ip('2001:db8::1'), port: 80 };
const tunnel: TakenInfo = { via: 'tunnel', hops: 3, capabilities: 0 };

/** With those that the kernel carries. */
async function all(table: ConnectionTable, ...inKernel: SplicedConnection[]): Promise<ConnectionRow[]> {
  const rows: ConnectionRow[] = [];
  for await (const some of table.allRows([inKernel])) rows.push(...some);
  return rows;
}

const IN_KERNEL: SplicedConnection = {
  client,
  destination,
  tunnelled: true,
  udp: false,
  returned: false,
  nextHop: undefined,
  nextHopUdp: false,
  closing: false,
  bytesIn: 5,
  bytesOut: 3,
  packets: 4,
  ageSeconds: 1,
};

async function pair() {
  const server = await sockets.listen();
  const far = sockets.dial(portOf(server));
  return { near: await accepted(server), far };
}

describe('endpoints', () => {
  it.each([
    ['192.0.2.1', 80, '192.0.2.1:80'],
    ['2001:db8::1', 443, '[2001:db8::1]:443'],
  ])('%s port %d is %s', (address, port, text) =>
    expect(formatEndpoint({ address: ip(address), port })).toBe(text),
  );
});

describe('the connection table', () => {
  it('shows a connection from its acceptance on', async () => {
    now = 1000;
    const { near, far } = await pair();
    const table = new ConnectionTable(clock);
    const connection = table.open(near, client, destination, tunnel);
    now = 63_900;
    far.write('12345');
    await readSome(near, 5);
    near.write('678');
    await readSome(far, 3);
    expect(table.rows()).toEqual([
      {
        client: '192.0.2.1:40000',
        destination: '[2001:db8::1]:80',
        via: 'tunnel',
        returnTunnel: false,
        nextHop: null,
        nextVia: null,
        state: 'connecting',
        action: 'relay',
        reason: 'taken',
        sni: null,
        alpn: null,
        clientTransforms: null,
        nextTransforms: null,
        bytesIn: 5,
        bytesOut: 3,
        ageSeconds: 62,
      },
    ]);
    connection.legConnected({ nextHop: ip('198.18.2.2'), reason: 'tunnelled' });
    expect(table.rows()).toMatchObject([{ state: 'relaying', nextHop: '198.18.2.2', reason: 'tunnelled' }]);
    far.end();
    await once(near, 'end');
    expect(table.rows()).toMatchObject([{ state: 'closing', nextVia: 'tunnel' }]);
  });

  it('follows a leg whose tunnel turns out not to pass', async () => {
    const table = new ConnectionTable(clock);
    const connection = table.open((await pair()).near, client, destination, { ...tunnel, udp: true });
    const nextHop = ip('198.18.2.2');
    let now: LegInfo | undefined = { nextHop, reason: 'tunnelled' };
    connection.legConnected(now, () => now);
    expect(table.rows()).toMatchObject([{ via: 'tunnel-udp', nextVia: 'tunnel' }]);
    now = { nextHop, reason: 'tunnelled-udp' };
    expect(table.rows()).toMatchObject([{ nextVia: 'tunnel-udp', reason: 'tunnelled-udp' }]);
    now = { nextHop: undefined, reason: 'plain-tunnel-blocked' };
    expect(table.rows()).toMatchObject([{ nextHop: null, nextVia: null, reason: 'plain-tunnel-blocked' }]);
    now = undefined; // the leg has gone
    expect(table.rows()).toMatchObject([{ reason: 'plain-tunnel-blocked' }]);
    expect(connection.reasons).toEqual(['taken', 'tunnelled', 'tunnelled-udp', 'plain-tunnel-blocked']);
  });

  it.each([
    ['edge', 'taken-edge'],
    ['reply-stripped', 'taken-reply-stripped'],
  ] as const)('shows %s as an edge connection with the reason %s', async (via, reason) => {
    const table = new ConnectionTable(clock);
    table.open((await pair()).near, client, destination, { via, hops: undefined, capabilities: 0 });
    expect(table.rows()).toMatchObject([{ via: 'edge', reason }]);
  });

  it('shows a connection that leaves once, with what it had asked for', async () => {
    const table = new ConnectionTable(clock);
    const connection = table.open((await pair()).near, client, destination, tunnel);
    connection.asked({ serverName: 'www.example.net', alpn: ['h2'] });
    connection.spliced();
    const shown = { state: 'spliced', action: 'splice', sni: 'www.example.net', alpn: ['h2'], bytesIn: 5 };
    expect(await all(table, IN_KERNEL)).toMatchObject([shown]);
    table.close(connection);
    expect(await all(table, IN_KERNEL)).toMatchObject([shown]);
  });

  it('sums over connections that ended and those that live, every reason once', async () => {
    const table = new ConnectionTable(clock);
    const first = await pair();
    const ended = table.open(first.near, client, destination, tunnel);
    ended.because('not-http');
    ended.because('not-http');
    first.far.write('123');
    await readSome(first.near, 3);
    table.close(ended);
    table.close(ended);
    const live = table.open((await pair()).near, client, destination, tunnel);
    live.action = 'cache';
    expect(table.totals()).toEqual({
      open: 1,
      total: 2,
      bytesIn: 3,
      bytesOut: 0,
      byAction: { relay: 1, cache: 1 },
      byReason: { taken: 2, 'not-http': 1 },
    });
    expect(table.totals()).toEqual(table.totals());
  });

  it('says when it is empty', async () => {
    const table = new ConnectionTable(clock);
    await table.idle();
    const connection = table.open((await pair()).near, client, destination, tunnel);
    let idle = false;
    const waiting = table.idle().then(() => (idle = true));
    await Promise.resolve();
    expect(idle).toBe(false);
    table.close(connection);
    await waiting;
    expect(table.size).toBe(0);
  });
});
