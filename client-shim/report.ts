/**
 * What a running command's shim has done so far, for whoever asks: its supervisor answers on a socket for root only.
 *
 * ```
 *   <runtime directory>/run/PID.sock   mode 0600; a connection gets one line of JSON, a ShimReport, and is closed
 * ```
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { messageOf, TpotError } from '../core/errors.js';
import { runtimeDirectory } from '../host/paths.js';

export interface ShimReport {
  /** Of the command that `tpot-node run` became. */
  readonly pid: number;
  readonly command: readonly string[];
  readonly uptimeSeconds: number;
  /** By reason code (docs/reasons.md). */
  readonly counters: Readonly<Record<string, number>>;
  /** Connections pinned to a node, `address:port` each but the node. */
  readonly tunnels: readonly {
    readonly source: string;
    readonly destination: string;
    readonly nextHop: string;
  }[];
  readonly blackHoles: readonly { readonly destination: string; readonly secondsLeft: number }[];
}

const SUFFIX = '.sock';
/** A supervisor answers from memory and tables; one that does not is being stopped or traced. */
const PATIENCE_MS = 2000;

const directoryOf = (directory: string): string => join(directory, 'run');

/** Answers until the returned function is called; the process's own work alone keeps it alive. */
export function serveReports(
  pid: number,
  report: () => ShimReport,
  directory = runtimeDirectory,
): () => void {
  const folder = directoryOf(directory);
  const path = join(folder, `${pid}${SUFFIX}`);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    rmSync(path, { force: true }); // of an earlier process with this number
  } catch {
    return () => undefined; // nowhere to answer: the command runs all the same
  }
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${JSON.stringify(report())}\n`);
  });
  server.on('error', () => undefined); // without it, the command runs all the same
  const before = process.umask(0o177);
  try {
    server.listen(path).unref();
  } finally {
    process.umask(before);
  }
  return () => {
    server.close();
    rmSync(path, { force: true });
  };
}

function ask(path: string): Promise<ShimReport | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    socket.setEncoding('utf8').setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on('data', (chunk: string) => (text += chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve(text.endsWith('\n') ? (JSON.parse(text) as ShimReport) : undefined);
    });
  });
}

/** The reports of every command that runs with TPOT on, by process id. Sockets that killed supervisors left answer nothing. */
export async function shimReports(directory = runtimeDirectory): Promise<ShimReport[]> {
  const folder = directoryOf(directory);
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith(SUFFIX));
  } catch {
    return []; // nothing has ever run here
  }
  const reports = await Promise.all(names.map((name) => ask(join(folder, name))));
  return reports.filter((report) => report !== undefined).sort((a, b) => a.pid - b.pid);
}

/**
 * Root writes into a folder that may be anybody's, as /tmp is: under a name that nobody foresees, and never through a
 * symbolic link that waits there (O_EXCL).
 */
const partOf = (file: string): string => `${file}.part-${randomBytes(6).toString('hex')}`;
const NEW = { flag: 'wx' } as const;

/** Before the command runs: nobody hears its supervisor later. */
export function requireReportable(file: string): void {
  const probe = partOf(file);
  try {
    writeFileSync(probe, '', NEW);
    rmSync(probe);
  } catch (cause) {
    throw new TpotError('report-not-writable', `the report cannot be written: ${messageOf(cause)}`, {
      hint: 'Give --report a file in a folder that exists.',
      cause,
    });
  }
}

/** Puts a report where a reader finds either nothing, or what was there, or all of it. */
export function writeReport(file: string, report: ShimReport): void {
  const part = partOf(file);
  writeFileSync(part, `${JSON.stringify(report)}\n`, NEW);
  renameSync(part, file);
}
