/**
 * Forged SYN-ACKs for the very port from which c1 connects, with a reply that names the attacker, with one that is not to be
 * believed, or with none. m holds the node's own answer back meanwhile, so that they come while c1 waits for one.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { randomInt } from 'node:crypto';
import { formatIp, ip } from '../../core/address.js';
import { encodeOption } from '../../tpot/option.js';
import { buildTcp } from '../../wire/build.js';
import type { TcpOption } from '../../wire/tcp-options.js';
import type { Attacker } from '../attacker.js';
import type { LinkCapture } from '../capture.js';
import type { ShimTold } from '../cases.js';
import { checkEqual } from '../checks.js';
import { tpotNodeCommand } from '../host.js';
import type { LabRun } from '../lab.js';
import { setMiddlebox, SYN_ACK } from '../middlebox.js';
import { seenOn, type Seen } from '../seen.js';
import { waitFor } from '../wait.js';
import { captureOf } from './common.js';
import { HOPS, urlTo } from './path.js';

export interface Ends {
  readonly client: string;
  readonly origin: string;
  readonly node: string;
  /** Whom a forged reply names. */
  readonly attacker: string;
  /** How many SYN-ACKs are forged. */
  readonly count: number;
  readonly path: string;
}

interface Answered {
  readonly exit: number | undefined;
  readonly link: LinkCapture;
  readonly seen: Seen;
  readonly told: ShimTold | undefined;
}

const TRIES = 5;
let port = 44_000;

const replyOf = (address: string): TcpOption =>
  encodeOption({ type: 'reply', address: ip(address), flags: 0, capabilities: 0 });

/** A third names the attacker, a third nobody, a third has no reply; without TPOT none has. */
function forge(ends: Ends, clientPort: number, hops: number | undefined): Uint8Array[] {
  const options = hops === undefined ? [[]] : [[replyOf(ends.attacker)], [replyOf('127.0.0.1')], []];
  return Array.from({ length: ends.count }, (_, index) =>
    buildTcp({
      ...{
        source: ip(ends.origin),
        sourcePort: 80,
        destination: ip(ends.client),
        destinationPort: clientPort,
      },
      flags: ['syn', 'ack'],
      seq: randomInt(0, 0xffff_ffff),
      ack: randomInt(0, 0xffff_ffff),
      options: options[index % options.length] ?? [],
    }),
  );
}

/** A fetch while which the forged answers come. */
async function answeredFalsely(
  run: LabRun,
  attacker: Attacker,
  ends: Ends,
  hops: number | undefined,
): Promise<Answered> {
  const { topology } = run;
  port += 1;
  const own = port;
  const client = topology.host('c1');
  const report = join(topology.directory, 'answers-report');
  const send = await attacker.load(forge(ends, own, hops));
  await run.recapture(hops === undefined ? 'syn-acks' : 'replies');
  await setMiddlebox(topology, 'm', [`iifname "to-p1" ${SYN_ACK} drop`]);
  const curl = [
    'curl',
    '-sSf',
    '-m',
    '60',
    '--local-port',
    String(own),
    '-o',
    '/dev/null',
    urlTo(4, ends.path),
  ];
  const shim =
    hops === undefined ? [] : [...tpotNodeCommand, 'run', '--hops', String(hops), '--report', report, '--'];
  const [program = '', ...args] = [...shim, ...curl];
  const fetching = client.run(program, args);
  const waiting = async (): Promise<boolean> =>
    (await client.must('ss', ['-Htn', 'state', 'syn-sent'])).includes(`:${own}`);
  await waitFor(waiting, { what: 'c1 to wait for an answer' });
  await send();
  await setMiddlebox(topology, 'm', []);
  const { code } = await fetching;
  let told: ShimTold | undefined;
  if (hops !== undefined) {
    await waitFor(() => existsSync(report), { what: 'the report of the shim' });
    told = JSON.parse(readFileSync(report, 'utf8')) as ShimTold;
    rmSync(report);
  }
  const link = captureOf(await run.captured(), 'c1-m');
  return { exit: code, link, seen: seenOn(link, ends.origin), told };
}

/**
 * The same on a machine that was quick enough for it: c1 asks twice, and once more soon after a forged answer (Linux sends its
 * SYN again then). If its third SYN is the one that was let through to be answered, nothing was forged in time.
 */
async function answeredInTime(run: LabRun, attacker: Attacker, ends: Ends): Promise<Answered> {
  for (let tries = 1; ; tries++) {
    const answered = await answeredFalsely(run, attacker, ends, HOPS);
    const tooLate = (answered.told?.counters['request-omitted-retries'] ?? 0) > 0;
    if (!tooLate || answered.seen.tunnelled > 0 || tries === TRIES) return answered;
    run.step(`${answered.seen.syns} SYNs before an answer was let through: once more`);
  }
}

const elsewhere = (link: LinkCapture, node: string): number =>
  link.packets.filter(
    ({ dissection: { kind, ...rest } }) =>
      kind === 'tcp' &&
      'outer' in rest &&
      rest.outer !== undefined &&
      formatIp(rest.outer.destination) !== node,
  ).length;

export async function forgedAnswers(run: LabRun, attacker: Attacker, ends: Ends): Promise<void> {
  const { check, step, outcome } = run;
  const plain = await answeredFalsely(run, attacker, ends, undefined);
  check(checkEqual('forged SYN-ACKs, without TPOT: c1 refused every one', plain.seen.resets, ends.count));
  check(checkEqual('forged SYN-ACKs, without TPOT: the fetch arrived', plain.exit ?? 'by signal', 0));
  const { exit, seen, link, told } = await answeredInTime(run, attacker, ends);
  const misled = elsewhere(link, ends.node);
  step(`${ends.count} forged answers while c1 waited for one: ${seen.resets} refused with a reset`);
  check({
    name: 'forged replies: c1 refused every one',
    ok: seen.resets >= ends.count,
    detail: `${seen.resets} resets for ${ends.count}`,
  });
  check(checkEqual('forged replies: the fetch arrived', exit ?? 'by signal', 0));
  check({
    name: 'forged replies: and went into the tunnel to the node, nowhere else',
    ok: seen.tunnelled > 0 && misled === 0,
    detail: `${seen.tunnelled} packets tunnelled, ${misled} of them elsewhere`,
  });
  const misjudged = ['request-omitted-untrusted', 'black-hole-learned'].filter(
    (code) => told?.counters[code] !== undefined,
  );
  check({
    name: 'forged replies: none counted against the node or the path',
    ok: told !== undefined && misjudged.length === 0,
    detail: misjudged.join(', ') || 'neither plain SYNs nor a black hole for their sake',
  });
  outcome({
    id: 'attack/replies',
    title: 'forged SYN-ACKs with a reply that names the attacker',
    without: 'TCP refuses a wrong acknowledgement number',
    with: 'the same: only a SYN-ACK that TCP accepts pins a connection',
    against: 'who sees the SYN can answer it, with or without TPOT: `trust` bounds the choice',
  });
  outcome({
    id: 'attack/blame',
    title:
      'forged SYN-ACKs without a reply, or with one that nobody believes, so that the client gives TPOT up',
    without: 'TCP refuses a wrong acknowledgement number',
    with: 'the same: the next SYN asks again, and no black hole is learnt',
    against: 'who sees the SYN can do so for a while: `stripped`',
  });
}
