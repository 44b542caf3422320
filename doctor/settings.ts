/** Kernel settings of this network namespace that make a node useless, lossy or easy to flood. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ok, warn, type Check } from './check.js';

/** Reads a setting by its path below /proc/sys/net; undefined when there is none. */
export type ReadSetting = (path: string) => string | undefined;

/** What the node's listener asks for (BACKLOG in node/data-path-ebpf.ts). */
const BACKLOG = 4096;
const STRICT = 1;

export function readSetting(path: string): string | undefined {
  try {
    return readFileSync(join('/proc/sys/net', path), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** The kernel uses the larger of the value for all interfaces and the interface's own (ip-sysctl). */
function checkReversePath(interfaces: readonly string[], read: ReadSetting): Check {
  const of = (name: string): number => Number(read(`ipv4/conf/${name}/rp_filter`) ?? 0);
  const all = of('all');
  const strict = interfaces.filter((name) => Math.max(all, of(name)) === STRICT);
  const listed = ['all', ...interfaces].map((name) => `${name} ${of(name)}`).join(', ');
  if (strict.length === 0) return ok('rp-filter', listed);
  return warn(
    'rp-filter',
    `${listed}: strict on ${strict.join(', ')}, where packets of asymmetric routes are dropped`,
    `sysctl -w ${['all', ...strict].map((name) => `net.ipv4.conf.${name}.rp_filter=2`).join(' ')}`,
  );
}

function checkForwarding(read: ReadSetting): Check {
  const found = {
    'net.ipv4.ip_forward': 'ipv4/ip_forward',
    'net.ipv6.conf.all.forwarding': 'ipv6/conf/all/forwarding',
  };
  const values = Object.entries(found).map(([name, path]) => ({ name, value: read(path) }));
  const text = values.map(({ name, value }) => `${name} ${value ?? 'absent'}`).join(', ');
  const off = values.filter(({ value }) => value === '0').map(({ name }) => name);
  if (values[0]?.value === '1') return ok('ip-forward', text);
  return warn(
    'ip-forward',
    `${text}: a node here forwards nothing that it does not take (a client needs no forwarding)`,
    `For a node: sysctl -w ${off.map((name) => `${name}=1`).join(' ')}`,
  );
}

function checkSynQueue(read: ReadSetting): Check {
  const value = (path: string): number => Number(read(path) ?? Number.NaN);
  const cookies = value('ipv4/tcp_syncookies');
  const backlog = value('ipv4/tcp_max_syn_backlog');
  const somaxconn = value('core/somaxconn');
  const text = `tcp_syncookies ${cookies}, tcp_max_syn_backlog ${backlog}, somaxconn ${somaxconn}`;
  if (cookies === 0) {
    const mend = 'For a node: sysctl -w net.ipv4.tcp_syncookies=1';
    return warn('syn-queue', `${text}: a flood of SYNs keeps others out`, mend);
  }
  if (somaxconn < BACKLOG) {
    const mend = `For a node: sysctl -w net.core.somaxconn=${BACKLOG}`;
    return warn('syn-queue', `${text}: fewer connections can wait to be accepted than a node asks for`, mend);
  }
  return ok('syn-queue', text);
}

/** `interfaces` are all but loopback. */
export function checkSettings(interfaces: readonly string[], read: ReadSetting = readSetting): Check[] {
  const accept = read('ipv4/conf/all/accept_local') ?? 'absent';
  return [
    checkReversePath(interfaces, read),
    checkForwarding(read),
    ok('accept-local', `${accept}; not needed, whatever it is`),
    checkSynQueue(read),
  ];
}
