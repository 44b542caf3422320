/** The file systems that the programs live in. */
import { accessSync, constants } from 'node:fs';
import { findMount, ownCgroup } from '../host/mounts.js';
import { fail, ok, warn, type Check } from './check.js';

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function checkMount(name: string, type: 'cgroup2' | 'bpf', preferred: string, used: () => string): Check {
  const found = findMount(type);
  if (found === undefined) {
    const mend = `mount -t ${type} ${type} ${preferred}`;
    return warn(name, 'not mounted; tpot-node mounts it for itself when it needs it', mend);
  }
  const path = used();
  if (isWritable(path)) return ok(name, found);
  return fail(name, `${path} cannot be written to`, `As root: mount -o remount,rw ${found}`);
}

export function checkMounts(): Check[] {
  return [
    checkMount('cgroup2', 'cgroup2', '/sys/fs/cgroup', ownCgroup),
    checkMount('bpffs', 'bpf', '/sys/fs/bpf', () => findMount('bpf') ?? ''),
  ];
}
