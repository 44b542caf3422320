/**
 * Programs on interfaces before Linux 6.6: filters in the clsact qdisc. Filter and qdisc stay until somebody deletes them, so
 * the process that made the qdisc takes it away with the last filter in it, whosever that was.
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
import { BpfError, checkBpf, lib } from './libbpf.js';

const POINT = { ingress: 1, egress: 2 } as const;
const BOTH = POINT.ingress | POINT.egress;
const { EEXIST = 17 } = koffi.os.errno;
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
    if (name === undefined) return true; // gone, and the qdisc with it
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

function addFilter(programFd: number, ifindex: number, hook: Buffer): Buffer {
  const options = tcOptions({ programFd });
  try {
    checkBpf(`attach to interface ${ifindex}`, lib.tcAttach(hook, options));
  } catch (error) {
    removeUnused(ifindex);
    throw error;
  }
  return tcOptions({ handle: options.readUInt32LE(20), priority: options.readUInt32LE(24) });
}

/** Attaches to an interface of the current network namespace. Throws {@link BpfError}, and leaves nothing then. */
export function attachClsact(programFd: number, ifindex: number, direction: keyof typeof POINT): Attachment {
  const hook = tcHook(ifindex, POINT[direction]);
  const placed = exclusively(() => {
    const created = lib.tcHookCreate(tcHook(ifindex, BOTH));
    if (created < 0 && -created !== EEXIST)
      throw new BpfError(`create clsact on interface ${ifindex}`, -created);
    if (created >= 0) made.add(ifindex);
    return addFilter(programFd, ifindex, hook);
  });
  return {
    kind: 'clsact',
    detach: () =>
      exclusively((locked) => {
        lib.tcDetach(hook, placed);
        if (locked) removeUnused(ifindex);
      }),
    leave: () => void made.delete(ifindex),
  };
}
