/**
 * Errors that lie about the MTU, by somebody on the path who sees the segments that they quote:
 *
 * ```
 * c1 ─── m ═══ n ─── p1 ─── origin      m: answers each large packet of c1 with "too big", and an MTU of its choice
 * ```
 *
 * The link carries less than what c1 sends and m's kernel is silent, so the errors come about segments that are on their
 * way, and c1 believes them. What it comes to believe is seen in its route to the destination.
 */
import { builtFile } from '../../host/paths.js';
import { Attacker } from '../attacker.js';
import { allWhole, attempt, beyond, type Attempt } from '../cases.js';
import type { Program } from '../host.js';
import type { LabRun } from '../lab.js';
import { forgetPaths, narrow } from './mtu-link.js';
import { HOPS, originOf, urlTo } from './path.js';

/** What the link really carries: more than anybody goes down to. */
const LINK_MTU = 1000;
/** The least that IPv4 allows (RFC 791), the one of hosts that tell nothing else, and none at all (before RFC 1191). */
const LIES = [68, 576, 0] as const;
/** What no kernel goes below for an error's sake: net.ipv4.route.min_pmtu. */
const LEAST = 552;

interface Upload {
  readonly attempts: Attempt[];
  /** The path MTU that c1 came to believe. */
  readonly believed: number;
}

async function uploadOnce({ topology }: LabRun, upload: string, hops: number | undefined): Promise<Upload> {
  await forgetPaths(topology, 0);
  const client = topology.host('c1');
  const attempts = await attempt(topology, client, urlTo(4, '/upload'), { upload, hops });
  const route = await client.must('ip', ['route', 'get', originOf(4)]);
  return { attempts, believed: Number(/\bmtu (?:lock )?(\d+)/.exec(route)?.[1] ?? 0) };
}

async function liar({ topology }: LabRun, mtu: number): Promise<Program> {
  const { device, mac } = await Attacker.at(topology, 'm', 'c1');
  const args = [builtFile('netns', 'attack-child.js'), 'lie', device, mac, String(mtu)];
  const program = topology.host('m').spawn(process.execPath, args, { label: 'liar' });
  await program.output(/^ready$/m);
  return program;
}

async function runLie(run: LabRun, mtu: number, upload: string, sha256: string): Promise<void> {
  const { step, check, outcome } = run;
  const title = `errors of somebody on the path that tell an MTU of ${mtu}`;
  const program = await liar(run, mtu);
  const plain = await uploadOnce(run, upload, undefined);
  const tpot = await uploadOnce(run, upload, HOPS);
  await program.stop();
  const [before, after] = [plain.attempts[0], tpot.attempts[0]];
  step(
    `${title}: without TPOT ${before?.milliseconds ?? 0} ms with packets of ${plain.believed} bytes, ` +
      `with TPOT ${after?.milliseconds ?? 0} ms with ${tpot.believed}`,
  );
  check(allWhole(`${title}: without TPOT`, plain.attempts, sha256));
  check(allWhole(`${title}: with TPOT`, tpot.attempts, sha256));
  check({
    name: `${title}: believed, and down to ${LEAST} bytes at most`,
    ok: [plain, tpot].every(({ believed }) => believed >= LEAST && believed <= LINK_MTU),
    detail: `${plain.believed} without TPOT, ${tpot.believed} with`,
  });
  outcome({
    id: `mtu/forged-${mtu}`,
    title,
    without: `works, with packets of ${plain.believed} bytes`,
    with: `works, with packets of ${tpot.believed} bytes in the tunnel`,
    against: 'small segments for ten minutes, as without TPOT, and none below what the kernel allows',
    fallbackMs: beyond(after, before),
  });
}

/** Uploads `upload`, for which the origin answers what has `sha256`. */
export async function runForged(run: LabRun, upload: string, sha256: string): Promise<void> {
  await narrow(run.topology, LINK_MTU, true);
  for (const mtu of LIES) await runLie(run, mtu, upload, sha256);
}
