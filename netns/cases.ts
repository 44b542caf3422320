/**
 * Cases of the reliability labs: what a client sees in each without TPOT, with it, and where somebody turns it against
 * the connection. docs/reliability.md is written from them (`npm run reliability`).
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckResult } from './checks.js';
import { tpotNodeCommand, type Host } from './host.js';
import type { Topology } from './topology.js';
import { waitFor } from './wait.js';

/** One row of docs/reliability.md. Texts hold no times, so that they are the same in every run. */
export interface CaseOutcome {
  /** Stable: `lab/case`. */
  readonly id: string;
  readonly title: string;
  readonly without: string;
  readonly with: string;
  /** What the same means achieve when they are aimed at TPOT. */
  readonly against?: string;
  /** How much longer the first connection took than without TPOT, in milliseconds. */
  readonly fallbackMs?: number;
  /** The same of the next connection, when something was learnt from the first. */
  readonly laterMs?: number;
}

/** What one fetch of a case came to. Times in milliseconds, the start of the shim not counted. */
export interface Attempt {
  /** curl's exit status. */
  readonly exit: number;
  readonly milliseconds: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface AttemptOptions {
  /** Hops in the requests of the shim; `undefined` runs curl without the shim. */
  readonly hops: number | undefined;
  /** Further options of `tpot-node run`. */
  readonly shim?: readonly string[];
  /** Fetches one after the other by one shim, each on a connection of its own; default 1. */
  readonly count?: number;
  readonly timeoutMs?: number;
  /** A file to send as the body of a POST. */
  readonly upload?: string;
}

const DEFAULT_TIMEOUT_MS = 60_000;
/** For the shim to start and to end. */
const MARGIN_MS = 60_000;
const SCRIPT = `limit=$1 count=$2 body=$3; shift 3
for i in $(seq $count); do
  curl -sSN --max-time $limit -o "$body-$i" -w '%{exitcode} %{time_total}\\n' "$@"
done; true`;

let batches = 0;

function readBody(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    return Buffer.alloc(0); // curl had nothing to write
  }
}

/** Fetches `url` with an unmodified curl; a failure is a result, not an error. */
export async function attempt(
  topology: Topology,
  client: Host,
  url: string,
  options: AttemptOptions,
): Promise<Attempt[]> {
  const { hops, shim: more = [], count = 1, timeoutMs = DEFAULT_TIMEOUT_MS, upload } = options;
  batches += 1;
  const body = join(topology.directory, `${client.name}-case-${batches}`);
  const post = upload === undefined ? [] : ['-H', 'Expect:', '--data-binary', `@${upload}`];
  const shell = ['sh', '-c', SCRIPT, 'sh', String(timeoutMs / 1000), String(count), body, ...post, url];
  const shim = hops === undefined ? [] : [...tpotNodeCommand, 'run', '--hops', String(hops), ...more, '--'];
  const [program = '', ...args] = [...shim, ...shell];
  const { stdout } = await client.run(program, args, { timeoutMs: count * timeoutMs + MARGIN_MS });
  return stdout
    .trim()
    .split('\n')
    .map((line, index): Attempt => {
      const [exit = '', seconds = ''] = line.split(' ');
      const bytes = readBody(`${body}-${index + 1}`);
      rmSync(`${body}-${index + 1}`, { force: true });
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      return {
        exit: exit === '' ? 1 : Number(exit),
        milliseconds: Math.round(1000 * Number(seconds)),
        bytes: bytes.length,
        sha256,
      };
    });
}

/** What `tpot-node run` tells at its end. */
export interface ShimTold {
  readonly counters: Readonly<Record<string, number>>;
  readonly blackHoles: readonly { readonly destination: string }[];
}

/** {@link attempt} with TPOT, and what the shim tells of it. */
export async function attemptTold(
  topology: Topology,
  client: Host,
  url: string,
  options: AttemptOptions,
): Promise<{ readonly attempts: Attempt[]; readonly told: ShimTold }> {
  const file = join(topology.directory, `${client.name}-report-${batches + 1}`);
  const shim = [...(options.shim ?? []), '--report', file];
  const attempts = await attempt(topology, client, url, { ...options, shim });
  // The supervisor writes it after the command has ended, whole or not at all.
  await waitFor(() => existsSync(file), { what: 'the report of the shim' });
  const told = JSON.parse(readFileSync(file, 'utf8')) as ShimTold;
  rmSync(file);
  return { attempts, told };
}

/** Every fetch ended well with the right body. */
export function allWhole(name: string, attempts: readonly Attempt[], sha256: string): CheckResult {
  const wrong = attempts.find((one) => one.exit !== 0 || one.sha256 !== sha256);
  const times = attempts.map(({ milliseconds }) => `${milliseconds} ms`).join(', ');
  return {
    name,
    ok: attempts.length > 0 && wrong === undefined,
    detail: wrong === undefined ? times : `curl exit ${wrong.exit} after ${wrong.bytes} bytes; ${times}`,
  };
}

/** No fetch got through: what a negative control must show. */
export function noneWhole(name: string, attempts: readonly Attempt[], sha256: string): CheckResult {
  const whole = attempts.filter((one) => one.exit === 0 && one.sha256 === sha256).length;
  return {
    name,
    ok: attempts.length > 0 && whole === 0,
    detail: attempts.map(({ exit, bytes }) => `curl exit ${exit} after ${bytes} bytes`).join(', '),
  };
}

/** `later` in full milliseconds beyond `before`, never below 0. */
export function beyond(later: Attempt | undefined, before: Attempt | undefined): number {
  return Math.max(0, (later?.milliseconds ?? 0) - (before?.milliseconds ?? 0));
}
