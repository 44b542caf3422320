/** Whether this kernel can run the programs, and this process load them. */
import { existsSync, readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { release } from 'node:os';
import { join } from 'node:path';
import { messageOf, TpotError } from '../core/errors.js';
import { isJitted, probeFeatures, tryInterfaceAttachment, type Feature } from '../bpf/features.js';
import { TpotPrograms } from '../bpf/programs.js';
import { makeCgroup, ownCgroup, removeCgroup } from '../host/mounts.js';
import { fail, ok, warn, type Check } from './check.js';

const MINIMUM: readonly [number, number] = [5, 15];
const MINIMUM_TEXT = MINIMUM.join('.');
/** linux/capability.h; CAP_BPF is part of CAP_SYS_ADMIN before 5.8. */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_BPF: 39 } as const;
const BTF = '/sys/kernel/btf/vmlinux';

/** `status` is the text of /proc/self/status. */
export function checkPrivileges(uid: number, status: string): Check {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const missing = Object.entries(CAPABILITIES)
    .filter(([, bit]) => (effective & (1n << BigInt(bit))) === 0n)
    .map(([name]) => name);
  if (uid !== 0) return fail('privileges', `user ${uid}, not root`, 'Run as root (sudo).');
  if (missing.length === 0) return ok('privileges', 'root with all capabilities needed');
  const grant = missing.map((name) => `--cap-add ${name.slice('CAP_'.length)}`).join(' ');
  return fail('privileges', `root without ${missing.join(', ')}`, `In a container: ${grant}.`);
}

export function checkRelease(text: string): Check {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  const enough = major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1]);
  if (enough) return ok('kernel', `Linux ${text}`);
  return fail('kernel', `Linux ${text}`, `Boot Linux ${MINIMUM_TEXT} or later.`);
}

export function checkFeature({ name, what, minimumKernel, present }: Feature): Check {
  if (present === true) return ok(name, what);
  const reason = present === undefined ? 'cannot be tried' : 'missing';
  return fail(
    name,
    `${what}: ${reason}`,
    `Linux ${minimumKernel} or later has it; boot ${MINIMUM_TEXT} or later.`,
  );
}

function checkBtf(): Check {
  if (existsSync(BTF)) return ok('btf', BTF);
  return warn(
    'btf',
    `no ${BTF}: bpftool shows less`,
    'tpot-node itself does without; CONFIG_DEBUG_INFO_BTF adds it.',
  );
}

function failed(name: string, error: unknown): Check {
  const hint = error instanceof TpotError ? error.hint : undefined;
  return fail(name, messageOf(error), hint ?? `Boot Linux ${MINIMUM_TEXT} or later.`);
}

/** Runs a check that may throw. */
function attempt(name: string, check: () => Check): Check {
  try {
    return check();
  } catch (error) {
    return failed(name, error);
  }
}

function checkJit(programs: TpotPrograms): Check {
  if (isJitted(programs.programFd('tpot_ingress'))) return ok('jit', 'programs run as machine code');
  return warn('jit', 'programs are interpreted: several times slower', 'sysctl -w net.core.bpf_jit_enable=1');
}

function checkCgroupAttach(programs: TpotPrograms): Check {
  const cgroup = join(ownCgroup(), `tpot-doctor.${process.pid}.${randomBytes(3).toString('hex')}`);
  makeCgroup(cgroup);
  try {
    programs.attachCgroup(cgroup).detach();
    return ok('cgroup-attach', 'socket programs can be attached to cgroups');
  } finally {
    removeCgroup(cgroup);
  }
}

function checkInterfaceAttach(programs: TpotPrograms): Check {
  const kind = tryInterfaceAttachment(programs.programFd('tpot_ingress'));
  if (kind === 'tcx') return ok('interface-attach', 'TCX (Linux 6.6 and later)');
  if (kind === 'clsact') return ok('interface-attach', 'clsact (Linux before 6.6)');
  return fail(
    'interface-attach',
    'neither TCX nor clsact',
    'modprobe sch_ingress cls_bpf, or boot Linux 6.6 or later.',
  );
}

/** Really loads the compiled programs, and attaches them where they disturb nobody. */
function checkPrograms(): Check[] {
  const started = performance.now();
  let programs: TpotPrograms;
  try {
    programs = TpotPrograms.load({ maxEntries: { tpot_taken: 1, tpot_transient: 1, tpot_tunnels: 1 } });
  } catch (error) {
    return [failed('programs', error)];
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  try {
    return [
      ok('programs', `the kernel takes the compiled programs (${seconds} s)`),
      attempt('jit', () => checkJit(programs)),
      attempt('cgroup-attach', () => checkCgroupAttach(programs)),
      attempt('interface-attach', () => checkInterfaceAttach(programs)),
    ];
  } finally {
    programs.close();
  }
}

export function checkKernel(): Check[] {
  const privileges = checkPrivileges(process.geteuid?.() ?? -1, readFileSync('/proc/self/status', 'utf8'));
  const always = [privileges, checkRelease(release())];
  if (privileges.status === 'fail') {
    return [...always, warn('programs', 'not tried without these privileges', privileges.mend ?? '')];
  }
  return [...always, ...probeFeatures().map(checkFeature), checkBtf(), ...checkPrograms()];
}
