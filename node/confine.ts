/**
 * Giving up what a node does not need once the machine is prepared: capabilities belong to threads, and Node has several
 * before the first line of a program runs. So the process prepares what takes more, limits what it may ever have,
 * and becomes itself again (exec): all threads of the new image have these few, and so has everything they start.
 *
 * | kept | for |
 * |---|---|
 * | CAP_NET_ADMIN | interfaces that appear later, TCP_REPAIR when a connection is spliced, transparent sockets, routing rules |
 * | CAP_NET_RAW | data that meets a hand-over: it is sent on right after it (held-segments.ts) |
 * | CAP_SYS_NICE | a hand-over visits every processor, and must not queue there (host/processors.ts) |
 * | CAP_BPF | tables, where the kernel wants it for each access (`kernel.unprivileged_bpf_disabled`) |
 * | CAP_PERFMON | loading the programs: without it the verifier takes fewer of them |
 * | CAP_NET_BIND_SERVICE | with `source: client` only: clients whose port is below 1024 |
 * | CAP_DAC_READ_SEARCH | only where modes do not let root read this program or its configuration |
 * | CAP_DAC_OVERRIDE | only where they do not let root write in this process's cgroup, as in some containers |
 */
import { join } from 'node:path';
import { messageOf } from '../core/errors.js';
import { silentLogger, type Logger } from '../core/log.js';
import {
  CAP,
  capabilitySet,
  limitCapabilities,
  ownCapabilities,
  rootMayRead,
  rootMayWrite,
} from '../host/capabilities.js';
import { exec } from '../host/libc.js';
import { ownCgroup, pinDirectory } from '../host/mounts.js';
import { builtFile } from '../host/paths.js';
import type { NodeConfig } from './config.js';
import { descriptorRoom } from './descriptors.js';

const all = (paths: readonly string[], may: (path: string) => boolean): boolean => {
  try {
    return paths.every(may);
  } catch {
    return false; // gone meanwhile: whoever reads it says so
  }
};

/** The set a node keeps; `files` are what it reads later. */
export function neededCapabilities({ source }: Pick<NodeConfig, 'source'>, files: readonly string[]): bigint {
  const { netAdmin, netRaw, sysNice, bpf, perfmon, netBindService, dacReadSearch, dacOverride } = CAP;
  const cgroup = ownCgroup();
  return capabilitySet([
    netAdmin,
    netRaw,
    sysNice,
    bpf,
    perfmon,
    ...(source === 'client' ? [netBindService] : []),
    ...(all(files, rootMayRead) ? [] : [dacReadSearch]),
    ...(all([cgroup, join(cgroup, 'cgroup.procs')], rootMayWrite) ? [] : [dacOverride]),
  ]);
}

/** Returns in the process that has given them up, or where that is not possible; otherwise becomes that process. */
export function confine(config: NodeConfig, configFile: string | undefined, logger: Logger): void {
  const files = [
    builtFile('cli', 'main.js'),
    process.execPath,
    ...(configFile === undefined ? [] : [configFile]),
  ];
  const needed = neededCapabilities(config, files);
  const { effective, bounding } = ownCapabilities();
  if ((bounding & ~needed) === 0n) return;
  if ((effective & capabilitySet([CAP.setPcap])) === 0n) {
    logger.warn('privileges-kept', { why: 'CAP_SETPCAP is missing', bounding: bounding.toString(16) });
    return;
  }
  pinDirectory(); // mounts what is missing
  descriptorRoom(silentLogger)(config.maxConnections); // the next image looks again, and says what is missing
  try {
    limitCapabilities(needed);
  } catch (error) {
    logger.warn('privileges-kept', { why: messageOf(error) });
    return;
  }
  exec(process.execPath, [...process.execArgv, ...process.argv.slice(1)]);
}
