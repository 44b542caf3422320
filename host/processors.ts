/** Waiting until every processor has finished with the packets it is at. */
import { readFileSync } from 'node:fs';
import {
  getAffinity,
  membarrierGlobal,
  SCHED_OTHER,
  schedulingPolicy,
  setAffinity,
  SystemCallError,
  withoutQueueing,
} from './libc.js';

/** Above this a visit to each costs more than the kernel's own grace period is worth. */
const MAX_VISITS = 64;

function onlineProcessors(): number[] {
  return readFileSync('/sys/devices/system/cpu/online', 'utf8')
    .trim()
    .split(',')
    .flatMap((range) => {
      const [from = 0, to = from] = range.split('-').map(Number);
      return Array.from({ length: to - from + 1 }, (_, index) => from + index);
    });
}

/** With a real-time kernel a packet's processing can be interrupted by a task, so a visit proves nothing. */
function isRealtime(): boolean {
  try {
    return readFileSync('/sys/kernel/realtime', 'utf8').trim() === '1';
  } catch {
    return false;
  }
}

const visitable = ((): readonly number[] => {
  const online = onlineProcessors();
  return isRealtime() || online.length > MAX_VISITS ? [] : online;
})();

function maskOf(processor: number): Buffer {
  const mask = Buffer.alloc(128);
  mask[processor >> 3] = 1 << (processor & 7);
  return mask;
}

/** Whoever gave this process another policy has a reason. */
const isOrdinary = schedulingPolicy() === SCHED_OTHER;

function visitAll(): boolean {
  const before = getAffinity();
  try {
    for (const processor of visitable) setAffinity(maskOf(processor));
    return visitable.length > 0;
  } catch (error) {
    if (error instanceof SystemCallError) return false; // a cpuset, or one that has just gone offline
    throw error;
  } finally {
    setAffinity(before);
  }
}

/**
 * Returns once no processor is any longer at a packet that it was at when this was called. Packets are processed with
 * other tasks held off, so this thread running on a processor proves that one idle of them: 20 µs each, and on a busy
 * machine too, since a visitor queues behind no ordinary thread (which took 14 ms at the median of two busy processors,
 * 110 at most). Where processors cannot be visited, the kernel's own grace period does: some 10 ms.
 */
export function passEveryProcessor(): void {
  const passed = isOrdinary ? withoutQueueing(visitAll) : visitAll();
  if (!passed) membarrierGlobal();
}
