import { describe, expect, test } from 'vitest';
import { chooseEnds, readCapture } from './capture.js';
import { pcapHeader, pcapRecord, readPcap, type PcapPacket } from './pcap.js';
import { planLinks } from './spec.js';

const packet: PcapPacket = { time: 1_700_000_000_123.456, originalLength: 9000, bytes: Buffer.from('frame') };

describe('pcap files', () => {
  test('what is written is read', () => {
    const file = Buffer.concat([
      pcapHeader(65_535),
      pcapRecord(packet),
      pcapRecord({ ...packet, bytes: Buffer.alloc(0) }),
    ]);
    const { linkType, packets, truncated } = readPcap(file);
    expect({ linkType, truncated, count: packets.length }).toEqual({
      linkType: 1,
      truncated: false,
      count: 2,
    });
    expect(packets[0]?.time).toBeCloseTo(packet.time, 2);
    expect(packets[0]?.originalLength).toBe(9000);
    expect(Buffer.from(packets[0]?.bytes ?? []).toString()).toBe('frame');
  });

  test('a file whose writer was killed gives its whole packets', () => {
    const file = Buffer.concat([pcapHeader(65_535), pcapRecord(packet), pcapRecord(packet).subarray(0, 18)]);
    expect(readPcap(file)).toMatchObject({ truncated: true, packets: [{ originalLength: 9000 }] });
  });

  test('big-endian nanosecond files are read too', () => {
    const file = Buffer.alloc(24 + 16 + 1);
    [0xa1b23c4d, 0x00020004, 0, 0, 65_535, 1, 10, 500_000_000, 1, 1].forEach((value, index) =>
      file.writeUInt32BE(value, index * 4),
    );
    expect(readPcap(file).packets[0]).toMatchObject({ time: 10_500, nanoseconds: 10_500_000_000n });
  });

  test.each([Buffer.alloc(0), Buffer.alloc(23), Buffer.alloc(100)])('anything else is refused', (bytes) => {
    expect(() => readPcap(bytes)).toThrow('not a pcap file');
  });

  test('only IP frames become packets, under their number in the file', () => {
    const frame = (type: number): Buffer =>
      Buffer.concat([Buffer.alloc(12), Buffer.from([type >> 8, type & 255])]);
    const record = (type: number): Buffer => pcapRecord({ time: 0, originalLength: 14, bytes: frame(type) });
    const packets = readCapture(Buffer.concat([pcapHeader(65_535), record(0x0806), record(0x0800)]));
    expect(packets.map(({ number, dissection }) => [number, dissection.kind])).toEqual([[2, 'malformed']]);
  });
});

test('every link is captured once, from as few hosts as a greedy choice gives', () => {
  const hosts = ['c1', 'c2', 'p1', 'p2', 'origin'].map((name) => ({ name, role: 'node' as const }));
  const pairs = [
    ['c1', 'p1'],
    ['c2', 'p1'],
    ['p1', 'p2'],
    ['p2', 'origin'],
  ] as const;
  const chosen = chooseEnds(planLinks({ hosts, links: pairs.map((between) => ({ between })) }));
  expect([...chosen.keys()]).toEqual(['p1', 'p2']);
  expect([...chosen.values()].flat().map(({ link }) => link)).toEqual([
    'c1-p1',
    'c2-p1',
    'p1-p2',
    'p2-origin',
  ]);
});
