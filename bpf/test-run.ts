/** BPF_PROG_TEST_RUN: a packet in, a packet and a verdict out, and the time it took. */
import koffi from 'koffi';
import { checkBpf, lib } from './libbpf.js';

export interface TestRunResult {
  /** The program's return value: a TC_ACT_* number, -1 for TC_ACT_UNSPEC. */
  readonly verdict: number;
  readonly packet: Buffer;
  readonly mark: number;
  /** Mean nanoseconds per run over `repeat`. */
  readonly nanoseconds: number;
}

const OPTIONS_SIZE = 80;
/** struct __sk_buff of Linux 5.15. */
const CONTEXT_SIZE = 192;
const MARK_AT = 8;
const GSO_SIZE_AT = 176;
const GROWTH = 256;

export interface TestRunOptions {
  /** 1 by default. */
  readonly repeat?: number;
  /** Makes the frame one that is still to be cut into segments with so much payload. */
  readonly gsoSize?: number;
}

/** Runs a tc program over one Ethernet frame in the current network namespace. */
export function testRun(
  programFd: number,
  frame: Uint8Array,
  { repeat = 1, gsoSize = 0 }: TestRunOptions = {},
): TestRunResult {
  const input = Buffer.from(frame);
  const output = Buffer.alloc(frame.length + GROWTH);
  const contextIn = Buffer.alloc(CONTEXT_SIZE);
  const contextOut = Buffer.alloc(CONTEXT_SIZE);
  const options = Buffer.alloc(OPTIONS_SIZE);
  contextIn.writeUInt32LE(gsoSize, GSO_SIZE_AT);
  options.writeBigUInt64LE(BigInt(OPTIONS_SIZE), 0);
  options.writeBigUInt64LE(koffi.address(input), 8);
  options.writeBigUInt64LE(koffi.address(output), 16);
  options.writeUInt32LE(input.length, 24);
  options.writeUInt32LE(output.length, 28);
  options.writeBigUInt64LE(koffi.address(contextIn), 32);
  options.writeBigUInt64LE(koffi.address(contextOut), 40);
  options.writeUInt32LE(CONTEXT_SIZE, 48);
  options.writeUInt32LE(CONTEXT_SIZE, 52);
  options.writeInt32LE(repeat, 60);
  checkBpf('test run', lib.testRun(programFd, options));
  return {
    verdict: options.readInt32LE(56),
    packet: output.subarray(0, options.readUInt32LE(28)),
    mark: contextOut.readUInt32LE(MARK_AT),
    nanoseconds: options.readUInt32LE(64),
  };
}
