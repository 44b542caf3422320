/**
 * The tables of the programs at their limits: none grows beyond its own, what is full keeps what it has, what evicts
 * takes the new, and a connection that finds no room goes on without one.
 */
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ip, toMapped } from '../core/address.js';
import { commandSync } from '../host/exec.js';
import { enterCgroup, makeCgroup, ownCgroup, removeCgroup } from '../host/mounts.js';
import { packageRoot } from '../host/paths.js';
import type { Attachment } from '../bpf/attach.js';
import { maps, TpotFlag, TpotState, type TpotTaken } from '../bpf/generated/maps.js';
import type { TypedMap } from '../bpf/map.js';
import { TpotPrograms } from '../bpf/programs.js';
import { waitFor } from '../netns/wait.js';
import type { Flow } from '../tpot/decap.js';
import { flows, mapFlow } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';

const TYPE = { hash: 1, lru: 9, prefixes: 11, queue: 22 } as const;
/** Enough that a table which evicts has filled what it keeps for each processor. */
const SMALL = 512;

type Name = keyof typeof maps;
const names = Object.keys(maps) as Name[];
const ofType = (...types: number[]): Name[] => names.filter((name) => types.includes(maps[name].type));

/** The key or value that some bytes are. */
function read(codec: { readonly size: number; read(view: DataView): unknown }, bytes: Uint8Array): unknown {
  return codec.read(new DataView(bytes.buffer, bytes.byteOffset, codec.size));
}

function keyNumber(name: Name, index: number): unknown {
  const spec = maps[name];
  const bytes = new Uint8Array(spec.key.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(spec.key.size - 4, index);
  if (spec.type === TYPE.prefixes) view.setUint32(0, 8 * (spec.key.size - 4), true);
  return read(spec.key, bytes);
}

const emptyValue = (name: Name): unknown => read(maps[name].value, new Uint8Array(maps[name].value.size));

describe('every table', () => {
  let programs: TpotPrograms;
  const limited = ofType(TYPE.hash, TYPE.lru, TYPE.prefixes);
  const table = (name: Name): TypedMap<unknown, unknown> => programs.map(name);

  beforeAll(() => {
    programs = TpotPrograms.load({
      maxEntries: Object.fromEntries(limited.map((name) => [maps[name].name, SMALL])),
    });
  });
  afterAll(() => programs.close());

  it.each(ofType(TYPE.lru))('%s takes the new in the place of the old', (name) => {
    const value = emptyValue(name);
    for (let index = 0; index < 4 * SMALL; index++) table(name).set(keyNumber(name, index), value);
    expect([...table(name).keys()].length).toBeLessThanOrEqual(SMALL);
    expect(table(name).get(keyNumber(name, 4 * SMALL - 1))).toBeDefined();
    // Which of the old ones went depends on the processors that this has run on: each has a list of its own.
    const first = Array.from({ length: SMALL }, (_, index) => table(name).get(keyNumber(name, index)));
    expect(first).toContain(undefined);
  });

  it.each(ofType(TYPE.hash, TYPE.prefixes))('%s refuses the new, and keeps what it has', (name) => {
    const value = emptyValue(name);
    for (let index = 0; index < SMALL; index++) table(name).set(keyNumber(name, index), value);
    expect(() => table(name).set(keyNumber(name, SMALL), value)).toThrow(/E2BIG|ENOSPC|full/i);
    expect(table(name).get(keyNumber(name, 0))).toBeDefined();
    expect(table(name).delete(keyNumber(name, 0))).toBe(true);
    table(name).set(keyNumber(name, SMALL), value);
  });

  it('that can be filled by others stands in the list of limits, with its limit', () => {
    const page = readFileSync(join(packageRoot, 'docs', 'security.md'), 'utf8');
    for (const name of ofType(TYPE.hash, TYPE.lru, TYPE.prefixes, TYPE.queue)) {
      const line = page.split('\n').find((text) => text.includes(`\`${maps[name].name}\``)) ?? '';
      expect(`${maps[name].name}: ${line}`).toContain(maps[name].maxEntries.toLocaleString('en-US'));
    }
  });
});

describe('a connection', () => {
  const cgroup = join(ownCgroup(), `tpot-tables.${process.pid}`);
  const home = ownCgroup();
  const undo: (() => void)[] = [];
  let programs: TpotPrograms;
  let server: Server;
  let serverPort = 0;

  beforeAll(async () => {
    undo.push(enterNewNetworkNamespace());
    commandSync('ip', ['route', 'add', '192.0.2.0/24', 'dev', 'lo']);
    programs = TpotPrograms.load({ maxEntries: { [maps.tpotTaken.name]: 1 } });
    undo.push(() => programs.close());
    makeCgroup(cgroup);
    undo.push(() => void removeCgroup(cgroup));
    const attachment: Attachment = programs.attachCgroup(cgroup);
    undo.push(() => attachment.detach());
    enterCgroup(cgroup);
    undo.push(() => enterCgroup(home));
    programs.configure({ flags: TpotFlag.NODE | TpotFlag.SOURCE, maxPerClient: 9, maxTunnels: 0 });
    server = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    serverPort = (server.address() as { port: number }).port;
  });
  afterAll(() => {
    server.close();
    for (const step of undo.reverse()) step();
  });

  const counted = (reason: string): number => programs.counters()[reason] ?? 0;
  const client = { address: toMapped(ip('127.0.0.1')) };
  const ofClient = (): number | undefined => programs.map('tpotClients').get(client);
  const taken: TpotTaken = {
    outerSource: new Uint8Array(16),
    isn: 0,
    state: TpotState.EDGE,
    capabilities: 0,
    hops: 0,
    udp: 0,
    mss: 0,
    keyed: 0,
    counted: 0,
    last: 0,
    acknowledged: 0,
    again: 0,
    returning: 0,
    unused: 0,
  };

  /** A connection over loopback of which the node has taken the SYN. */
  async function established(sourcePort: number): Promise<Socket> {
    const loopback = ip('127.0.0.1');
    const flow: Flow = {
      source: loopback,
      sourcePort,
      destination: loopback,
      destinationPort: serverPort,
    };
    programs.map('tpotTransient').set(mapFlow(flow), taken);
    const socket = connect({ host: '127.0.0.1', port: serverPort, localPort: sourcePort });
    await once(socket, 'connect');
    socket.write('x');
    await once(socket, 'data'); // the other side is established, too
    return socket;
  }

  it('counts for its client from the handshake to its end', async () => {
    const socket = await established(20_001);
    expect(ofClient()).toBe(1);
    expect([...programs.map('tpotTaken').keys()]).toHaveLength(1);
    socket.resetAndDestroy();
    await waitFor(() => ofClient() === undefined, { what: 'the client to have none' });
    expect([...programs.map('tpotTaken').keys()]).toHaveLength(0);
  });

  it('that finds the table of taken ones full goes on, and does not count', async () => {
    programs.map('tpotTaken').set(mapFlow(flows[4]), taken);
    const before = counted('table-full');
    const socket = await established(20_002);
    expect(counted('table-full')).toBe(before + 1);
    expect(ofClient()).toBeUndefined();
    expect([...programs.map('tpotTaken').keys()]).toHaveLength(1);
    socket.resetAndDestroy();
    await once(socket, 'close');
    programs.map('tpotTaken').delete(mapFlow(flows[4]));
  });

  it('that finds no room for a tunnel sends no request', async () => {
    const before = counted('request-omitted-limit');
    const socket = connect({ host: '192.0.2.80', port: 80 });
    socket.on('error', () => undefined);
    await waitFor(() => counted('request-omitted-limit') === before + 1, {
      what: 'the request to be omitted',
    });
    socket.destroy();
  });

  it('asks anew, whatever became of an earlier one of the same ports that never stood', async () => {
    programs.configure({ maxTunnels: 10 });
    const flow: Flow = {
      source: ip('127.0.0.1'),
      sourcePort: 20_003,
      destination: ip('192.0.2.80'),
      destinationPort: 80,
    };
    programs.map('tpotPending').set(mapFlow(flow), { plain: 1, keyed: 0, verified: 1, unused: 0 });
    const before = counted('request-sent');
    const to = { host: '192.0.2.80', port: 80, localAddress: '127.0.0.1', localPort: flow.sourcePort };
    const socket = connect(to).on('error', () => undefined);
    await waitFor(() => counted('request-sent') + counted('request-omitted-untrusted') > before, {
      what: 'the SYN to leave',
    });
    expect(counted('request-sent')).toBe(before + 1);
    expect(programs.map('tpotPending').get(mapFlow(flow))).toMatchObject({ plain: 0, verified: 0 });
    socket.destroy();
  });
});
