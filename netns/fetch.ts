/** An unmodified curl in a client, with or without the shim, and what came of it. */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tpotNodeCommand, type Host } from './host.js';
import type { Topology } from './topology.js';

export interface FetchOptions {
  /** Hops in the requests of the shim; `undefined` runs curl without the shim. */
  readonly hops: number | undefined;
  readonly timeoutMs?: number;
  /** Sent as the body of a POST. */
  readonly upload?: Uint8Array;
}

export interface FetchResult {
  /** curl's exit status. */
  readonly exit: number | undefined;
  readonly status: number;
  /** Response header fields by lower-case name; fields that came several times are joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: number;
  readonly sha256: string;
  /** What curl took, the start of the shim not counted. */
  readonly milliseconds: number;
  /** What curl, or the shim, complained about. */
  readonly complaint: string;
}

const DEFAULT_TIMEOUT_MS = 120_000;
const MARGIN_MS = 60_000; // curl gives up by itself; only a hanging shim needs the harder way

/** The header fields of a response as curl's `--dump-header` writes them. */
export function parseHeaders(dump: string): { status: number; headers: Record<string, string> } {
  const last =
    dump
      .trimEnd()
      .split(/\r\n\r\n/)
      .at(-1) ?? ''; // 1xx responses stand before
  const [statusLine = '', ...lines] = last.split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(statusLine.split(' ')[1] ?? 0), headers };
}

function readIfThere(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    return Buffer.alloc(0); // curl had nothing to write
  }
}

export interface RunningFetch {
  /** Where the body arrives; removed at the end. */
  readonly bodyFile: string;
  readonly result: Promise<FetchResult>;
}

let fetches = 0;

function commandLine(hops: number | undefined, curl: readonly string[]): readonly string[] {
  return hops === undefined ? curl : [...tpotNodeCommand, 'run', '--hops', String(hops), '--', ...curl];
}

/** Starts a fetch; its failure is a result, not an error. */
export function startFetch(
  topology: Topology,
  client: Host,
  url: string,
  options: FetchOptions,
): RunningFetch {
  const { hops, timeoutMs = DEFAULT_TIMEOUT_MS, upload } = options;
  fetches += 1;
  const bodyFile = join(topology.directory, `${client.name}-body-${fetches}`);
  const headFile = `${bodyFile}.head`;
  const curl = [
    'curl',
    '-sSN',
    '--max-time',
    String(timeoutMs / 1000),
    '-D',
    headFile,
    '-o',
    bodyFile,
    '-w',
    '%{time_total}',
    url,
  ];
  if (upload !== undefined) curl.push('--data-binary', '@-', '-H', 'Expect:');
  const finish = async (): Promise<FetchResult> => {
    const [program = '', ...args] = commandLine(hops, curl);
    const input = upload === undefined ? {} : { input: upload };
    const { code, stdout, stderr } = await client.run(program, args, {
      timeoutMs: timeoutMs + MARGIN_MS,
      ...input,
    });
    const milliseconds = Math.round(1000 * Number(stdout));
    const body = readIfThere(bodyFile);
    const head = parseHeaders(readIfThere(headFile).toString('latin1'));
    for (const file of [bodyFile, headFile]) rmSync(file, { force: true });
    const sha256 = createHash('sha256').update(body).digest('hex');
    return { exit: code, ...head, bytes: body.length, sha256, milliseconds, complaint: stderr.trim() };
  };
  return { bodyFile, result: finish() };
}

/** {@link startFetch}, to its end. */
export function fetch(
  topology: Topology,
  client: Host,
  url: string,
  options: FetchOptions,
): Promise<FetchResult> {
  return startFetch(topology, client, url, options).result;
}
