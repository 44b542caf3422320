import { expect, test } from 'vitest';
import { ip } from '../core/address.js';
import { encodeOption } from '../tpot/option.js';
import { buildTcp, type TcpPacketSpec } from '../wire/build.js';
import { dissect } from '../wire/dissect.js';
import { encapsulate } from '../wire/ipip.js';
import { encapsulateInUdp, UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import type { LinkCapture } from './capture.js';
import { seenOn } from './seen.js';

const [client, node, origin] = [ip('198.18.0.1'), ip('198.18.1.1'), ip('192.0.2.80')];
const there: TcpPacketSpec = {
  source: client,
  sourcePort: 40000,
  destination: origin,
  destinationPort: 80,
  flags: ['ack'],
};
const back: TcpPacketSpec = {
  ...there,
  source: origin,
  sourcePort: 80,
  destination: client,
  destinationPort: 40000,
};

function seen(...packets: Uint8Array[]) {
  const capture: LinkCapture = {
    link: 'c1-m',
    file: '',
    summary: { packets: packets.length, drops: 0, protocols: {} },
    packets: packets.map((packet, index) => ({ number: index + 1, time: 0, dissection: dissect(packet) })),
  };
  return seenOn(capture, '192.0.2.80');
}

test('what is in a tunnel is not plain, in IP or in UDP', () => {
  const inner = buildTcp(there);
  const inIp = encapsulate(inner, { source: client, destination: node });
  const inUdp = encapsulateInUdp(inner, { source: client, destination: node, port: UDP_TUNNEL_PORT });
  expect(seen(inner, inner, inner)).toMatchObject({ plain: 3, tunnelled: 0, tunnelledInUdp: 0 });
  expect(seen(inner, inIp, inIp, inUdp)).toMatchObject({
    plain: 1,
    tunnelled: 3,
    tunnelledInUdp: 1,
    returned: 0,
  });
  const answer = encapsulate(buildTcp(back), { source: node, destination: client });
  const ends = { source: node, destination: client, port: UDP_TUNNEL_PORT, back: true };
  const answerInUdp = encapsulateInUdp(buildTcp(back), ends);
  expect(seen(answer, inIp)).toMatchObject({ tunnelled: 2, returned: 1 });
  expect(seen(answerInUdp)).toMatchObject({ tunnelled: 1, tunnelledInUdp: 1, returned: 1 });
});

test('requests are counted on their way there, replies on their way back', () => {
  const request = encodeOption({ type: 'request', hops: 8, capabilities: 0 });
  const syn = buildTcp({ ...there, flags: ['syn'], options: [request] });
  const synAck = buildTcp({ ...back, flags: ['syn', 'ack'] });
  expect(seen(syn, syn, synAck, buildTcp({ ...back, flags: ['rst'] }), buildTcp(back))).toEqual({
    syns: 2,
    requests: 2,
    synAcks: 1,
    replies: 0,
    tunnelled: 0,
    returned: 0,
    tunnelledInUdp: 0,
    plain: 0,
    resets: 1,
  });
});

test('a reset counts that ends a connection, and not one of a connection that is over or was there before', () => {
  const syn = buildTcp({ ...there, flags: ['syn'] });
  const reset = buildTcp({ ...there, flags: ['rst'] });
  const [fin, finBack] = [there, back].map((end) => buildTcp({ ...end, flags: ['fin', 'ack'] })) as [
    Uint8Array,
    Uint8Array,
  ];
  expect(seen(syn, fin, reset).resets).toBe(1);
  expect(seen(syn, fin, finBack, reset).resets).toBe(0);
  expect(seen(reset).resets).toBe(0);
  expect(seen(syn, fin, finBack, reset).plain).toBe(1);
});
