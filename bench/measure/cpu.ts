/** Processor time, of the whole machine and of processes, from /proc (proc_stat(5), proc_pid_stat(5)). */
import { readFileSync } from 'node:fs';

/** In clock ticks since boot, all processors together. */
export interface MachineTime {
  /** Everything but idle, waiting for a disk, and what the hypervisor gave to others. */
  readonly busy: number;
  /** In interrupts: where forwarded packets are handled. */
  readonly softirq: number;
  readonly stolen: number;
  readonly total: number;
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

/** The first line of /proc/stat. */
export function parseMachineTime(text: string): MachineTime {
  const fields = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '').split(' ').map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, stolen = 0] = fields;
  const busy = user + nice + system + irq + softirq;
  return { busy, softirq, stolen, total: busy + idle + iowait + stolen };
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

export function usageBetween(before: CpuSample, after: CpuSample): Usage {
  const total = Math.max(1, after.machine.total - before.machine.total);
  const seconds = (after.time - before.time) / 1000;
  const busy = after.machine.busy - before.machine.busy;
  return {
    machine: busy / total,
    softirq: (after.machine.softirq - before.machine.softirq) / total,
    stolen: (after.machine.stolen - before.machine.stolen) / total,
    processes: (after.processTicks - before.processTicks) / TICKS_PER_SECOND / seconds,
    busySeconds: busy / TICKS_PER_SECOND,
    seconds,
  };
}
