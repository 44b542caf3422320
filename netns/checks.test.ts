/** Each check on packets as they should be, and on packets that are wrong in one way. */
import { describe, expect, test } from 'vitest';
import { ip } from '../core/address.js';
import { encodeOption, type TpotOption } from '../tpot/option.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { dissect } from '../wire/dissect.js';
import type { TcpFlag } from '../wire/tcp.js';
import type { TcpOption } from '../wire/tcp-options.js';
import type { LinkCapture } from './capture.js';
import {
  checkCaptures,
  checkEqual,
  checkOptionPlaces,
  checkPlainLeg,
  checkRequestsOn,
  checkTunnelledLeg,
  countConnections,
  countForward,
  requestsOn,
} from './checks.js';

const CLIENT = '198.18.1.2';
const NODE = '198.18.1.1';
const ORIGIN = '192.0.2.80';
const LEG = { source: CLIENT, destination: ORIGIN, node: NODE, hops: [8] };

const request = (hops: number): TcpOption => encodeOption({ type: 'request', hops, capabilities: 0 });
const reply = (node: string): TcpOption => {
  const option: TpotOption = { type: 'reply', address: ip(node), flags: 0, capabilities: 0 };
  return encodeOption(option);
};

interface Shape {
  readonly tunnel?: string | undefined;
  readonly options?: readonly TcpOption[];
  readonly data?: string;
  readonly seq?: number;
}

function packet(
  source: string,
  destination: string,
  flags: readonly TcpFlag[],
  shape: Shape = {},
): Uint8Array {
  const spec: TcpPacketSpec = {
    source: ip(source),
    sourcePort: source === ORIGIN ? 80 : 40_000,
    destination: ip(destination),
    destinationPort: destination === ORIGIN ? 80 : 40_000,
    flags,
    seq: shape.seq ?? 1,
    options: shape.options ?? [],
    payload: Buffer.from(shape.data ?? ''),
  };
  return buildTcp(
    shape.tunnel === undefined
      ? spec
      : { ...spec, tunnel: { source: ip(source), destination: ip(shape.tunnel) } },
  );
}

const up = (flags: readonly TcpFlag[], shape: Shape = {}): Uint8Array => packet(CLIENT, ORIGIN, flags, shape);
const down = (flags: readonly TcpFlag[], shape: Shape = {}): Uint8Array =>
  packet(ORIGIN, CLIENT, flags, shape);

function capture(packets: readonly Uint8Array[], drops = 0): LinkCapture {
  return {
    link: 'c1-p1',
    file: 'c1-p1.pcap',
    summary: { packets: packets.length, drops, protocols: {} },
    packets: packets.map((bytes, index) => ({ number: index + 1, time: index, dissection: dissect(bytes) })),
  };
}

const GET = 'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n';

const tunnelled = {
  syn: up(['syn'], { options: [request(8)] }),
  synAck: down(['syn', 'ack'], { options: [reply(NODE)] }),
  ack: up(['ack'], { tunnel: NODE }),
  data: up(['ack', 'psh'], { tunnel: NODE, data: GET }),
  answer: down(['ack', 'psh'], { data: 'HTTP/1.1 200 OK\r\n\r\n' }),
};
const plain = {
  syn: up(['syn'], { options: [request(6)] }),
  synAck: down(['syn', 'ack']),
  ack: up(['ack']),
  data: up(['ack', 'psh'], { data: GET }),
  answer: down(['ack', 'psh'], { data: 'HTTP/1.1 200 OK\r\n\r\n' }),
};

type Parts = Readonly<Record<keyof typeof tunnelled, Uint8Array>>;

const good = (parts: Parts): LinkCapture => capture(Object.values(parts));
const failures = (results: readonly { ok: boolean; name: string }[]): string[] =>
  results.filter(({ ok }) => !ok).map(({ name }) => name);

describe('a tunnelled leg', () => {
  const check = (change: Partial<Parts>): string[] =>
    failures(checkTunnelledLeg(good({ ...tunnelled, ...change }), LEG));

  test('as it should be', () => {
    expect(check({})).toEqual([]);
  });

  test.each<[string, Partial<Parts>, RegExp]>([
    ['a SYN without a request', { syn: up(['syn']) }, /SYN carries a request/],
    ['a request with other hops', { syn: up(['syn'], { options: [request(7)] }) }, /SYN carries a request/],
    ['two requests', { syn: up(['syn'], { options: [request(8), request(8)] }) }, /SYN carries a request/],
    [
      'a SYN in a tunnel',
      { syn: up(['syn'], { options: [request(8)], tunnel: NODE }) },
      /SYN carries a request/,
    ],
    ['a SYN-ACK without a reply', { synAck: down(['syn', 'ack']) }, /SYN-ACK carries the reply/],
    [
      'the reply of another',
      { synAck: down(['syn', 'ack'], { options: [reply('198.18.9.9')] }) },
      /SYN-ACK carries/,
    ],
    ['a plain ACK', { ack: up(['ack']) }, /protocol 4/],
    ['plain data', { data: up(['ack', 'psh'], { data: GET }) }, /protocol 4/],
    ['a tunnel to another', { data: up(['ack'], { tunnel: '198.18.9.9' }) }, /protocol 4/],
    ['an answer in a tunnel', { answer: down(['ack'], { tunnel: CLIENT }) }, /way back is plain/],
  ])('not with %s', (_, change, name) => {
    const failed = check(change);
    expect(failed).toHaveLength(1);
    expect(failed[0]).toMatch(name);
  });

  test('not with no packets at all', () => {
    expect(failures(checkTunnelledLeg(capture([]), LEG))).toHaveLength(4);
  });
});

describe('a plain leg', () => {
  const leg = { source: CLIENT, destination: ORIGIN, hops: [6] };
  const check = (change: Partial<Parts>): string[] =>
    failures(checkPlainLeg(good({ ...plain, ...change }), leg));

  test('as it should be', () => {
    expect(check({})).toEqual([]);
  });

  test.each<[string, Partial<Parts>, RegExp]>([
    ['a request with other hops', { syn: up(['syn'], { options: [request(8)] }) }, /SYN carries a request/],
    ['a reply', { synAck: down(['syn', 'ack'], { options: [reply(NODE)] }) }, /no option of ours/],
    ['a tunnelled packet', { data: up(['ack'], { tunnel: NODE }) }, /nothing in a tunnel/],
  ])('not with %s', (_, change, name) => {
    const failed = check(change);
    expect(failed).toHaveLength(1);
    expect(failed[0]).toMatch(name);
  });
});

describe('options', () => {
  const places = (change: Partial<Parts>): boolean =>
    checkOptionPlaces([good({ ...tunnelled, ...change })]).ok;

  test('stand in SYN and SYN-ACK', () => {
    expect(places({})).toBe(true);
  });

  test.each<[string, Partial<Parts>]>([
    ['in an ACK', { ack: up(['ack'], { tunnel: NODE, options: [request(8)] }) }],
    ['in data on the way back', { answer: down(['ack'], { options: [reply(NODE)] }) }],
    ['a reply in a SYN', { syn: up(['syn'], { options: [reply(NODE)] }) }],
    ['a request in a SYN-ACK', { synAck: down(['syn', 'ack'], { options: [request(8)] }) }],
    [
      'of our kind but unreadable',
      { syn: up(['syn'], { options: [{ kind: 'unknown', code: 253, data: Buffer.alloc(6) }] }) },
    ],
    ['nowhere at all', { syn: up(['syn']), synAck: down(['syn', 'ack']) }],
  ])('not %s', (_, change) => {
    expect(places(change)).toBe(false);
  });
});

describe('captures', () => {
  test('hold when complete and readable', () => {
    expect(checkCaptures([good(tunnelled)]).ok).toBe(true);
  });

  test.each<[string, LinkCapture]>([
    ['lost packets', capture(Object.values(tunnelled), 3)],
    ['unknown losses', { ...good(tunnelled), summary: { packets: 5, drops: undefined, protocols: {} } }],
    ['a packet cut short', capture([tunnelled.data.subarray(0, 50)])],
    ['nothing captured', capture([])],
  ])('not with %s', (_, wrong) => {
    expect(checkCaptures([wrong]).ok).toBe(false);
  });
});

describe('HTTP requests on a link', () => {
  const other = up(['ack'], { tunnel: NODE, data: 'POST /echo HTTP/1.1\r\n\r\n', seq: 99 });
  const link = capture([tunnelled.data, tunnelled.data, tunnelled.answer, other]);

  test('are seen inside tunnels, and once when retransmitted', () => {
    expect(requestsOn(link, ORIGIN)).toEqual(['/hello', '/echo']);
    expect(requestsOn(link, CLIENT)).toEqual([]);
  });

  test.each<[readonly string[], boolean]>([
    [['/echo', '/hello'], true],
    [['/hello'], false],
    [['/echo', '/hello', '/hello'], false],
    [['/echo', '/other'], false],
    [[], false],
  ])('%j: %s', (expected, ok) => {
    expect(checkRequestsOn(link, ORIGIN, expected).ok).toBe(ok);
  });
});

test('packets are counted by how they went, SYNs apart', () => {
  expect(countForward(good(tunnelled), LEG)).toEqual({ plain: 0, tunnelled: 2 });
  expect(countForward(good(plain), LEG)).toEqual({ plain: 2, tunnelled: 0 });
});

test('a connection counts as reset when it was accepted before', () => {
  const rst = down(['rst']);
  expect(countConnections(capture([plain.syn, rst]), LEG)).toEqual({ accepted: 0, reset: 0 });
  expect(countConnections(capture([plain.syn, plain.synAck, plain.ack]), LEG)).toEqual({
    accepted: 1,
    reset: 0,
  });
  expect(countConnections(capture([plain.synAck, plain.ack, rst, rst]), LEG)).toEqual({
    accepted: 1,
    reset: 1,
  });
});

test('equality tells what was expected', () => {
  expect(checkEqual('n', 1, 1)).toEqual({ name: 'n', ok: true, detail: '1' });
  expect(checkEqual('n', 1, 2, ' x')).toEqual({ name: 'n', ok: false, detail: '1 x, expected 2 x' });
});
