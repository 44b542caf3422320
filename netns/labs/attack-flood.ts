/** A SYN flood with requests, at full speed, while connections stand and new ones come. */
import { readFileSync } from 'node:fs';
import type { Attacker, Flood } from '../attacker.js';
import { allWhole, attempt, type Attempt } from '../cases.js';
import { contentHash } from '../content.js';
import type { LabRun } from '../lab.js';
import { grown, HOPS, statusOf, urlTo } from './path.js';

const FLOOD = 150_000;
const PATH = '/bytes/65536';
/** What the process may grow by, KiB: a flood reaches only the kernel, and this is less than one page a SYN. */
const MEMORY_KIB = 32 * 1024;

const residentKib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);

async function cookies(run: LabRun, host: string): Promise<number> {
  const said = await run.topology.host(host).must('nstat', ['-asz', 'TcpExtSyncookiesSent']);
  return Number(/TcpExtSyncookiesSent\s+(\d+)/.exec(said)?.[1] ?? 0);
}

/** Fetches for as long as the flood lasts. */
async function fetchesIn(
  run: LabRun,
  attacker: Attacker,
  hops: number | undefined,
): Promise<{ readonly fetched: readonly Attempt[]; readonly flood: Flood }> {
  const { topology } = run;
  const state = { flooding: true };
  const flooding = attacker.flood('192.0.2.80', 80, FLOOD).finally(() => (state.flooding = false));
  const fetched: Attempt[] = [];
  do fetched.push(...(await attempt(topology, topology.host('c1'), urlTo(4, PATH), { hops, count: 3 })));
  while (state.flooding);
  return { fetched, flood: await flooding };
}

/** The same with no node on the path: what the destination does by itself. */
export async function floodOrigin(run: LabRun, attacker: Attacker): Promise<void> {
  const { topology, check, step } = run;
  await topology.node('p1').stop();
  const before = await cookies(run, 'origin');
  const { fetched, flood } = await fetchesIn(run, attacker, undefined);
  const sent = (await cookies(run, 'origin')) - before;
  step(`${flood.sent} SYNs to the origin, no node running: ${sent} answered with cookies`);
  check(
    allWhole('SYN flood, without TPOT: every fetch meanwhile arrives', fetched, contentHash(PATH, 65_536)),
  );
  check({
    name: 'SYN flood, without TPOT: the destination answers with SYN cookies',
    ok: sent > 0,
    detail: `${sent}`,
  });
}

export async function floodNode(run: LabRun, attacker: Attacker): Promise<void> {
  const { topology, check, step, outcome } = run;
  const { pid } = await statusOf(topology, 'p1');
  const memory = residentKib(pid);
  const before = await cookies(run, 'p1');
  const { value, counters } = await grown(topology, 'p1', () => fetchesIn(run, attacker, HOPS));
  const {
    fetched,
    flood: { sent, milliseconds },
  } = value;
  const used = residentKib(pid) - memory;
  const sentCookies = (await cookies(run, 'p1')) - before;
  const times = fetched.map((one) => one.milliseconds).sort((a, b) => a - b);
  step(
    `${sent} SYNs in ${milliseconds} ms, ${sentCookies} answered with cookies; ` +
      `${fetched.length} fetches meanwhile, the slowest in ${times.at(-1) ?? 0} ms`,
  );
  check(allWhole('SYN flood: every fetch meanwhile arrives', fetched, contentHash(PATH, 65_536)));
  check({ name: 'SYN flood: answered with SYN cookies', ok: sentCookies > 0, detail: `${sentCookies}` });
  const tunnelled = counters['established'] ?? 0;
  check({
    name: 'SYN flood: cookies carry the reply, so the fetches went by tunnel',
    ok: tunnelled >= fetched.length && (counters['taken-reply-stripped'] ?? 0) === 0,
    detail: `${tunnelled} established, ${counters['taken-reply-stripped'] ?? 0} of them plain`,
  });
  check({
    name: "SYN flood: the process's memory does not grow with it",
    ok: used < MEMORY_KIB,
    detail: `${used} KiB more`,
  });
  outcome({
    id: 'attack/syn-flood',
    title: 'a SYN flood with requests, at full speed',
    without: 'the destination answers with SYN cookies',
    with: 'the node does, and they carry its reply; no connection is lost',
    against:
      'who completes handshakes fills a table of fixed size, then SYNs pass by: `limits.connections`, `limits.perClient`',
  });
}
