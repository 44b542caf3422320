/** Programs and model compared a great many times: counters are read once for many cases. */
import { expect } from 'vitest';
import { testRun, type TestRunOptions, type TestRunResult } from '../../bpf/test-run.js';
import { ETHERNET_HEADER, type ProgramName, type ProgramsUnderTest } from '../bpf-programs.js';

const BATCH = 2000;

export interface FuzzCase {
  readonly program: ProgramName;
  readonly frame: Uint8Array;
  readonly options?: TestRunOptions;
  /** Brings the tables into the state before the frame. */
  readonly prepare: () => void;
  /** What the frame should be counted as. */
  readonly counted: readonly string[];
  /** Throws when something else came out than should. */
  readonly check: (outcome: TestRunResult) => void;
}

/** Runs cases, and says of the first that is wrong which it is. */
export class Comparison {
  readonly #kernel: ProgramsUnderTest;
  readonly #uncounted: ReadonlySet<string>;
  #batch: FuzzCase[] = [];
  #before: Record<string, number>;

  /** `uncounted`: reasons that the model does not count as the programs do. */
  constructor(kernel: ProgramsUnderTest, uncounted: readonly string[] = []) {
    this.#kernel = kernel;
    this.#uncounted = new Set(uncounted);
    this.#before = this.#counters();
  }

  #counters(): Record<string, number> {
    return this.#compared(this.#kernel.programs.counters());
  }

  #compared(counters: Record<string, number>): Record<string, number> {
    return Object.fromEntries(Object.entries(counters).filter(([reason]) => !this.#uncounted.has(reason)));
  }

  run(one: FuzzCase): void {
    one.prepare();
    const outcome = testRun(this.#kernel.programs.programFd(one.program), one.frame, one.options);
    try {
      one.check(outcome);
    } catch (cause) {
      throw new Error(`${describeCase(one)}\nverdict ${outcome.verdict}, ${hex(outcome.packet)}`, { cause });
    }
    this.#batch.push(one);
    if (this.#batch.length === BATCH) this.settle();
  }

  /** Compares the counters of all cases since the last time. */
  settle(): void {
    const after = this.#counters();
    const expected = { ...this.#before };
    for (const reason of this.#batch.flatMap(({ counted }) => counted)) {
      expected[reason] = (expected[reason] ?? 0) + 1;
    }
    if (JSON.stringify(sorted(after)) !== JSON.stringify(sorted(expected))) this.#findCulprit();
    this.#before = after;
    this.#batch = [];
  }

  #findCulprit(): never {
    for (const one of this.#batch) {
      one.prepare();
      const { counted } = this.#kernel.run(one.program, one.frame, one.options);
      const expected = Object.fromEntries(one.counted.map((reason) => [reason, 1]));
      expect(this.#compared(counted), describeCase(one)).toEqual(expected);
    }
    throw new Error('the counters are not the sum of what the cases are counted as, one by one');
  }
}

function sorted(counters: Record<string, number>): [string, number][] {
  return Object.entries(counters).sort(([a], [b]) => (a < b ? -1 : 1));
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function describeCase({ program, frame, options }: FuzzCase): string {
  return `${program}, ${JSON.stringify(options ?? {})}, ${hex(frame)}`;
}

/**
 * Whether two packets, from their IP headers on, are the same. The two zeros of ones' complement are both right in a
 * checksum; `checksums`: where there are some.
 */
export function isSamePacket(
  actual: Uint8Array,
  expected: Uint8Array,
  checksums: readonly number[] = [],
): boolean {
  if (Buffer.compare(actual, expected) === 0) return true;
  const zero = (bytes: Uint8Array, at: number): boolean =>
    bytes[at] === bytes[at + 1] && (bytes[at] === 0 || bytes[at] === 0xff);
  const settled = actual.slice();
  for (const at of checksums) {
    if (zero(actual, at) && zero(expected, at)) settled.set(expected.subarray(at, at + 2), at);
  }
  return Buffer.compare(settled, expected) === 0;
}

/** The frame's header as it was, and behind it this packet. */
export function expectFrame(
  outcome: TestRunResult,
  frame: Uint8Array,
  packet: Uint8Array,
  checksums: readonly number[] = [],
): void {
  const { packet: bytes } = outcome;
  const header = frame.subarray(0, ETHERNET_HEADER);
  const right =
    Buffer.compare(bytes.subarray(0, ETHERNET_HEADER), header) === 0 &&
    isSamePacket(bytes.subarray(ETHERNET_HEADER), packet, checksums);
  if (!right) throw new Error(`expected ${hex(header)} ${hex(packet)}`);
}
