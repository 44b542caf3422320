/**
 * A hand-over at work: what is held back, of whom, and how much of it; and what is left when a step fails, or when the
 * process is killed between two of them.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip, toMapped } from '../core/address.js';
import { silentLogger } from '../core/log.js';
import * as tcp from '../host/tcp.js';
import { maps, TpotFlag, TpotState, type TpotTunnel } from '../bpf/generated/maps.js';
import { TimestampReader } from '../bpf/timestamps.js';
import { HandOver, legOf, type Leg } from '../node/hand-over.js';
import { HeldSegments } from '../node/held-segments.js';
import { holdEntry, spliceEntry } from '../node/splice-entry.js';
import { SpliceTable } from '../node/splice-table.js';
import type { Joined } from '../splice/join.js';
import { reverse } from '../splice/mapping.js';
import { buildTcp } from '../wire/build.js';
import { seq } from '../wire/seq.js';
import { entry } from './bpf-node.js';
import { flows, frameOf, mapFlow, ProgramsUnderTest, type Outcome } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';
import { UNMAPPED } from './splicing-programs.js';

/** As many as a node has room for, and as many as there is room for here. */
const HELD = maps.tpotHeld.maxEntries;
const ROOM = HELD + 20;
const NEXT_HOP = ip('198.18.2.1');

const undo: (() => void)[] = [];
let kernel: ProgramsUnderTest;
let held: HeldSegments;
let server: Server;
/** The node's ends of both connections, and the other ends of them. */
let client: Leg;
let origin: Leg;
let clientEnd: Socket;
let originEnd: Socket;

const table = <Name extends keyof typeof maps>(name: Name) => kernel.programs.map(name);
const ignore = (): undefined => undefined;

/** A connection over loopback: the end that asked, and the end that was asked. */
async function connection(): Promise<[Socket, Socket]> {
  const asking = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [asked] = (await once(server, 'connection')) as [Socket];
  for (const socket of [asking, asked]) socket.on('error', ignore);
  if (asking.connecting) await once(asking, 'connect');
  return [asking, asked];
}

beforeAll(async () => {
  undo.push(enterNewNetworkNamespace());
  kernel = new ProgramsUnderTest({ maxEntries: { [maps.tpotSplices.name]: 2, [maps.tpotHeld.name]: ROOM } });
  undo.push(() => kernel.close());
  kernel.programs.configure({ flags: TpotFlag.NODE | TpotFlag.SPLICING });
  held = new HeldSegments(kernel.programs, silentLogger);
  undo.push(() => held.close());
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.close();
  for (const step of undo.reverse()) step();
});

function required(leg: Leg | undefined): Leg {
  if (leg === undefined) throw new Error('the socket is closed');
  return leg;
}

beforeEach(async () => {
  const ends = [await connection(), await connection()] as const;
  clientEnd = ends[0][0];
  client = required(legOf(ends[0][1]));
  origin = required(legOf(ends[1][0]));
  originEnd = ends[1][1];
});
afterEach(() => {
  for (const socket of [clientEnd, originEnd, client.socket, origin.socket]) socket.destroy();
  for (const name of ['tpotSplices', 'tpotTaken', 'tpotTunnels', 'tpotTunnelsClosed'] as const) {
    for (const key of [...table(name).keys()]) table(name).delete(key);
  }
});

function numbersOf({ fd }: Leg): { sendNext: number; receiveNext: number } {
  tcp.beginRepair(fd);
  const numbers = tcp.sequences(fd);
  tcp.endRepair(fd);
  return numbers;
}

describe('a segment that meets a hand-over', () => {
  const hold = (): void =>
    table('tpotSplices').set(mapFlow(client.flow), holdEntry(reverse(origin.flow), 1n));
  const arrives = (flags: readonly ('ack' | 'fin')[], payload: Uint8Array, { flow } = client): Outcome =>
    kernel.run('tpot_ingress', frameOf(buildTcp({ ...flow, flags, seq: 7, ack: 9, payload }), 4));
  const takeAll = (): Uint8Array[] => {
    const queue = table('tpotHeld');
    const packets: Uint8Array[] = [];
    for (let one = queue.take(); one !== undefined; one = queue.take()) {
      packets.push(one.packet.subarray(0, one.length));
    }
    return packets;
  };

  it('is kept while there is room; what is beyond is dropped for its sender to send again', () => {
    hold();
    const numbered = (at: number): Uint8Array => Uint8Array.of(at);
    for (let at = 0; at < ROOM + 10; at++) {
      expect(arrives(['ack'], numbered(at))).toMatchObject({
        verdict: 2,
        counted: { 'drop-splice-hold': 1 },
      });
    }
    expect(takeAll().map((packet) => packet.at(-1))).toEqual(Array.from({ length: ROOM }, (_, at) => at));
  });

  it('is kept by this process within limits, too: of each direction, and in all', () => {
    const limited = new HeldSegments(kernel.programs, silentLogger, { each: 5, all: 8 });
    const begin = (leg: Leg): void => {
      limited.begin(leg.flow);
      table('tpotSplices').set(mapFlow(leg.flow), holdEntry(reverse(leg.flow), 1n));
    };
    const fill = (leg: Leg): void => {
      for (let at = 0; at < 6; at++) arrives(['ack'], Uint8Array.of(at), leg);
    };
    const kept = (leg: Leg): number => {
      let seen = 0;
      limited.forward(leg.flow, { ...UNMAPPED, out: leg.flow, maxSegment: 0 }, () => seen++);
      return seen;
    };
    for (const leg of [client, origin]) begin(leg);
    for (const leg of [client, origin]) fill(leg);
    expect([client, origin].map(kept)).toEqual([5, 3]);
    begin(origin);
    fill(origin);
    expect(kept(origin)).toBe(5);
    limited.close();
  });

  it('is not waited for behind what others send: one look takes out as much as there was', () => {
    hold();
    for (let at = 0; at < ROOM; at++) arrives(['ack'], Uint8Array.of(at));
    held.begin(client.flow);
    held.discard(client.flow);
    expect(takeAll()).toHaveLength(ROOM - HELD);
  });

  it('goes on to its socket when there is room again, and counts as sent', async () => {
    const got = once(client.socket, 'data');
    held.begin(client.flow);
    hold();
    const { sendNext, receiveNext } = numbersOf(client);
    const packet = buildTcp({
      ...client.flow,
      flags: ['ack', 'psh'],
      seq: seq(receiveNext),
      ack: seq(sendNext),
      payload: Buffer.from('held'),
    });
    expect(kernel.run('tpot_ingress', frameOf(packet, 4)).verdict).toBe(2);
    table('tpotSplices').delete(mapFlow(client.flow));
    const before = held.sent;
    held.deliver(client.flow);
    expect(held.sent).toBe(before + 1);
    expect(String((await got)[0])).toBe('held');
  });

  it('of a tunnelled connection, but came outside the tunnel, is none of it (rule 8)', () => {
    hold();
    table('tpotTaken').set(mapFlow(client.flow), {
      ...entry(4, TpotState.TUNNELLED),
      outerSource: toMapped(flows[4].source),
    });
    for (const flags of [['ack'], ['ack', 'fin']] as const) {
      expect(arrives(flags, Uint8Array.of(1))).toMatchObject({
        verdict: -1,
        counted: { 'pass-plain-of-tunnelled': 1 },
      });
    }
    expect(takeAll()).toEqual([]);
  });
});

describe('a hand-over', () => {
  let timestamps: TimestampReader;
  beforeAll(() => {
    timestamps = new TimestampReader(silentLogger);
  });
  afterAll(() => timestamps.close());

  const left: string[] = [];
  function begin(): { port: HandOver; joined: Joined & { readonly ok: true } } {
    const ports = { programs: kernel.programs, timestamps, held, taps: undefined };
    const port = new HandOver(ports, client, origin, undefined, () => left.push('left'), undefined);
    expect(port.hold()).toBe(true);
    port.settle();
    const joined = port.read();
    if (!joined.ok) throw new Error(joined.reason);
    return { port, joined };
  }

  it('of which a step fails goes on in its sockets', async () => {
    const { port, joined } = begin();
    for (const key of [...table('tpotSplices').keys()]) table('tpotSplices').delete(key);
    for (const of of [4, 6] as const) table('tpotSplices').set(mapFlow(flows[of]), holdEntry(flows[of], 1n));
    expect(() => port.join(joined)).toThrow(); // its places are gone
    expect(port.undo()).toBe(false);
    for (const [from, to] of [
      [client.socket, clientEnd],
      [clientEnd, client.socket],
      [origin.socket, originEnd],
      [originEnd, origin.socket],
    ] as const) {
      const got = once(to, 'data');
      from.write('x');
      expect(String((await got)[0])).toBe('x');
    }
    expect(left).toEqual([]);
  });

  it('in which a side is lost resets the other, through the tunnel of that', async () => {
    const out = mapFlow(reverse(origin.flow));
    const tunnel: TpotTunnel = {
      remote: toMapped(NEXT_HOP),
      udpPort: 0,
      capabilities: 0,
      repeats: 0,
      plain: 0,
      udp: 0,
      answered: 0,
      back: 0,
      stalls: 0,
      largest: 0,
    };
    table('tpotTunnels').set(out, tunnel);
    table('tpotGauges').set(0, { taken: 0n, tunnels: 1n, unused: 0, padding: 0 });
    const { port, joined } = begin();
    port.join(joined);
    clientEnd.resetAndDestroy();
    const until = performance.now() + 5000; // nothing else may run: Node would close the socket
    while (tcp.tcpInfo(client.fd).established && performance.now() < until);
    const closed = new Promise((resolve) => originEnd.resume().once('close', resolve));
    port.leave();
    expect(left.splice(0)).toEqual(['left']);
    expect(table('tpotTunnelsClosed').get(out)).toEqual(tunnel); // that of what a closed connection still sends
    expect(table('tpotTunnels').get(out)).toBeUndefined();
    expect(table('tpotGauges').get(0)?.tunnels).toBe(0n);
    expect([...table('tpotSplices').keys()]).toEqual([]);
    await closed;
    expect(originEnd.errored).toMatchObject({ code: 'ECONNRESET' });
    expect(port.undo()).toBe(true);
  });

  it.each([
    ['between its two directions', [true, false], 0],
    ['before it was joined', [false, false], 0],
    ['after it', [true, true], 1],
  ])('whose process is killed %s is the next one’s whole, or not at all', (_, joined, left) => {
    const facts = { outerSource: undefined, bytes: 0n, now: 1n, startedAt: 1n };
    for (const [at, [from, to]] of [[client, origin] as const, [origin, client] as const].entries()) {
      const mapped = spliceEntry({ ...UNMAPPED, out: reverse(to.flow) }, { ...facts, fromClient: at === 0 });
      const one = joined[at] === true ? mapped : holdEntry(reverse(to.flow), 1n);
      table('tpotSplices').set(mapFlow(from.flow), one);
    }
    expect(new SpliceTable(kernel.programs, 1000).adopt()).toBe(left);
    expect([...table('tpotSplices').keys()]).toHaveLength(2 * left);
  });
});
