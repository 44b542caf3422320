/** Age and validation through three nodes, as clients behind each of them see it. */
import { checkEqual, type CheckResult } from '../checks.js';
import { contentHash } from '../content.js';
import { answererOf, deedsOf, type Ask, type Exchange } from '../exchanges.js';
import type { LabRun } from '../lab.js';
import { requestsOf, type RequestEvent } from '../origin-events.js';
import { ask } from './chain-requests.js';

/** What the origin says these have been elsewhere. */
const AGE = 100;
const LIFETIME = 3600;
const SHORT = AGE + 3;
const SIZE = 7001;
const LONG_LIVED = `/aged/${LIFETIME}/${AGE}/${SIZE}`;
const SHORT_LIVED = `/aged/${SHORT}/${AGE}/${SIZE}`;
/** Ages and what is left of lifetimes are whole seconds. */
const ROUNDING = 1;

const LEVELS = ['p1', 'p2', 'p3'] as const;

type Answers = ReadonlyMap<string, readonly Exchange[]>;

const only = (answers: Answers, client: string): Exchange | undefined => answers.get(client)?.[0];

const validations = ({ originEvents }: LabRun, path: string): RequestEvent[] =>
  requestsOf(originEvents(), path).filter(({ status }) => status === 304);

function hasBody(name: string, exchange: Exchange | undefined): CheckResult {
  const right = exchange?.sha256 === contentHash(exchange?.path ?? '', SIZE);
  return { name, ok: right, detail: exchange?.error ?? `${exchange?.bytes ?? 0} bytes` };
}

/** An answer from a store has the age that it would have at the origin, and what is left adds up to its lifetime. */
function checkAge(name: string, exchange: Exchange | undefined, lifetime: number, from: string): CheckResult {
  const hit = exchange && deedsOf(exchange).find((deed) => deed.hit);
  const age = exchange?.age ?? Number.NaN;
  const sum = age + (hit?.ttl ?? Number.NaN);
  const ok = hit?.node === from && age >= AGE && sum <= lifetime && sum >= lifetime - ROUNDING;
  const detail = `${hit?.node ?? 'nobody'}: Age ${age}, ${hit?.ttl ?? '?'} s left of ${lifetime}`;
  return { name, ok, detail };
}

/** One object comes through all nodes; then each is asked for it, and another edge node that has none. */
export async function fillLevels(run: LabRun): Promise<void> {
  const { check, step, topology } = run;
  const both: Ask[] = [{ path: LONG_LIVED }, { path: SHORT_LIVED }];
  const first = await ask(run, { c1: both });
  for (const exchange of first.get('c1') ?? []) {
    check(checkEqual(`c1 ${exchange.path}: answered by the origin`, answererOf(exchange), 'origin'));
    check(hasBody(`c1 ${exchange.path}: has the right bytes`, exchange));
  }
  const one: Ask[] = [{ path: LONG_LIVED }];
  const levels = await ask(run, { c1: one, c2: one, c3: one, c5: one });
  const from = { c1: 'p1', c2: 'p2', c3: 'p3', c5: 'p2' } as const;
  for (const [client, node] of Object.entries(from)) {
    const name = `${client}: answered by ${node}, with the age since the origin`;
    check(checkAge(name, only(levels, client), LIFETIME, topology.nodeName(node)));
  }
  step(`an object ${AGE} s old is fetched through three nodes, and then found at each, and by q1 at p2`);
}

const STALE: Ask = { path: SHORT_LIVED, headers: { 'Cache-Control': 'only-if-cached' }, until: 504 };

/**
 * A client that wants it confirmed: every node asks the next, and one 304 of the origin renews all of them. Afterwards the
 * short-lived one is stale at each of them.
 */
export async function confirm(run: LabRun): Promise<void> {
  const { check, step } = run;
  const before = requestsOf(run.originEvents(), LONG_LIVED).length;
  const headers = { 'Cache-Control': 'max-age=0' };
  const confirmed: Ask = { path: LONG_LIVED, headers };
  const answer = only(await ask(run, { c1: [confirmed, STALE], c2: [STALE], c3: [STALE] }), 'c1');
  check(hasBody('c1 with max-age=0: has the right bytes', answer));
  checkConfirmed(run, 'c1 with max-age=0', answer);
  const asked = requestsOf(run.originEvents(), LONG_LIVED).length - before;
  check(checkEqual('c1 with max-age=0: the origin was asked once', asked, 1));
  check(checkEqual('… and said 304', validations(run, LONG_LIVED).length, 1));
  step('a client wants it confirmed: each node validates at the next, and one 304 renews all of them');
}

function checkConfirmed({ check, topology }: LabRun, name: string, answer: Exchange | undefined): void {
  const said = answer === undefined ? [] : deedsOf(answer);
  const expected = [...LEVELS].reverse().map((node) => `${topology.nodeName(node)} 304`);
  const got = said.map(({ node, forwardStatus }) => `${node} ${forwardStatus ?? 'hit'}`);
  check(checkEqual(`${name}: validated at every node`, got.join(', '), expected.join(', ')));
  const age = answer?.age ?? Number.NaN;
  check({
    name: `${name}: as old as the origin says`,
    ok: age >= AGE && age <= AGE + ROUNDING,
    detail: `Age ${age}`,
  });
}

/** What is stale at every node is renewed at every node. */
export async function renew(run: LabRun): Promise<void> {
  const { check, step, topology } = run;
  const answer = only(await ask(run, { c1: [{ path: SHORT_LIVED }] }), 'c1');
  check(hasBody('c1, when it is stale: has the right bytes', answer));
  checkConfirmed(run, 'c1, when it is stale', answer);
  check(checkEqual('… by one 304 of the origin', validations(run, SHORT_LIVED).length, 1));
  // However long these take to start.
  const whatIsThere: Ask[] = [{ path: SHORT_LIVED, headers: { 'Cache-Control': 'max-stale' } }];
  const levels = await ask(run, { c3: whatIsThere, c5: whatIsThere });
  for (const [client, node] of Object.entries({ c3: 'p3', c5: 'p2' })) {
    const name = `${client}: answered by ${node}, which has been renewed`;
    check(checkAge(name, only(levels, client), SHORT, topology.nodeName(node)));
  }
  step('a stale one is renewed at every node by one 304 of the origin');
}
