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

/** struct bpf_test_run_opts of libbpf 1.1, and where its fields are. */
const OPTIONS_SIZE = 80;
const OPTION = {
  size: 0,
  dataIn: 8,
  dataOut: 16,
  dataSizeIn: 24,
  dataSizeOut: 28,
  contextIn: 32,
  contextOut: 40,
  contextSizeIn: 48,
  contextSizeOut: 52,
  verdict: 56,
  repeat: 60,
  nanoseconds: 64,
} as const;
/** struct __sk_buff of Linux 5.15. */
const CONTEXT_SIZE = 192;
const CONTEXT = { mark: 8, ingressIfindex: 36, gsoSize: 176 } as const;
const GROWTH = 256;

export interface TestRunOptions {
  /** Default 1. */
  readonly repeat?: number;
  /** The interface that the packet came in on; default 0: it was made here. */
  readonly ingressIfindex?: number;
  /** What the frame is marked with on its way in; default 0. */
  readonly mark?: number;
  /** Makes the frame one that is still to be cut into segments with so much payload each. */
  readonly gsoSize?: number;
}

/** Runs a tc program over one Ethernet frame in the current network namespace. */
export function testRun(programFd: number, frame: Uint8Array, options: TestRunOptions = {}): TestRunResult {
  // One block of memory for everything the kernel reads and writes: the argument of the call keeps it alive, where
  // buffers of which only the address is known could be collected before the kernel gets to see them.
  const contextAt = OPTIONS_SIZE;
  const contextOutAt = contextAt + CONTEXT_SIZE;
  const inputAt = contextOutAt + CONTEXT_SIZE;
  const outputAt = inputAt + frame.length;
  const block = Buffer.alloc(outputAt + frame.length + GROWTH);
  const base = koffi.address(block);
  const at = (offset: number): bigint => base + BigInt(offset);
  block.set(frame, inputAt);
  block.writeUInt32LE(options.mark ?? 0, contextAt + CONTEXT.mark);
  block.writeUInt32LE(options.ingressIfindex ?? 0, contextAt + CONTEXT.ingressIfindex);
  block.writeUInt32LE(options.gsoSize ?? 0, contextAt + CONTEXT.gsoSize);
  block.writeBigUInt64LE(BigInt(OPTIONS_SIZE), OPTION.size);
  block.writeBigUInt64LE(at(inputAt), OPTION.dataIn);
  block.writeBigUInt64LE(at(outputAt), OPTION.dataOut);
  block.writeUInt32LE(frame.length, OPTION.dataSizeIn);
  block.writeUInt32LE(frame.length + GROWTH, OPTION.dataSizeOut);
  block.writeBigUInt64LE(at(contextAt), OPTION.contextIn);
  block.writeBigUInt64LE(at(contextOutAt), OPTION.contextOut);
  block.writeUInt32LE(CONTEXT_SIZE, OPTION.contextSizeIn);
  block.writeUInt32LE(CONTEXT_SIZE, OPTION.contextSizeOut);
  block.writeInt32LE(options.repeat ?? 1, OPTION.repeat);
  checkBpf('test run', lib.testRun(programFd, block));
  return {
    verdict: block.readInt32LE(OPTION.verdict),
    packet: block.subarray(outputAt, outputAt + block.readUInt32LE(OPTION.dataSizeOut)),
    mark: block.readUInt32LE(contextOutAt + CONTEXT.mark),
    nanoseconds: block.readUInt32LE(OPTION.nanoseconds),
  };
}
