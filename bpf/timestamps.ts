/** The last timestamp a connection has received: a program reads it, since no socket option tells. */
import { toMapped, type IpAddress } from '../core/address.js';
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { builtFile } from '../host/paths.js';
import { TpotFlowCodec } from './generated/maps.js';
import { BpfObject } from './object.js';
import { testRun } from './test-run.js';

/** struct tpot_question in tpot_state.bpf.c: a flow, the family, the answer. */
const FAMILY_AT = 36;
const ANSWER_AT = 40;
const FRAME_LENGTH = 64;

interface ArrivingFlow {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

export class TimestampReader {
  readonly #object: BpfObject | undefined;

  /** Without the kernel's BTF the program cannot be loaded: then {@link available} is false, and it is logged. */
  constructor(logger: Logger) {
    try {
      this.#object = BpfObject.load(builtFile('bpf', 'tpot_state.bpf.o'));
    } catch (error) {
      logger.warn('timestamps-unreadable', {
        error: messageOf(error),
        effect: 'connections with TCP timestamps are relayed, not spliced',
        hint: 'use a kernel with CONFIG_DEBUG_INFO_BTF',
      });
    }
  }

  get available(): boolean {
    return this.#object !== undefined;
  }

  /** Undefined when the connection is not in this network namespace. */
  lastReceived(flow: ArrivingFlow): number | undefined {
    if (this.#object === undefined) return undefined;
    const frame = Buffer.alloc(FRAME_LENGTH);
    TpotFlowCodec.write(new DataView(frame.buffer, frame.byteOffset, FRAME_LENGTH), {
      ...flow,
      source: toMapped(flow.source),
      destination: toMapped(flow.destination),
    });
    frame.writeUInt32LE(flow.source.family, FAMILY_AT);
    const { verdict, packet } = testRun(this.#object.programFd('tpot_timestamp'), frame);
    return verdict === 1 ? packet.readUInt32LE(ANSWER_AT) : undefined;
  }

  close(): void {
    this.#object?.close();
  }
}
