/**
 * Cases on the path of path.ts: m does something to packets, a client fetches without TPOT and with it, and what went
 * over the links on both sides of m shows that the case is what it is said to be.
 */
import type { LinkCapture } from '../capture.js';
import { allWhole, attempt, attemptTold, beyond, type Attempt, type ShimTold } from '../cases.js';
import { checkCaptures, type CheckResult } from '../checks.js';
import { contentHash } from '../content.js';
import type { LabRun } from '../lab.js';
import { setMiddlebox } from '../middlebox.js';
import { seenOn, type Seen } from '../seen.js';
import { captureOf } from './common.js';
import { type Family, grown, HOPS, originOf, urlTo } from './path.js';

const SIZE = 200_003;
const PATH = `/bytes/${SIZE}`;
/** Fetches of one shim: what the first one learns, the second one uses. */
export const FETCHES = 2;

export interface PathCase {
  readonly id: string;
  readonly title: string;
  readonly family: Family;
  /** What m does to packets it forwards. */
  readonly rules: readonly string[];
  /** Further options of `tpot-node run`. */
  readonly shim?: readonly string[];
  readonly outcome: string;
  readonly against?: string;
  /** What must be seen between c1 and m, between m and p1, at the node and by the shim; says what is wrong. */
  readonly holds: (near: Seen, far: Seen, counters: Counters, told: ShimTold) => string | undefined;
}

export type Counters = Readonly<Record<string, number>>;
/** What must hold, and what to say when it does not. */
export type Claim = readonly [holds: boolean, otherwise: string];

export const expect = (...claims: readonly Claim[]): string | undefined =>
  claims.find(([holds]) => !holds)?.[1];

function checkLinks(
  one: PathCase,
  captures: ReadonlyMap<string, LinkCapture>,
  counters: Counters,
  shim: ShimTold,
): CheckResult[] {
  const destination = originOf(one.family);
  const [near, far] = (['c1-m', 'm-p1'] as const).map((link) =>
    seenOn(captureOf(captures, link), destination),
  );
  if (near === undefined || far === undefined) return [];
  const wrong = one.holds(near, far, counters, shim);
  const counts = (seen: Seen): string =>
    `${seen.requests} requests, ${seen.replies} replies, ${seen.tunnelled} tunnelled`;
  const { name, ...rest } = checkCaptures([captureOf(captures, 'c1-m'), captureOf(captures, 'm-p1')]);
  return [
    {
      name: `${one.title}: seen on the links before and behind m`,
      ok: wrong === undefined,
      detail: wrong ?? `${counts(near)}; ${counts(far)}`,
    },
    { name: `${one.title}: no connection was reset`, ok: near.resets === 0, detail: `${near.resets} resets` },
    { name: `${one.title}: ${name}`, ...rest },
  ];
}

/** Runs one case of lab `lab` with captures of its own. */
export async function runPathCase(run: LabRun, lab: string, one: PathCase): Promise<void> {
  const { topology, step, check, outcome } = run;
  const client = topology.host('c1');
  const url = urlTo(one.family, PATH);
  const sha256 = contentHash(PATH, SIZE);
  await setMiddlebox(topology, 'm', one.rules);
  // What the case before has taught TCP of round-trip times would delay the retransmissions of this one.
  for (const host of ['c1', 'p1']) await topology.host(host).must('ip', ['tcp_metrics', 'flush']);
  const plain = await attempt(topology, client, url, { hops: undefined });
  await run.recapture(one.id);
  const { value, counters } = await grown(topology, 'p1', () =>
    attemptTold(topology, client, url, { hops: HOPS, count: FETCHES, shim: one.shim ?? [] }),
  );
  const tpot = value.attempts;
  const captures = await run.captured();
  const told = (attempts: readonly Attempt[]): string =>
    attempts.map(({ milliseconds }) => `${milliseconds} ms`).join(', then ');
  step(`${one.title}: without TPOT ${told(plain)}; with TPOT ${told(tpot)}`);
  check(allWhole(`${one.title}: without TPOT`, plain, sha256));
  check(allWhole(`${one.title}: with TPOT`, tpot, sha256));
  check(checkLinks(one, captures, counters, value.told));
  outcome({
    id: `${lab}/${one.id}`,
    title: one.title,
    without: 'works',
    with: one.outcome,
    ...(one.against === undefined ? {} : { against: one.against }),
    fallbackMs: beyond(tpot[0], plain[0]),
    laterMs: beyond(tpot[1], plain[0]),
  });
}
