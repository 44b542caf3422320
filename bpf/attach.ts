/**
 * Attaching programs: to a cgroup, and to interfaces by TCX (kernel 6.6, a link that dies with its last descriptor)
 * or clsact (older kernels, a filter that stays until it is deleted).
 */
import { closeSync, existsSync, openSync, unlinkSync } from 'node:fs';
import koffi from 'koffi';
import { BpfError, checkBpf, lib } from './libbpf.js';

const BPF_CGROUP_SOCK_OPS = 3;
const TCX = { ingress: 46, egress: 47 } as const;
const CLSACT = { ingress: 1, egress: 2 } as const;
const { EEXIST = 17, EINVAL = 22, ENODEV = 19, EOPNOTSUPP = 95 } = koffi.os.errno;

export type Direction = keyof typeof TCX;

export interface Attachment {
  readonly kind: 'cgroup' | 'tcx' | 'clsact';
  /** Detaches and removes the pin. Never throws: what it detaches from may be gone already. */
  detach(): void;
  /** Lets go of it and leaves it attached; a link stays only by its pin. */
  leave(): void;
}

/** A BPF link held by its descriptor and, with `pin`, by a file that outlives this process. */
function linkAttachment(kind: 'cgroup' | 'tcx', fd: number, pin: string | undefined): Attachment {
  if (pin !== undefined) {
    if (existsSync(pin)) unlinkSync(pin); // a link of an earlier run: ours has taken its place
    checkBpf(`pin ${pin}`, lib.objPin(fd, pin));
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

function attachClsact(programFd: number, ifindex: number, direction: Direction): Attachment {
  const created = lib.tcHookCreate(tcHook(ifindex, CLSACT.ingress | CLSACT.egress));
  if (created < 0 && -created !== EEXIST)
    throw new BpfError(`create clsact on interface ${ifindex}`, -created);
  const hook = tcHook(ifindex, CLSACT[direction]);
  const options = tcOptions({ programFd });
  checkBpf(`attach to interface ${ifindex}`, lib.tcAttach(hook, options));
  const placed = tcOptions({ handle: options.readUInt32LE(20), priority: options.readUInt32LE(24) });
  return { kind: 'clsact', detach: () => void lib.tcDetach(hook, placed), leave: () => undefined };
}

/** Attaches to an interface of the current network namespace; undefined when the interface has gone meanwhile. */
export function attachInterface(
  programFd: number,
  ifindex: number,
  direction: Direction,
  pin?: string,
): Attachment | undefined {
  const result = lib.linkCreate(programFd, ifindex, TCX[direction], null);
  if (result >= 0) return linkAttachment('tcx', result, pin);
  if (-result === ENODEV) return undefined;
  if (-result !== EINVAL && -result !== EOPNOTSUPP)
    throw new BpfError(`attach to interface ${ifindex}`, -result);
  return attachClsact(programFd, ifindex, direction);
}
