/** What the programs need of the kernel, looked at piece by piece: for messages that say which piece is missing. */
import { inNewNetworkNamespace } from '../host/libc.js';
import { listInterfaces } from '../host/interfaces.js';
import { attachInterface, type Attachment } from './attach.js';
import { checkBpf, lib } from './libbpf.js';

/** include/uapi/linux/bpf.h */
const PROGRAM = { schedCls: 3, sockOps: 13 } as const;
const MAP = { array: 2, skStorage: 24, lpmTrie: 11, lruHash: 9 } as const;

export interface Feature {
  readonly name: string;
  readonly what: string;
  readonly minimumKernel: string;
  /** Undefined where the probe itself failed. */
  readonly present: boolean | undefined;
}

interface Probe {
  readonly name: string;
  readonly what: string;
  readonly minimumKernel: string;
  readonly run: () => number;
}

const helper = (type: number, id: number) => (): number => lib.probeHelper(type, id, null);
const mapType = (type: number) => (): number => lib.probeMapType(type, null);

const PROBES: readonly Probe[] = [
  {
    name: 'bpf-syscall',
    what: 'the bpf system call (CONFIG_BPF_SYSCALL)',
    minimumKernel: '3.18',
    run: mapType(MAP.array),
  },
  {
    name: 'bpf-tables',
    what: 'tables that evict and tables of prefixes',
    minimumKernel: '4.11',
    run: () => Math.min(mapType(MAP.lruHash)(), mapType(MAP.lpmTrie)()),
  },
  {
    name: 'socket-storage',
    what: 'BPF storage in sockets',
    minimumKernel: '5.2',
    run: mapType(MAP.skStorage),
  },
  {
    name: 'socket-lookup',
    what: 'bpf_skc_lookup_tcp in tc programs',
    minimumKernel: '5.2',
    run: helper(PROGRAM.schedCls, 99),
  },
  {
    name: 'sk-assign',
    what: 'bpf_sk_assign in tc programs',
    minimumKernel: '5.7',
    run: helper(PROGRAM.schedCls, 124),
  },
  {
    name: 'header-options',
    what: 'TCP header options from socket programs (bpf_store_hdr_opt)',
    minimumKernel: '5.10',
    run: helper(PROGRAM.sockOps, 143),
  },
  {
    name: 'redirect-neigh',
    what: 'bpf_redirect_neigh in tc programs',
    minimumKernel: '5.10',
    run: helper(PROGRAM.schedCls, 152),
  },
  { name: 'check-mtu', what: 'bpf_check_mtu', minimumKernel: '5.12', run: helper(PROGRAM.schedCls, 163) },
  {
    name: 'map-iteration',
    what: 'bpf_for_each_map_elem',
    minimumKernel: '5.13',
    run: helper(PROGRAM.schedCls, 164),
  },
];

/** Asks the kernel for each feature, by loading the smallest program or map that needs it. Needs root. */
export function probeFeatures(): Feature[] {
  return PROBES.map(({ name, what, minimumKernel, run }) => {
    const result = run();
    return { name, what, minimumKernel, present: result < 0 ? undefined : result === 1 };
  });
}

/** struct bpf_prog_info: the length of the machine code is its fifth word. */
const PROGRAM_INFO_SIZE = 232;
const JITED_LENGTH_AT = 16;

/** Whether a loaded program was translated to machine code. */
export function isJitted(programFd: number): boolean {
  const info = Buffer.alloc(PROGRAM_INFO_SIZE);
  checkBpf('ask for program information', lib.objInfo(programFd, info, [info.length]));
  return info.readUInt32LE(JITED_LENGTH_AT) > 0;
}

/** How the kernel lets a program be attached to interfaces; tried on the loopback of a namespace that goes away. */
export function tryInterfaceAttachment(programFd: number): Attachment['kind'] | undefined {
  return inNewNetworkNamespace(() => {
    const loopback = listInterfaces().find((candidate) => candidate.loopback);
    const attachment = loopback && attachInterface(programFd, loopback.index, 'ingress');
    attachment?.detach();
    return attachment?.kind;
  });
}
