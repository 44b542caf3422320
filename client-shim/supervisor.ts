/**
 * The process behind `tpot-node run`: holds the shim while the command or any of its descendants lives, and a
 * little longer while their last segments leave. Started by run.ts with the options as JSON in its argument.
 *
 * ```
 *   run ──spawn──▶ supervisor: load, attach ──"ready"──▶ run: joins the cgroup, becomes the command (exec)
 *                      │ stdin ends (exec closes it, or run died)
 *                      ▼
 *                  cgroup empty? ─ no ─▶ wait ─▶ … ─ yes ─▶ tunnels drained or 60 s ─▶ detach, remove, exit
 * ```
 */
import { watch } from 'node:fs';
import { join } from 'node:path';
import { formatIp, fromMapped, parsePrefix, type Prefix } from '../core/address.js';
import { messageOf, TpotError } from '../core/errors.js';
import { silentLogger } from '../core/log.js';
import { isPopulated } from '../host/mounts.js';
import { readKeys } from './keys.js';
import { serveReports, writeReport, type ShimReport } from './report.js';
import { Shim } from './shim.js';

/** What run.ts passes on the command line. */
export interface SupervisorArguments {
  readonly cgroup: string;
  readonly hops: number;
  readonly trust: readonly string[];
  /** An absolute path: keys themselves do not belong on a command line. */
  readonly keyFile: string | undefined;
  /** Of the command, and what it is. */
  readonly pid: number;
  readonly command: readonly string[];
  /** Where the last report goes, an absolute path. */
  readonly report: string | undefined;
}

/** The supervisor's one line on stdout. */
export type SupervisorReport =
  | { readonly ready: true }
  | {
      readonly ready: false;
      readonly code: string;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** After this, segments of orphaned sockets are no longer worth waiting for: Linux gives FIN_WAIT_2 as long. */
const LINGER_MS = 60_000;
/** How often conditions that the kernel does not announce are looked at. */
const POLL_MS = 100;

function report(line: SupervisorReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function prefixes(texts: readonly string[]): Prefix[] {
  return texts.map((text) => parsePrefix(text)).filter((prefix) => prefix !== undefined);
}

/** Resolves when nobody is left in the cgroup. The kernel announces it on cgroup.events; the timer is a safety net. */
function untilEmpty(cgroup: string): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (isPopulated(cgroup)) return;
      watcher.close();
      clearInterval(timer);
      resolve();
    };
    const watcher = watch(join(cgroup, 'cgroup.events'), check);
    const timer = setInterval(check, 1000);
    check();
  });
}

function untilDrained(shim: Shim): Promise<void> {
  const deadline = performance.now() + LINGER_MS;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (shim.openTunnels() > 0 && performance.now() < deadline) return;
      clearInterval(timer);
      resolve();
    }, POLL_MS);
  });
}

function start(options: SupervisorArguments): Shim | undefined {
  try {
    const { cgroup, hops } = options;
    const keys = readKeys(options.keyFile);
    return new Shim({ cgroup, hops, trust: prefixes(options.trust), keys }, silentLogger);
  } catch (error) {
    const known = error instanceof TpotError ? error : undefined;
    report({ ready: false, code: known?.code ?? 'internal', message: messageOf(error), hint: known?.hint });
    return undefined;
  }
}

const endpoint = (mapped: Uint8Array, port: number): string => {
  const address = fromMapped(mapped);
  return address.family === 6 ? `[${formatIp(address)}]:${port}` : `${formatIp(address)}:${port}`;
};

function reportOf(shim: Shim, { pid, command }: SupervisorArguments, started: number): ShimReport {
  return {
    pid,
    command,
    uptimeSeconds: Math.floor((performance.now() - started) / 1000),
    counters: shim.counters(),
    tunnels: shim.tunnels().map(({ flow, nextHop }) => ({
      source: endpoint(flow.source, flow.sourcePort),
      destination: endpoint(flow.destination, flow.destinationPort),
      nextHop: formatIp(nextHop),
    })),
    blackHoles: shim
      .blackHoles()
      .map(({ destination, secondsLeft }) => ({ destination: formatIp(destination), secondsLeft })),
  };
}

/** Until the command and its descendants have ended, and their last segments have left. */
async function hold(shim: Shim, options: SupervisorArguments): Promise<void> {
  const started = performance.now();
  const told = (): ShimReport => reportOf(shim, options, started);
  const silence = serveReports(options.pid, told);
  report({ ready: true });
  await new Promise<void>((resolve) =>
    process.stdin
      .on('end', resolve)
      .on('error', () => resolve())
      .resume(),
  );
  await untilEmpty(options.cgroup);
  try {
    if (options.report !== undefined) writeReport(options.report, told());
  } finally {
    await untilDrained(shim);
    silence();
  }
}

async function main(options: SupervisorArguments): Promise<void> {
  // Signals of the terminal and of service managers are meant for the command; this process ends when that has.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => undefined);
  const shim = start(options);
  if (shim === undefined) {
    process.exitCode = 1;
    return;
  }
  try {
    await hold(shim, options);
  } finally {
    shim.close();
  }
}

await main(JSON.parse(process.argv[2] ?? '{}') as SupervisorArguments);
