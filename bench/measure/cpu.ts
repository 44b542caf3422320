/** Processor time, of the whole machine and of processes, from /proc (proc_stat(5), proc_pid_stat(5)). */
import { readFileSync } from 'node:fs';

/** In clock ticks since boot, all processors together. */
export interface MachineTime {
  /** Idle, or waiting for a disk. */
  readonly idle: number;
  /** In interrupts: where forwarded packets are handled. Sampled by the timer where the kernel has no better. */
  readonly softirq: number;
  /** What the hypervisor gave to others. */
  readonly stolen: number;
  readonly processors: number;
}

export interface Usage {
  /** Of the whole machine, 0 to 1. */
  readonly machine: number;
  /** Of the whole machine in soft interrupts, 0 to 1. */
  readonly softirq: number;
  /** Taken away by the hypervisor, 0 to 1. */
  readonly stolen: number;
  /** Processors that the processes kept busy: 1.5 is one and a half. */
  readonly processes: number;
  /** Processor seconds that the machine spent. */
  readonly busySeconds: number;
  readonly seconds: number;
}

export interface CpuSample {
  readonly machine: MachineTime;
  readonly processTicks: number;
  /** Milliseconds of a steady clock. */
  readonly time: number;
}

/** USER_HZ: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;
const UTIME_FIELD = 11; // counted after the command name
const STIME_FIELD = 12;

/** /proc/stat: the sums in its first line, and a line for each processor. */
export function parseMachineTime(text: string): MachineTime {
  const fields = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '').split(' ').map(Number);
  const [, , , idle = 0, iowait = 0, , softirq = 0, stolen = 0] = fields;
  return { idle: idle + iowait, softirq, stolen, processors: text.match(/^cpu\d/gm)?.length ?? 1 };
}

/** utime + stime of one line of /proc/PID/stat. */
export function parseProcessTicks(text: string): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[UTIME_FIELD] ?? 0) + Number(fields[STIME_FIELD] ?? 0);
}

function processTicks(pid: number): number {
  try {
    return parseProcessTicks(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return 0; // ended since it was listed
  }
}

export function sampleCpu(pids: readonly number[]): CpuSample {
  return {
    machine: parseMachineTime(readFileSync('/proc/stat', 'latin1')),
    processTicks: pids.reduce((sum, pid) => sum + processTicks(pid), 0),
    time: performance.now(),
  };
}

/**
 * Busy is what was not idle. The kernel measures idle time, but samples the others with its timer, which short work
 * that begins with a packet and ends before the next tick mostly escapes.
 */
export function usageBetween(before: CpuSample, after: CpuSample): Usage {
  const seconds = (after.time - before.time) / 1000;
  const total = Math.max(1, after.machine.processors * seconds * TICKS_PER_SECOND);
  const grown = (key: 'idle' | 'softirq' | 'stolen'): number => after.machine[key] - before.machine[key];
  const busy = Math.max(0, total - grown('idle') - grown('stolen'));
  return {
    machine: busy / total,
    softirq: grown('softirq') / total,
    stolen: grown('stolen') / total,
    processes: (after.processTicks - before.processTicks) / TICKS_PER_SECOND / seconds,
    busySeconds: busy / TICKS_PER_SECOND,
    seconds,
  };
}
