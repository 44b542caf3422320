/** Where cgroup v2 and bpffs are mounted, and mounting them where they are not. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, TpotError } from '../core/errors.js';
import { mount, unmount } from './libc.js';
import { runtimeDirectory } from './paths.js';

/** The mount point of the first file system of this type; undefined when there is none. */
export function findMount(type: string): string | undefined {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, target, kind] = line.split(' ');
    if (kind === type && target !== undefined) return target.replace(/\\040/g, ' ');
  }
  return undefined;
}

/** What this process has mounted. */
const mounted: string[] = [];

/** Takes away what this process has mounted. What is open in it stays until it is closed. */
export function unmountOwn(): void {
  for (const target of mounted.splice(0)) unmount(target);
}

/** Nothing is covered by a mount there. With cgroup v1 alone, what its controllers are mounted on would be. */
function isFree(target: string): boolean {
  try {
    return readdirSync(target).length === 0;
  } catch {
    return true; // to be made
  }
}

/**
 * The mount point of `type`, mounted now if need be. It is missing on minimal systems, where cgroup v1 is used alone, and
 * inside `ip netns exec`, which covers /sys with a fresh one.
 */
function ensureMount(type: 'cgroup2' | 'bpf', preferred: string): string {
  const found = findMount(type);
  if (found !== undefined) return found;
  for (const target of [...(isFree(preferred) ? [preferred] : []), join(runtimeDirectory, type)]) {
    try {
      mkdirSync(target, { recursive: true });
      mount(type, target, type);
      mounted.push(target);
      return target;
    } catch (error) {
      if (target !== preferred) {
        throw new TpotError(
          'mount-failed',
          `no ${type} file system is mounted and mounting one failed: ${messageOf(error)}`,
          {
            hint: `Mount it (mount -t ${type} ${type} ${preferred}) or use a kernel that has it.`,
            cause: error,
          },
        );
      }
    }
  }
  throw new Error('unreachable');
}

/** Where the maps of node or shim `name` are pinned. */
export function pinDirectory(...names: string[]): string {
  return join(ensureMount('bpf', '/sys/fs/bpf'), 'tpot-node', ...names);
}

/** The cgroup v2 directory this process is in. */
export function ownCgroup(): string {
  const root = ensureMount('cgroup2', '/sys/fs/cgroup');
  const line = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('0::'));
  return join(root, line?.slice(3) ?? '/');
}

/** Makes a cgroup. Below the caller's own, so that limits set on it go on counting. */
export function makeCgroup(path: string): void {
  mkdirSync(path, { recursive: true });
}

export function enterCgroup(path: string, pid: number = process.pid): void {
  writeFileSync(join(path, 'cgroup.procs'), String(pid));
}

/** Whether a process is left in the cgroup or below it; false when the cgroup has gone. */
export function isPopulated(path: string): boolean {
  try {
    return readFileSync(join(path, 'cgroup.events'), 'utf8').includes('populated 1');
  } catch {
    return false;
  }
}

/** Removes an empty cgroup. Returns whether it is gone. */
export function removeCgroup(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
