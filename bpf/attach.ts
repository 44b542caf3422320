/**
 * Attaching programs: to a cgroup, and to interfaces by TCX (kernel 6.6, a link that dies with its last descriptor)
 * or clsact (older kernels, clsact.ts).
 */
import { closeSync, existsSync, openSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import koffi from 'koffi';
import type { Attachment } from './attachment.js';
import { attachClsact } from './clsact.js';
import { BpfError, checkBpf, lib } from './libbpf.js';

const BPF_CGROUP_SOCK_OPS = 3;
const TCX = { ingress: 46, egress: 47 } as const;
const { EINVAL = 22, ENODEV = 19, EOPNOTSUPP = 95 } = koffi.os.errno;

export type { Attachment };

/** A BPF link held by its descriptor and, with `pin`, by a file that outlives this process. */
function linkAttachment(kind: 'cgroup' | 'tcx', fd: number, pin: string | undefined): Attachment {
  if (pin !== undefined) {
    try {
      if (existsSync(pin)) unlinkSync(pin); // a link of an earlier run: ours has taken its place
      checkBpf(`pin ${pin}`, lib.objPin(fd, pin));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
  return {
    kind,
    detach: () => {
      if (pin !== undefined && existsSync(pin)) unlinkSync(pin);
      closeSync(fd);
    },
    leave: () => closeSync(fd),
  };
}

export function attachCgroup(programFd: number, cgroup: string, pin?: string): Attachment {
  const directory = openSync(cgroup, 'r');
  try {
    const fd = checkBpf(
      `attach to ${cgroup}`,
      lib.linkCreate(programFd, directory, BPF_CGROUP_SOCK_OPS, null),
    );
    return linkAttachment('cgroup', fd, pin);
  } finally {
    closeSync(directory);
  }
}

/** Attaches to an interface of the current network namespace; undefined when the interface has gone meanwhile. */
export function attachInterface(
  programFd: number,
  ifindex: number,
  direction: keyof typeof TCX,
  pin?: string,
): Attachment | undefined {
  const result = lib.linkCreate(programFd, ifindex, TCX[direction], null);
  if (result >= 0) return linkAttachment('tcx', result, pin);
  if (-result === ENODEV) return undefined;
  if (-result !== EINVAL && -result !== EOPNOTSUPP)
    throw new BpfError(`attach to interface ${ifindex}`, -result);
  // Of a node by its name, whatever the layout of its maps.
  return attachClsact(programFd, ifindex, direction, pin === undefined ? undefined : dirname(dirname(pin)));
}
