import { describe, expect, it } from 'vitest';
import { ip } from '../../core/address.js';
import { pcapHeader, pcapRecord } from '../../netns/pcap.js';
import { buildTcp, type TcpPacketSpec } from '../../wire/build.js';
import { MARK } from '../load/protocol.js';
import { matchDelays, sightings, SNAP_LENGTH } from './delays.js';

interface Packet extends Partial<TcpPacketSpec> {
  readonly at: number;
  readonly text: string;
}

/** A capture of one connection, cut at the snap length; times in milliseconds. */
function capture(packets: readonly Packet[], changes: Partial<TcpPacketSpec> = {}): Uint8Array {
  const ends = { source: ip('198.18.1.2'), sourcePort: 1, destination: ip('192.0.2.80'), destinationPort: 2 };
  const records = packets.map(({ at, text, ...rest }) => {
    const payload = Buffer.from(text, 'latin1');
    const packet = buildTcp({ ...ends, flags: ['ack'], payload, ...changes, ...rest });
    const frame = Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0]), packet]);
    return pcapRecord({ time: at, originalLength: frame.length, bytes: frame.subarray(0, SNAP_LENGTH) });
  });
  return Buffer.concat([pcapHeader(SNAP_LENGTH), ...records]);
}

const mark = MARK.toString('latin1');

describe('delays', () => {
  const arrived = capture([
    { at: 0, seq: 92, text: 'socks!!!' },
    { at: 1, seq: 100, text: mark },
    { at: 2, seq: 108, text: 'x'.repeat(500) },
    { at: 3, seq: 608, text: 'x'.repeat(500) },
    { at: 9, seq: 108, text: 'x'.repeat(500) },
    { at: 10, seq: 1108, text: 'last' },
  ]);

  it('of bytes told by their place, whatever the segments and sequence numbers of the other side', () => {
    const wrapped = 0xfffffffc;
    const left = capture([
      { at: 1.5, seq: wrapped, text: mark + 'x'.repeat(200) },
      { at: 5, seq: (wrapped + 208) >>> 0, text: 'x'.repeat(800) },
    ]);
    const delays = matchDelays(sightings(arrived), sightings(left));
    // Sent again, or not seen leaving: no delay.
    expect(delays).toEqual([
      { place: 8, microseconds: 500 },
      { place: 508, microseconds: 3000 },
      { place: 1008, microseconds: 2000 },
    ]);
  });

  it('are the same when the segments come in a tunnel', () => {
    const tunnel = { source: ip('198.18.1.2'), destination: ip('198.18.1.1') };
    const [plain, tunnelled] = [{}, { tunnel }].map((changes) =>
      sightings(capture([{ at: 1, seq: 5, text: `${mark}rest` }], changes)),
    );
    expect(tunnelled).toEqual(plain);
    expect(plain).toMatchObject([{ seq: 5, length: 12, marked: true }]);
  });

  it('count from the first mark, even when it left behind the second', () => {
    const [first, second] = [`${mark}1`, `${mark}2`];
    const near = capture([
      { at: 1, seq: 50, text: first },
      { at: 2, seq: 59, text: second },
    ]);
    const far = capture([
      { at: 3, seq: 709, text: second },
      { at: 4, seq: 700, text: first },
    ]);
    expect(matchDelays(sightings(near), sightings(far)).at(-1)).toEqual({ place: 18, microseconds: 1000 });
  });

  it('are none without a mark, or without payload', () => {
    const silent = sightings(capture([{ at: 1, text: '' }]));
    expect(silent).toEqual([]);
    expect(matchDelays(sightings(arrived), sightings(capture([{ at: 1, text: 'other' }])))).toEqual([]);
  });
});
