/** Copies of spliced segments under BPF_PROG_TEST_RUN: what is in the ring is what was in the packet. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { TpotFlag, TpotFlowCodec, TpotSpliceFlag } from '../bpf/generated/maps.js';
import { RingReader, ringSize } from '../bpf/ring-buffer.js';
import { testRun } from '../bpf/test-run.js';
import { commandSync } from '../host/exec.js';
import { spliceEntry } from '../node/splice-entry.js';
import type { Mapping } from '../splice/mapping.js';
import { seq } from '../wire/seq.js';
import { flows, frameOf, mapFlow, ProgramsUnderTest, type Outcome } from './bpf-programs.js';
import { enterNewNetworkNamespace } from './network-namespace.js';
import { buildTcp } from '../wire/build.js';
import { ip } from '../core/address.js';

const RING = ringSize(1 << 20);
const ID = 0x1_2345_6789n;
const mapping: Mapping = {
  out: { source: ip('198.18.1.1'), sourcePort: 1, destination: ip('198.18.2.2'), destinationPort: 2 },
  base: seq(1000),
  acknowledged: seq(1),
  sequenceDelta: 5,
  acknowledgmentDelta: 7,
  timestampDelta: 0,
  echoDelta: 0,
  scaleUp: 0,
  scaleDown: 0,
  maxSegment: 9000,
  timestamps: false,
  sack: false,
  ecn: false,
};

let kernel: ProgramsUnderTest;
let ring: RingReader;
let leaveNamespace: () => void;
beforeAll(() => {
  leaveNamespace = enterNewNetworkNamespace();
  commandSync('ip', ['link', 'add', 'out', 'type', 'veth', 'peer', 'name', 'far']);
  for (const name of ['out', 'far']) commandSync('ip', ['link', 'set', name, 'mtu', '9100', 'up']);
  commandSync('ip', ['route', 'add', 'default', 'dev', 'out']);
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  kernel = new ProgramsUnderTest({ maxEntries: { tpot_taps: RING } });
  kernel.programs.configure({ flags: TpotFlag.NODE | TpotFlag.SPLICING, address4: 0xc6120101 });
  ring = new RingReader(kernel.programs.map('tpotTaps').fd, RING);
});
afterAll(() => {
  ring.close();
  kernel.close();
  leaveNamespace();
});

function enter(tapped = true): void {
  const facts = { outerSource: undefined, fromClient: false, bytes: 0n, now: ID, startedAt: ID };
  kernel.programs.map('tpotSplices').set(mapFlow(flows[4]), spliceEntry(mapping, { ...facts, tapped }));
}
const isTapped = (): boolean =>
  ((kernel.programs.map('tpotSplices').get(mapFlow(flows[4]))?.flags ?? 0) & TpotSpliceFlag.TAPPED) !== 0;

function send(payload: Uint8Array, more: { seq?: number; flags?: readonly ('ack' | 'urg')[] } = {}): Outcome {
  const segment = {
    ...flows[4],
    flags: more.flags ?? (['ack'] as const),
    seq: more.seq ?? 1000,
    ack: 1,
    payload,
  };
  return kernel.run('tpot_ingress', frameOf(buildTcp(segment), 4));
}

interface Copied {
  readonly id: bigint;
  readonly sequence: number;
  readonly bytes: Buffer;
}

function copies(): Copied[] {
  const found: Copied[] = [];
  const emptied = ring.drain((record) => {
    const bytes = Buffer.from(record.subarray(16, 16 + record.readUInt32LE(12)));
    found.push({ id: record.readBigUInt64LE(0), sequence: record.readUInt32LE(8), bytes });
  });
  expect(emptied).toBe(true);
  return found;
}

describe('a copy', () => {
  it('is the payload, with its sequence number as it arrived', () => {
    enter();
    const payloads = fc.uint8Array({ minLength: 1, maxLength: 3000, size: 'max' });
    fc.assert(
      fc.property(payloads, fc.nat({ max: 1 << 30 }), (payload, ahead) => {
        const outcome = send(payload, { seq: 1000 + ahead });
        expect(outcome.counted).toEqual({ 'splice-forwarded': 1, 'tap-copied': 1 });
        expect(copies()).toEqual([{ id: ID, sequence: 1000 + ahead, bytes: Buffer.from(payload) }]);
      }),
      { numRuns: 100 },
    );
  });

  it('is made of nothing else: no ACK, nothing that was relayed before, no other entry', () => {
    enter();
    send(new Uint8Array());
    send(new Uint8Array(100), { seq: 900 });
    enter(false);
    send(new Uint8Array(100));
    expect(copies()).toEqual([]);
  });

  it('that finds no room ends the copying, and nothing else', () => {
    enter();
    let sent = 0;
    let outcome = send(new Uint8Array(3000));
    while (outcome.counted['tap-copied'] === 1) {
      sent++;
      outcome = send(new Uint8Array(3000));
    }
    expect(outcome.counted).toEqual({ 'splice-forwarded': 1, 'tap-lost': 1 });
    expect(isTapped()).toBe(false);
    expect(copies()).toHaveLength(sent);
    expect(send(new Uint8Array(3000)).counted).toEqual({ 'splice-forwarded': 1 });
  });

  it('is not made of urgent data', () => {
    enter();
    expect(send(new Uint8Array(10), { flags: ['ack', 'urg'] }).counted).toMatchObject({ 'tap-lost': 1 });
    expect(isTapped()).toBe(false);
  });

  it('is made until user space wants no more', () => {
    enter();
    const frame = new Uint8Array(64);
    TpotFlowCodec.write(new DataView(frame.buffer), mapFlow(flows[4]));
    expect(testRun(kernel.programs.programFd('tpot_untap'), frame).verdict).toBe(1);
    expect(isTapped()).toBe(false);
    send(new Uint8Array(10));
    expect(copies()).toEqual([]);
  });

  it('is read over the end of the ring, again and again', () => {
    enter();
    for (let round = 0; round < 150; round++) {
      const payload = Buffer.alloc(2500, round);
      expect(send(payload, { seq: 1000 + round }).counted).toHaveProperty('tap-copied');
      expect(copies()[0]?.bytes.equals(payload)).toBe(true);
    }
  });
});
