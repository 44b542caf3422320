/**
 * Programs on interfaces before Linux 6.6: filters in the clsact qdisc. Filter and qdisc stay until somebody deletes them, so
 * the process that made the qdisc takes it away with the last filter in it, whosever that was. What a killed process has left is
 * taken away by the next one that attaches to the interface (clsact-records.ts).
 *
 * Between the look for other filters and the deletion none may come: every process of ours holds a lock meanwhile, and
 * while it attaches. Other programs do not know it; they have the time of one call to get in between.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { commandSync } from '../host/exec.js';
import { listInterfaces } from '../host/interfaces.js';
import { waitForLock } from '../host/libc.js';
import { runtimeDirectory } from '../host/paths.js';
import type { Attachment } from './attachment.js';
import { note, sweepNotes, type Abandoned, type FilterPlace } from './clsact-records.js';
import { BpfError, checkBpf, lib } from './libbpf.js';

const POINT = { ingress: 1, egress: 2 } as const;
const BOTH = POINT.ingress | POINT.egress;
const { EEXIST = 17, ENOENT = 2 } = koffi.os.errno;
/** Where struct bpf_tc_opts has the number of the program. */
const PROGRAM_ID = 16;
const LOCK = join(runtimeDirectory, 'clsact.lock');

/** Interfaces whose qdisc this process has made. */
const made = new Set<number>();

/** struct bpf_tc_hook: size, ifindex, attach point, parent. */
function tcHook(ifindex: number, point: number): Buffer {
  const hook = Buffer.alloc(24);
  hook.writeBigUInt64LE(24n, 0);
  hook.writeInt32LE(ifindex, 8);
  hook.writeInt32LE(point, 12);
  return hook;
}

/** struct bpf_tc_opts: size, program, flags, program id, handle, priority; the kernel chooses what is zero. */
function tcOptions(fields: { programFd?: number; handle?: number; priority?: number }): Buffer {
  const options = Buffer.alloc(32);
  options.writeBigUInt64LE(32n, 0);
  options.writeInt32LE(fields.programFd ?? 0, 8);
  options.writeUInt32LE(fields.handle ?? 0, 20);
  options.writeUInt32LE(fields.priority ?? 0, 24);
  return options;
}

function lock(): number | undefined {
  try {
    mkdirSync(dirname(LOCK), { recursive: true, mode: 0o755 });
    const fd = openSync(LOCK, 'a', 0o600);
    waitForLock(fd);
    return fd;
  } catch {
    return undefined; // nowhere to write
  }
}

/** `locked`: no other process of ours attaches meanwhile. */
function exclusively<T>(action: (locked: boolean) => T): T {
  const fd = lock();
  try {
    return action(fd !== undefined);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Whether the qdisc has filters; true when that cannot be told. */
function isUsed(ifindex: number): boolean {
  try {
    const name = listInterfaces().find(({ index }) => index === ifindex)?.name;
    if (name === undefined) return false; // gone, and the qdisc with it
    const filters = Object.keys(POINT).map((side) =>
      commandSync('tc', ['filter', 'show', 'dev', name, side]),
    );
    return filters.join('').trim() !== '';
  } catch {
    return true;
  }
}

/** Takes away a qdisc of ours that nobody uses. */
function removeUnused(ifindex: number): void {
  if (!made.has(ifindex) || isUsed(ifindex)) return;
  lib.tcHookDestroy(tcHook(ifindex, BOTH));
  made.delete(ifindex);
}

/** Of the filter at a place; 0 when there is none. */
function programAt({ ifindex, direction, priority, handle }: FilterPlace): number {
  const options = tcOptions({ priority, handle });
  if (lib.tcQuery(tcHook(ifindex, POINT[direction]), options) < 0) return 0;
  return options.readUInt32LE(PROGRAM_ID);
}

function removeFilter({ ifindex, direction, priority, handle }: FilterPlace): void {
  lib.tcDetach(tcHook(ifindex, POINT[direction]), tcOptions({ priority, handle }));
}

/** Whether the kernel has no such program any more; false when that cannot be told. */
function isGone(program: number): boolean {
  const fd = lib.programById(program);
  if (fd >= 0) closeSync(fd);
  return -fd === ENOENT;
}

/** Takes away what killed processes have left that had no successor, or have this one. */
function removeAbandoned(ifindex: number, direction: keyof typeof POINT, owner: string): void {
  const takeAway = ({ place, note: left }: Abandoned): boolean => {
    if (left.owner !== '' && left.owner !== owner) return false;
    if (programAt(place) === left.program) removeFilter(place);
    if (left.made) made.add(ifindex);
    return true;
  };
  sweepNotes({ ifindex, direction }, takeAway, isGone);
}

function addFilter(
  programFd: number,
  ifindex: number,
  direction: keyof typeof POINT,
): FilterPlace & { program: number } {
  const options = tcOptions({ programFd });
  try {
    checkBpf(`attach to interface ${ifindex}`, lib.tcAttach(tcHook(ifindex, POINT[direction]), options));
  } catch (error) {
    removeUnused(ifindex);
    throw error;
  }
  const [handle, priority] = [options.readUInt32LE(20), options.readUInt32LE(24)];
  return { ifindex, direction, handle, priority, program: options.readUInt32LE(PROGRAM_ID) };
}

/**
 * Attaches to an interface of the current network namespace. `owner` names who may leave its filters to a process that comes
 * after it. Throws {@link BpfError}, and leaves nothing then.
 */
export function attachClsact(
  programFd: number,
  ifindex: number,
  direction: keyof typeof POINT,
  owner = '',
): Attachment {
  const [placed, held] = exclusively(() => {
    const created = lib.tcHookCreate(tcHook(ifindex, BOTH));
    if (created < 0 && -created !== EEXIST)
      throw new BpfError(`create clsact on interface ${ifindex}`, -created);
    if (created >= 0) made.add(ifindex);
    const { program, ...place } = addFilter(programFd, ifindex, direction);
    // After it: connections of the one before are never without a program.
    removeAbandoned(ifindex, direction, owner);
    return [place, note(place, { program, owner, made: made.has(ifindex) })] as const;
  });
  return {
    kind: 'clsact',
    detach: () =>
      exclusively((locked) => {
        removeFilter(placed);
        held.remove();
        if (locked) removeUnused(ifindex);
      }),
    leave: () => {
      made.delete(ifindex);
      held.leave();
    },
  };
}
