/** The BPF programs under BPF_PROG_TEST_RUN, and how tests state what should come out. */
import { expect } from 'vitest';
import { ip, toMapped, type Family, type IpAddress } from '../core/address.js';
import { DELIVERY_MARK, TpotPrograms } from '../bpf/programs.js';
import type { TpotFlow } from '../bpf/generated/maps.js';
import type { LoadOptions } from '../bpf/object.js';
import { testRun, type TestRunOptions } from '../bpf/test-run.js';
import type { Flow } from '../tpot/decap.js';
import type { ReasonCode } from '../tpot/reasons.js';
import { concat } from '../wire/bytes.js';
import { isValid, pseudoHeaderSum } from '../wire/checksum.js';
import { ip as anyIp, isFragment, protocolOf, type IpRepr } from '../wire/ip.js';
import { PROTOCOL } from '../wire/protocols.js';
import { tcp, TCP_CHECKSUM_OFFSET, TCP_MIN_HEADER, type TcpRepr } from '../wire/tcp.js';

export type ProgramName = 'tpot_ingress' | 'tpot_egress' | 'tpot_ingress_l3' | 'tpot_egress_l3';

export const ETHERNET_HEADER = 14;
const ETHERTYPE: Record<Family, readonly [number, number]> = { 4: [0x08, 0x00], 6: [0x86, 0xdd] };
const MACS = [0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02] as const;
const ACTION = { untouched: -1, deliver: 0, drop: 2 } as const;

/** An Ethernet frame around a packet. The type says IPv4 or IPv6 whatever the packet says of itself. */
export function frameOf(packet: Uint8Array, family: Family): Uint8Array {
  return concat(Uint8Array.of(...MACS, ...ETHERTYPE[family]), packet);
}

/** What should become of a frame. `packet` is what follows the Ethernet header; absent: the frame as it was. */
export interface Expected {
  /** `untouched` also means that the mark is not set; `deliver` that it is. */
  readonly verdict: keyof typeof ACTION;
  readonly reason?: ReasonCode | undefined;
  readonly packet?: Uint8Array;
}

export interface Outcome {
  readonly verdict: number;
  readonly mark: number;
  /** What follows the Ethernet header. */
  readonly packet: Buffer;
  readonly header: Buffer;
  /** By how much each counter grew. */
  readonly counted: Record<string, number>;
}

export class ProgramsUnderTest {
  readonly programs: TpotPrograms;

  constructor(options: LoadOptions = {}) {
    this.programs = TpotPrograms.load(options);
  }

  run(name: ProgramName, frame: Uint8Array, options: TestRunOptions = {}): Outcome {
    const before = this.programs.counters();
    const { verdict, mark, packet } = testRun(this.programs.programFd(name), frame, options);
    const after = Object.entries(this.programs.counters());
    return {
      verdict,
      mark,
      header: packet.subarray(0, ETHERNET_HEADER),
      packet: packet.subarray(ETHERNET_HEADER),
      counted: Object.fromEntries(
        after.flatMap(([reason, count]) =>
          count === before[reason] ? [] : [[reason, count - (before[reason] ?? 0)]],
        ),
      ),
    };
  }

  /** Runs a program and compares everything that comes out. */
  expect(name: ProgramName, frame: Uint8Array, expected: Expected): void {
    const outcome = this.run(name, frame);
    const counted = expected.reason === undefined ? {} : { [expected.reason]: 1 };
    expect(outcome.counted).toEqual(counted);
    expect(outcome.verdict).toBe(ACTION[expected.verdict]);
    expect(outcome.mark).toBe(expected.verdict === 'deliver' ? DELIVERY_MARK : 0);
    if (expected.verdict === 'drop') return;
    expectBytes(outcome.header, frame.subarray(0, ETHERNET_HEADER));
    expectBytes(outcome.packet, expected.packet ?? frame.subarray(ETHERNET_HEADER));
  }

  close(): void {
    this.programs.close();
  }
}

export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  // As text: a hundred times faster than comparing arrays element by element, and as readable.
  expect(Buffer.from(actual).toString('hex')).toBe(Buffer.from(expected).toString('hex'));
}

/** One connection per family, and the node's addresses. */
export const flows: Record<Family, Flow> = {
  4: { source: ip('198.18.0.7'), sourcePort: 40000, destination: ip('192.0.2.80'), destinationPort: 80 },
  6: {
    source: ip('2001:db8::7'),
    sourcePort: 40000,
    destination: ip('2001:db8:80::80'),
    destinationPort: 80,
  },
};
export const nodeAddresses: Record<Family, IpAddress> = { 4: ip('198.18.1.1'), 6: ip('2001:db8:1::1') };

/** A flow as the maps hold it. */
export function mapFlow(flow: Flow): TpotFlow {
  return {
    source: toMapped(flow.source),
    destination: toMapped(flow.destination),
    sourcePort: flow.sourcePort,
    destinationPort: flow.destinationPort,
  };
}

export function reversed(flow: Flow): Flow {
  return {
    source: flow.destination,
    sourcePort: flow.destinationPort,
    destination: flow.source,
    destinationPort: flow.sourcePort,
  };
}

const isMapped = ({ family, bytes }: IpAddress): boolean =>
  family === 6 &&
  bytes.subarray(0, 10).every((byte) => byte === 0) &&
  bytes[10] === 0xff &&
  bytes[11] === 0xff;

export interface Segment {
  readonly header: IpRepr;
  readonly tcp: TcpRepr;
  readonly payload: Uint8Array;
}

/** The TCP segment in a frame, as wire/ reads it; undefined for every frame that holds none. */
export function segmentOf(frame: Uint8Array): Segment | undefined {
  const family = ([4, 6] as const).find((one) =>
    ETHERTYPE[one].every((byte, index) => frame[12 + index] === byte),
  );
  const parsed = anyIp.parse(frame.subarray(ETHERNET_HEADER));
  if (!parsed.ok || parsed.value.family !== family) return undefined;
  const { value: header, payload } = parsed;
  if (isFragment(header) || protocolOf(header) !== PROTOCOL.tcp) return undefined;
  if (isMapped(header.source) || isMapped(header.destination)) return undefined;
  const segment = tcp.parse(payload);
  return segment.ok ? { header, tcp: segment.value, payload: segment.payload } : undefined;
}

/** Checks an outcome that may differ from the frame in the option area and, hence, in the TCP checksum. */
export function expectOnlyMssChanged(frame: Uint8Array, outcome: Outcome, options: Uint8Array): void {
  const after = concat(outcome.header, outcome.packet);
  const { header, tcp: was } = segmentOf(frame) ?? {};
  if (header === undefined || was === undefined) throw new Error('the frame holds no segment');
  const at = frame.length - TCP_MIN_HEADER - was.options.length;
  const expected = concat(frame.subarray(0, at + TCP_MIN_HEADER), options);
  // The two zeros of ones' complement are both right, so the checksum is verified, not compared.
  expected.set(
    after.subarray(at + TCP_CHECKSUM_OFFSET, at + TCP_CHECKSUM_OFFSET + 2),
    at + TCP_CHECKSUM_OFFSET,
  );
  expectBytes(after, expected);
  const segment = after.subarray(at);
  const pseudo = pseudoHeaderSum(header.source, header.destination, PROTOCOL.tcp, segment.length);
  expect(isValid(segment, pseudo)).toBe(true);
}
