/** One measured transfer: so many connections pushing through a site, and what that cost. */
import { readFileSync } from 'node:fs';
import { pause } from '../../netns/wait.js';
import type { Contender } from '../contenders.js';
import type { Agent } from '../load/agent.js';
import { PORT } from '../load/protocol.js';
import type { Site } from '../site.js';
import { sampleCpu, usageBetween, type CpuSample, type Usage } from './cpu.js';

export interface TransferOptions {
  readonly connections: number;
  /** Bytes a second of all connections together; 0: as fast as they go. */
  readonly rate: number;
  /** After the first bytes: time for a node to take its hands off the connections. */
  readonly restMs: number;
  /** Between the start of the push and the measurement. */
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface Transfer {
  readonly bitsPerSecond: number;
  readonly usage: Usage;
  /** Processor time of the whole machine per byte that arrived. */
  readonly nanosecondsPerByte: number;
  /** Bytes that the peer's processes read with read(2), per byte that arrived; only tpot-node reads that way. */
  readonly readShare: number;
}

interface Snapshot {
  readonly bytes: number;
  readonly timeMs: number;
  readonly cpu: CpuSample;
  readonly read: number;
}

/** `rchar` of proc_pid_io(5). */
function bytesRead(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      return sum + Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1] ?? 0);
    } catch {
      return sum; // ended since it was listed
    }
  }, 0);
}

async function snapshot(sink: Agent, pids: readonly number[]): Promise<Snapshot> {
  const cpu = sampleCpu(pids);
  const read = bytesRead(pids);
  const { bytes, timeMs } = await sink.ask({ op: 'count' }, 'count');
  return { bytes, timeMs, cpu, read };
}

function compare(before: Snapshot, after: Snapshot): Transfer {
  const bytes = after.bytes - before.bytes;
  const usage = usageBetween(before.cpu, after.cpu);
  return {
    bitsPerSecond: (8 * bytes) / ((after.timeMs - before.timeMs) / 1000),
    usage,
    nanosecondsPerByte: (usage.busySeconds * 1e9) / Math.max(1, bytes),
    readShare: (after.read - before.read) / Math.max(1, bytes),
  };
}

export async function measureTransfer(
  site: Site,
  { leg }: Pick<Contender, 'leg'>,
  options: TransferOptions,
): Promise<Transfer> {
  const client = await site.client(leg);
  const { connections, rate, restMs } = options;
  await client.ask({ op: 'bulk', target: site.target(PORT.bulk), connections, rate, restMs }, 'connected');
  await pause(options.warmUpMs);
  const pids = site.peerPids();
  const before = await snapshot(site.sink, pids);
  await pause(options.measureMs);
  const after = await snapshot(site.sink, pids);
  await client.ask({ op: 'stop' }, 'stopped');
  return compare(before, after);
}
