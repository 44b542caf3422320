/**
 * Middleboxes that do not like unknown TCP options: they strip them from SYNs or SYN-ACKs, or drop the packets. In
 * every case the connection works; what it costs is seen side by side with a client without TPOT on the same path.
 */
import type { Lab, LabRun } from '../lab.js';
import { SYN, SYN_ACK, TPOT_OPTION } from '../middlebox.js';
import type { Seen } from '../seen.js';
import { pathSpec } from './path.js';
import { type Claim, expect, FETCHES, type PathCase, runPathCase } from './path-case.js';

const dropsRequests = (near: Seen, far: Seen): readonly Claim[] => [
  [
    near.requests === 2,
    `${near.requests} SYNs with a request left c1, 2 expected: those of the first connection`,
  ],
  [far.requests === 0, `${far.requests} requests came through m`],
  [far.tunnelled === 0, `${far.tunnelled} packets were tunnelled`],
];

/** Of the first SYN that asks, and of no other. */
const ONCE = `${SYN} ${TPOT_OPTION} exists limit rate 1/hour burst 1 packets`;
/** An address that no host has: bytes 8 to 11 of a reply. m keeps what is sent there. */
const SOMEBODY = {
  address: '198.18.250.1',
  rule: `${SYN_ACK} ${TPOT_OPTION} exists tcp option @253,64,32 set 0xc612fa01`,
};
const CHANGED = [SOMEBODY.rule, `ip daddr ${SOMEBODY.address} drop`];

const CASES: readonly PathCase[] = [
  {
    id: 'nothing',
    title: 'nothing in the way',
    family: 4,
    rules: [],
    outcome: 'tunnelled to the node',
    against: 'replies that name somebody else: see below',
    holds: (near, _, counters) =>
      expect(
        [
          near.replies === FETCHES && near.plain === 0,
          `${near.replies} replies, ${near.plain} plain packets`,
        ],
        [counters['taken'] === FETCHES, `the node took ${counters['taken'] ?? 0}`],
      ),
  },
  {
    id: 'syn-stripped',
    title: 'the option is stripped from SYNs',
    family: 4,
    rules: [`${SYN} reset ${TPOT_OPTION}`],
    outcome: 'plain TCP at once',
    against: 'no node serves, and nothing is slower than without TPOT',
    holds: (near, far, counters) =>
      expect(
        [near.requests === FETCHES, `${near.requests} requests left c1`],
        [
          far.syns === FETCHES && far.requests === 0,
          `${far.requests} requests in ${far.syns} SYNs came through m`,
        ],
        [far.tunnelled === 0, `${far.tunnelled} packets were tunnelled`],
        [counters['taken'] === undefined, 'the node took a connection'],
      ),
  },
  {
    id: 'syn-ack-stripped',
    title: 'the reply is stripped from SYN-ACKs',
    family: 4,
    rules: [`${SYN_ACK} reset ${TPOT_OPTION}`],
    outcome: 'through the node at once, as through a transparent proxy',
    against: 'a route that changes loses the connection, as one of any transparent proxy',
    holds: (near, far, counters) =>
      expect(
        [
          far.replies === FETCHES && near.replies === 0,
          `${near.replies} of ${far.replies} replies came through m`,
        ],
        [near.tunnelled === 0, `${near.tunnelled} packets were tunnelled`],
        [counters['taken-reply-stripped'] === FETCHES, 'the node did not notice'],
      ),
  },
  {
    id: 'syn-dropped',
    title: 'SYNs with unknown options are dropped',
    family: 4,
    rules: [`${SYN} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    against:
      'one connection is delayed, and for ten minutes, doubled each time up to a day, those to this destination are plain',
    holds: (near, far) =>
      expect(...dropsRequests(near, far), [near.syns === 4, `${near.syns} SYNs left c1, 3 and 1 expected`]),
  },
  {
    id: 'syn-dropped-v6',
    title: 'SYNs with unknown options are dropped, IPv6',
    family: 6,
    rules: [`${SYN} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    against: 'as over IPv4',
    holds: (near, far) => expect(...dropsRequests(near, far)),
  },
  {
    id: 'syn-stripped-once',
    title: 'the option is stripped from one SYN',
    family: 4,
    rules: [`${ONCE} reset ${TPOT_OPTION}`],
    outcome: 'plain TCP at once, the next connection by tunnel',
    against: 'one connection without a node: nothing is learnt from it',
    holds: (near, far, counters, { blackHoles }) =>
      expect(
        [near.requests === FETCHES, `${near.requests} requests left c1`],
        [far.requests === FETCHES - 1, `${far.requests} requests came through m`],
        [counters['taken'] === FETCHES - 1, `the node took ${counters['taken'] ?? 0}`],
        [blackHoles.length === 0, 'a black hole was learnt'],
      ),
  },
  {
    id: 'syn-dropped-once',
    title: 'one SYN with an unknown option is dropped',
    family: 4,
    rules: [`${ONCE} drop`],
    outcome: 'tunnelled by the second SYN, the next connection at once',
    against: 'one connection is delayed by a SYN, as by any SYN that is lost: nothing is learnt from it',
    holds: (near, _, counters, { blackHoles }) =>
      expect(
        [near.requests === FETCHES + 1, `${near.requests} requests left c1`],
        [counters['taken'] === FETCHES, `the node took ${counters['taken'] ?? 0}`],
        [near.plain === 0, `${near.plain} plain packets`],
        [blackHoles.length === 0, 'a black hole was learnt'],
      ),
  },
  {
    id: 'reply-changed',
    title: 'replies are changed to name somebody else',
    family: 4,
    rules: CHANGED,
    outcome: 'plain once the SYN-ACK has been repeated twice, then at once',
    against:
      'who is named, and answers, has the connection, as has who answers the SYN of one without TPOT: set `trust`',
    holds: (near, far, counters) =>
      expect(
        [near.tunnelled > 0 && near.tunnelledInUdp > 0, 'nothing was sent to who was named'],
        [far.tunnelled === 0, `${far.tunnelled} packets of a tunnel came through m`],
        [counters['taken-reply-stripped'] === 1, 'the node did not carry on'],
        [near.requests === 1, `${near.requests} requests left c1, 1 expected: that of the first connection`],
      ),
  },
  {
    id: 'reply-changed-trust',
    title: 'the same, where `trust` is set',
    family: 4,
    rules: CHANGED,
    shim: ['--trust', '198.18.2.0/24'],
    outcome: 'plain from the second SYN on, each time',
    against: 'each connection is delayed by a SYN while the attacker is there, and nobody else gets it',
    holds: (near, _, __, { counters, blackHoles }) =>
      expect(
        [
          near.requests === FETCHES && near.syns === 2 * FETCHES,
          `${near.requests} requests in ${near.syns} SYNs`,
        ],
        [near.tunnelled === 0, `${near.tunnelled} packets were tunnelled`],
        [(counters['drop-reply-untrusted'] ?? 0) >= FETCHES, 'the shim refused no reply'],
        [blackHoles.length === 0, 'a black hole was learnt'],
      ),
  },
  // Last: its half-open connections at the node go on answering for a while.
  {
    id: 'syn-ack-dropped',
    title: 'SYN-ACKs with unknown options are dropped',
    family: 4,
    rules: [`${SYN_ACK} ${TPOT_OPTION} exists drop`],
    outcome: 'plain from the third SYN on, then at once',
    against: 'as where SYNs are dropped',
    holds: (near, far) =>
      expect(
        [far.replies >= 1 && near.replies === 0, `${near.replies} of ${far.replies} replies came through m`],
        [near.tunnelled === 0, `${near.tunnelled} packets were tunnelled`],
        [near.requests === 2, `${near.requests} requests left c1, 2 expected`],
      ),
  },
];

async function run(run: LabRun): Promise<void> {
  await run.captured(); // each case has captures of its own
  for (const one of CASES) await runPathCase(run, 'stripped', one);
}

export const stripped: Lab = {
  name: 'stripped',
  summary: 'middleboxes that strip the option from SYNs or SYN-ACKs, or drop such packets',
  spec: pathSpec(),
  run,
};
