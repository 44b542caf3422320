/**
 * Packets that arrive without anybody who sends them: a test run of an XDP program with live frames (Linux 5.18) gives
 * its frames to the network stack as a driver would, in batches of 64, on one processor.
 */
import koffi from 'koffi';
import { checkBpf, lib } from '../../bpf/libbpf.js';
import { close as closeDescriptor } from '../../host/libc.js';

const bpfProgLoad = koffi
  .load('libbpf.so.1')
  .func(
    'int bpf_prog_load(int type, const char *name, const char *license, const void *code, size_t count, void *opts)',
  ) as (
  type: number,
  name: string,
  license: string,
  code: Uint8Array,
  count: number,
  options: null,
) => number;

export const PROGRAM_TYPE = { schedCls: 3, xdp: 6 } as const;
const INSTRUCTION_SIZE = 8;

/** Loads a program of raw instructions; returns its descriptor. */
export function loadInstructions(type: number, name: string, code: Uint8Array): number {
  return checkBpf(`load ${name}`, bpfProgLoad(type, name, 'MIT', code, code.length / INSTRUCTION_SIZE, null));
}

/** struct bpf_insn */
function instruction(
  code: number,
  destination: number,
  source: number,
  offset: number,
  immediate: number,
): Buffer {
  const bytes = Buffer.alloc(INSTRUCTION_SIZE);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8((source << 4) | destination, 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}

const OP = {
  loadWord: 0x61,
  storeWord: 0x62,
  move: 0xbf,
  add: 0x07,
  moveNumber: 0xb7,
  jumpGreater: 0x2d,
  exit: 0x95,
};
const XDP = { drop: 1, pass: 2 } as const;
/** Of a frame: as much as its headers need, and no frame here is shorter. */
const REWRITTEN = 64;

/** Frames are used again and again, changed as they are by then: the program writes their headers anew. */
function refreshingProgram(frame: Buffer): Buffer {
  const stores = Array.from({ length: REWRITTEN / 4 }, (_, word) =>
    instruction(OP.storeWord, 2, 0, 4 * word, frame.readInt32LE(4 * word)),
  );
  return Buffer.concat([
    instruction(OP.loadWord, 2, 1, 0, 0), // r2 = data
    instruction(OP.loadWord, 3, 1, 4, 0), // r3 = data_end
    instruction(OP.move, 4, 2, 0, 0),
    instruction(OP.add, 4, 0, 0, REWRITTEN),
    instruction(OP.moveNumber, 0, 0, 0, XDP.drop),
    instruction(OP.jumpGreater, 4, 3, stores.length + 1, 0),
    ...stores,
    instruction(OP.moveNumber, 0, 0, 0, XDP.pass),
    instruction(OP.exit, 0, 0, 0, 0),
  ]);
}

/** struct bpf_test_run_opts of libbpf 1.1 and struct xdp_md: where the fields are that are used. */
const OPTIONS = {
  size: 80,
  dataIn: 8,
  dataSizeIn: 24,
  contextIn: 32,
  contextSizeIn: 48,
  repeat: 60,
  nanoseconds: 64,
  flags: 68,
};
const CONTEXT = { size: 24, dataEnd: 4, ingressIfindex: 12 };
const LIVE_FRAMES = 2;

/** Lets so many copies of a frame arrive at an interface (with GRO on, where it is a veth). Nanoseconds for each. */
export function receiveFrames(frame: Uint8Array, ifindex: number, count: number): number {
  const program = loadInstructions(PROGRAM_TYPE.xdp, 'refresh', refreshingProgram(Buffer.from(frame)));
  const frameAt = OPTIONS.size + CONTEXT.size;
  const block = Buffer.alloc(frameAt + frame.length);
  const base = koffi.address(block);
  block.set(frame, frameAt);
  block.writeBigUInt64LE(BigInt(OPTIONS.size), 0);
  block.writeBigUInt64LE(base + BigInt(frameAt), OPTIONS.dataIn);
  block.writeUInt32LE(frame.length, OPTIONS.dataSizeIn);
  block.writeBigUInt64LE(base + BigInt(OPTIONS.size), OPTIONS.contextIn);
  block.writeUInt32LE(CONTEXT.size, OPTIONS.contextSizeIn);
  block.writeInt32LE(count, OPTIONS.repeat);
  block.writeUInt32LE(LIVE_FRAMES, OPTIONS.flags);
  block.writeUInt32LE(frame.length, OPTIONS.size + CONTEXT.dataEnd);
  block.writeUInt32LE(ifindex, OPTIONS.size + CONTEXT.ingressIfindex);
  try {
    checkBpf('live frames', lib.testRun(program, block));
  } finally {
    closeDescriptor(program);
  }
  return block.readUInt32LE(OPTIONS.nanoseconds);
}
