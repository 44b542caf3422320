/** Capabilities of this process (capabilities(7)), and giving up those that are not needed. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import koffi from 'koffi';
import { SystemCallError } from './libc.js';

/** Numbers of linux/capability.h. */
export const CAP = {
  dacOverride: 1,
  dacReadSearch: 2,
  setPcap: 8,
  netBindService: 10,
  netAdmin: 12,
  netRaw: 13,
  sysNice: 23,
  perfmon: 38,
  bpf: 39,
} as const;

const libc = koffi.load('libc.so.6');
const cPrctl = libc.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
const cCapset = libc.func('int capset(const void *header, const void *data)');
const PR_SET_PDEATHSIG = 1;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;
const SIGKILL = 9;

export interface Capabilities {
  readonly effective: bigint;
  /** What this process and its descendants may ever have again. */
  readonly bounding: bigint;
}

export const capabilitySet = (numbers: Iterable<number>): bigint =>
  [...numbers].reduce((set, number) => set | (1n << BigInt(number)), 0n);

export function capabilitiesOf(status: string): Capabilities {
  const line = (name: string): bigint =>
    BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1] ?? '0'}`);
  return { effective: line('CapEff'), bounding: line('CapBnd') };
}

export function ownCapabilities(): Capabilities {
  return capabilitiesOf(readFileSync('/proc/thread-self/status', 'utf8'));
}

function prctl(option: number, a: number, b = 0): void {
  if ((cPrctl(option, a, b, 0, 0) as number) < 0)
    throw new SystemCallError(`prctl(${option})`, koffi.errno());
}

/**
 * From the next exec on, root is the capabilities of `keep` and no others, for good: nothing it starts can get them
 * back, set-user-ID programs included. Only this thread; an exec ends all others. Needs CAP_SETPCAP.
 */
export function limitCapabilities(keep: bigint): void {
  const { bounding } = ownCapabilities();
  for (let number = 0; bounding >> BigInt(number) > 0n; number++) {
    const bit = 1n << BigInt(number);
    if ((bounding & bit) !== 0n && (keep & bit) === 0n) prctl(PR_CAPBSET_DROP, number);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
  prctl(PR_SET_NO_NEW_PRIVS, 1);
}

/**
 * Gives up all capabilities but those of `keep`, for this thread now and for all of the process from the next exec on, and
 * with it the chance to gain any (no_new_privs). Needs no privilege.
 */
export function dropCapabilities(keep: bigint): void {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
  prctl(PR_SET_NO_NEW_PRIVS, 1);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const data = Buffer.alloc(24); // effective, permitted, inheritable; then their upper halves
  for (const [at, half] of [
    [0, keep & 0xffff_ffffn],
    [12, keep >> 32n],
  ] as const) {
    data.writeUInt32LE(Number(half), at);
    data.writeUInt32LE(Number(half), at + 4);
  }
  if ((cCapset(header, data) as number) < 0) throw new SystemCallError('capset', koffi.errno());
}

/** From now on this process is killed when the one that started it ends. */
export function endWithParent(): void {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

const READ = 4;
const WRITE = 2;
const ENTER = 1;

/** What a mode lets root do without capabilities: as any other user, by owner, group and others. */
function modeLets(path: string, bit: number): boolean {
  const { uid, gid, mode } = statSync(path);
  return (mode & (uid === 0 ? bit << 6 : gid === 0 ? bit << 3 : bit)) !== 0;
}

function rootMay(path: string, bit: number): boolean {
  if (!modeLets(path, bit)) return false;
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    if (!modeLets(folder, ENTER)) return false;
    if (folder === '/') return true;
  }
}

/** Whether root without CAP_DAC_READ_SEARCH could read this file: by its mode, and by those of all folders above. */
export const rootMayRead = (file: string): boolean => rootMay(file, READ);

/** Whether root without CAP_DAC_OVERRIDE could write this file, or make something in this folder. */
export const rootMayWrite = (path: string): boolean => rootMay(path, WRITE);
